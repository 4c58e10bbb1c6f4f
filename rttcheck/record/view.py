"""How much of the kernel's samples a probe backend sees, and which members of an event mean nothing in its events.

It owns the words that a recording carries from the backend to the judge. It does not know how a backend looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from rttcheck.record.event import EVENT


class Coverage(StrEnum):
    """Which samples have an event. In the order of how much it is."""

    EVERY_SAMPLE = "every sample"
    """One event for each call of ``tcp_ack_update_rtt()``, those that took no sample included."""
    ONCE_A_ROUND_TRIP = "once a round trip"
    """One event for a socket's first sample, and for the first of each round trip: when snd_una passes rtt_seq."""
    SMOOTHED_ONLY = "smoothed only"
    """No samples: the estimators' state, as it was when a segment came in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a backend sees. Members of an event that are in ``unseen`` hold -1 (times) or 0 and say nothing."""

    coverage: Coverage = Coverage.EVERY_SAMPLE
    unseen: frozenset[str] = frozenset()

    def sees(self, *names: str) -> bool:
        """Whether the members of an event of these names say something."""
        return self.unseen.isdisjoint(names)

    @property
    def every_sample(self) -> bool:
        """Whether no sample is without an event."""
        return self.coverage is Coverage.EVERY_SAMPLE

    @property
    def samples(self) -> bool:
        """Whether events show samples at all."""
        return self.coverage is not Coverage.SMOOTHED_ONLY and self.sees("sample_us")

    def without(self, members: frozenset[str]) -> View:
        """Return the view less these members of an event."""
        return replace(self, unseen=self.unseen | members) if members else self

    def render(self) -> str:
        """For a person: the coverage, and what is not seen of what a person asks for."""
        hidden = [words for name, words in _TOLD.items() if name in self.unseen]
        return self.coverage.value + (f" (not seen: {', '.join(hidden)})" if hidden else "")

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"coverage": self.coverage.value, "unseen": sorted(self.unseen)}

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> View:
        """What `as_dict` made; a recording that says nothing is of a probe that saw all. Raises ValueError."""
        unseen = frozenset(held.get("unseen", ()))
        strange = unseen - set(EVENT.names or ())
        if strange:
            raise ValueError(f"events have no {', '.join(sorted(strange))}")
        return cls(coverage=Coverage(held.get("coverage", Coverage.EVERY_SAMPLE)), unseen=unseen)


_TOLD: Final = {
    "first_rtt_us": "first-acked",
    "last_rtt_us": "last-acked",
    "sack_rtt_us": "SACK",
    "sample_us": "the sample",
    "srtt_us": "srtt",
    "rto_jiffies": "the timeout",
}

_ARGUMENTS: Final = ("first_rtt_us", "sack_rtt_us", "rs_rtt_us", "flag")
"""What only the function itself is told."""

WHOLE: Final = View()
"""``fexit``, ``kprobe``: everything."""

SOCKOPS: Final = View(
    coverage=Coverage.ONCE_A_ROUND_TRIP,
    unseen=frozenset((*_ARGUMENTS, "last_rtt_us", "rto_jiffies", "backoff")),
)
"""``sockops`` where the kernel passes the sample (since 6.10). ``flag`` tells handshakes; the timeout is set later."""

SOCKOPS_WITHOUT_ARGUMENTS: Final = View(
    coverage=Coverage.ONCE_A_ROUND_TRIP,
    unseen=frozenset((*_ARGUMENTS, "sample_us", "srtt_us", "rto_jiffies", "backoff")),
)
"""``sockops`` before: ``sample_us`` holds a socket's first sample and no other. In place of the last-acked sample is
RACK's time of the last segment that was delivered, while they come in order; else -1."""

TRACEPOINT: Final = View(
    coverage=Coverage.SMOOTHED_ONLY,
    unseen=frozenset((*_ARGUMENTS, "last_rtt_us", "sample_us", "taken")),
)


def widest(views: Iterable[View]) -> View | None:
    """The view that sees the most, the first among equals; None of none."""
    ranks = list(Coverage)
    return min(views, key=lambda view: (ranks.index(view.coverage), len(view.unseen)), default=None)
