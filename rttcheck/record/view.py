"""Which of the kernel's samples a probe backend sees, and which members of its events carry no information.

The recording passes this from the backend to the judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from rttcheck.record.event import EVENT


class Coverage(StrEnum):
    """Which samples have an event, from most to least."""

    EVERY_SAMPLE = "every sample"
    """One event for each call of ``tcp_ack_update_rtt()``, including those that took no sample."""
    ONCE_A_ROUND_TRIP = "once a round trip"
    """One event for a socket's first sample, and for the first of each round trip: when snd_una passes rtt_seq."""
    SMOOTHED_ONLY = "smoothed only"
    """No samples: the estimators' state when a segment arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a backend sees. Event members in ``unseen`` are -1 (times) or 0 and carry no information."""

    coverage: Coverage = Coverage.EVERY_SAMPLE
    unseen: frozenset[str] = frozenset()

    def sees(self, *names: str) -> bool:
        """Return whether the event members of these names carry information."""
        return self.unseen.isdisjoint(names)

    @property
    def every_sample(self) -> bool:
        """Whether every sample has an event."""
        return self.coverage is Coverage.EVERY_SAMPLE

    @property
    def samples(self) -> bool:
        """Whether events contain samples at all."""
        return self.coverage is not Coverage.SMOOTHED_ONLY and self.sees("sample_us")

    def without(self, members: frozenset[str]) -> View:
        """Return the view less these members of an event."""
        return replace(self, unseen=self.unseen | members) if members else self

    def render(self) -> str:
        """Return a description for the user: the coverage, and which of the usual figures are not seen."""
        hidden = [label for name, label in _LABELS.items() if name in self.unseen]
        return self.coverage.value + (f" (not seen: {', '.join(hidden)})" if hidden else "")

    def as_dict(self) -> dict[str, Any]:
        """Return it in JSON types."""
        return {"coverage": self.coverage.value, "unseen": sorted(self.unseen)}

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> View:
        """Build it from `as_dict`'s result; without an entry every member is seen. Raises ValueError."""
        unseen = frozenset(held.get("unseen", ()))
        strange = unseen - set(EVENT.names or ())
        if strange:
            raise ValueError(f"events have no {', '.join(sorted(strange))}")
        return cls(coverage=Coverage(held.get("coverage", Coverage.EVERY_SAMPLE)), unseen=unseen)


_LABELS: Final = {
    "first_rtt_us": "first-acked",
    "last_rtt_us": "last-acked",
    "sack_rtt_us": "SACK",
    "sample_us": "the sample",
    "srtt_us": "srtt",
    "rto_jiffies": "the timeout",
}

_ARGUMENTS: Final = ("first_rtt_us", "sack_rtt_us", "rs_rtt_us", "flag")
"""Only available as arguments of the function itself."""

WHOLE: Final = View()
"""``fexit``, ``kprobe``: everything."""

SOCKOPS: Final = View(
    coverage=Coverage.ONCE_A_ROUND_TRIP,
    unseen=frozenset((*_ARGUMENTS, "last_rtt_us", "rto_jiffies", "backoff")),
)
"""``sockops`` where the kernel passes the sample (since 6.10). ``flag`` marks handshakes; the timeout is set later."""

SOCKOPS_WITHOUT_ARGUMENTS: Final = View(
    coverage=Coverage.ONCE_A_ROUND_TRIP,
    unseen=frozenset((*_ARGUMENTS, "sample_us", "srtt_us", "rto_jiffies", "backoff")),
)
"""``sockops`` in older kernels: ``sample_us`` is a socket's first sample and no other. In place of the last-acked
sample is RACK's time of the last delivered segment, while segments arrive in order; else -1."""

TRACEPOINT: Final = View(
    coverage=Coverage.SMOOTHED_ONLY,
    unseen=frozenset((*_ARGUMENTS, "last_rtt_us", "sample_us", "taken")),
)


def widest(views: Iterable[View]) -> View | None:
    """Return the view that sees the most, the first among equals; None for no views."""
    ranks = list(Coverage)
    return min(views, key=lambda view: (ranks.index(view.coverage), len(view.unseen)), default=None)
