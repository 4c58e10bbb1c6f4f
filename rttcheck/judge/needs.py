"""Which checks a recording can answer at all: what each needs to have been seen, against what the probe saw.

It owns the table of needs. A check whose needs are not met is not run, whatever it came to on what little there was:
inconclusive, with the reason, and never passed. It makes no check itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from rttcheck.judge.findings import NEEDED, Finding, Layer, Outcome
from rttcheck.judge.observation import CONTROL
from rttcheck.judge.sample.cause_check import CAUSED
from rttcheck.judge.sample.stamp_check import ONE_SEGMENT, STAMPED
from rttcheck.record.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What of the probe's events a check rests on."""

    all_of: tuple[str, ...] = ()
    """Members of an event."""
    any_of: tuple[str, ...] = ()
    every_sample: bool = False

    def unmet(self, view: View) -> str:
        """What is lacking, for a person; empty when nothing is."""
        lacks = []
        if self.every_sample and not view.every_sample:
            lacks.append("every sample")
        hidden = [name for name in self.all_of if not view.sees(name)]
        if self.any_of and not any(view.sees(name) for name in self.any_of):
            hidden.append(" or ".join(self.any_of))
        return " and ".join((*lacks, *hidden))


NOTHING: Final = Needs()
VALUES: Final = Needs(any_of=("sample_us", "last_rtt_us"))
"""A time of each event: the sample, or else the last-acked one."""
_SAMPLES: Final = Needs(all_of=("sample_us",))
_EVERY: Final = Needs(every_sample=True, all_of=("flag", "first_rtt_us", "sack_rtt_us"))

NEEDS: Final = {
    "netem is as asked for": NOTHING,
    "every step was taken": NOTHING,
    "the captures are whole": NOTHING,
    "no events lost": NOTHING,
    "data samples on every side": VALUES,
    "every sample has its segment and its ACK": VALUES,
    "samples are not below their own wire time": VALUES,
    STAMPED: VALUES,
    ONE_SEGMENT: Needs(all_of=("first_rtt_us", "last_rtt_us")),
    CAUSED: NOTHING,
    "samples do not begin before their segment leaves": _SAMPLES,
    "ACKs are taken when they come": _SAMPLES,
    "every ACK that is due a sample gives one": _EVERY,
    "no ACK gives a sample that is not due": _EVERY,
    "each sample comes from where it is due": _EVERY,
    "nothing comes from segments that were sent again": _EVERY,
    "srtt, mdev and rttvar follow from the samples": Needs(all_of=("sample_us", "srtt_us")),
    "RTO follows from srtt and rttvar": Needs(all_of=("rto_jiffies", "backoff", "taken")),
    "min_rtt follows from the samples": _SAMPLES,
    "TCP_INFO shows what the estimators hold": Needs(all_of=("srtt_us",)),
    "events are possible": _EVERY,
    "events show the sample that was used": _EVERY,
    "state is possible": _EVERY,
    "every sample that was taken has its event": _EVERY,
    "first-acked and last-acked are told apart": Needs(all_of=("first_rtt_us", "last_rtt_us", "rs_rtt_us")),
    "kernel-side histogram equals the events (ms)": VALUES,
    "kernel-side histogram equals the events (us)": VALUES,
    "data samples are not below the wire": VALUES,
    "SYN and FIN samples are not below the wire": VALUES,
    "rtt and rtt_min of every event": Needs(any_of=("first_rtt_us", "last_rtt_us")),
    "data samples are not above the link and its machine": VALUES,
    "every data sample is in its bucket (ms)": VALUES,
    "every data sample is in its bucket (us)": VALUES,
}
"""By the check's name. What is not here needs everything, so that no new check passes unseen; the kernel's
needs its log only, the link's packets, and the second probe's what the two have in common."""

_FREE: Final = frozenset({Layer.KERNEL, Layer.LINK})
SECOND: Final = "the second probe"
"""Begins the name of each check that compares the recording's two probes."""

_TELLING: Final = frozenset({Layer.SAMPLE, Layer.NOMINAL})


def seen_through(findings: Iterable[Finding], view: View, probe: str) -> tuple[Finding, ...]:
    """The findings, those that ``view`` does not reach put aside: ``blind``, inconclusive, with what was lacking."""
    return tuple(_through(finding, view, probe) for finding in findings)


def _through(finding: Finding, view: View, probe: str) -> Finding:
    if finding.layer in _FREE or finding.check.startswith(SECOND) or finding.blind:
        return finding
    needs = NEEDS.get(finding.check.removeprefix(f"{CONTROL}: "))
    lacks = needs.unmet(view) if needs is not None else "" if not view.unseen and view.every_sample else "everything"
    if not lacks:
        return finding
    return replace(
        finding,
        outcome=Outcome.INCONCLUSIVE,
        blind=True,
        message=f"{NEEDED}{lacks}, and {probe} sees {view.render()}",
        seen="nothing",
        samples=0,
    )


def tells(findings: Iterable[Finding]) -> bool:
    """Whether any sample was held against the wire or the injected latency: without that nothing was judged."""
    return any(
        finding.layer in _TELLING and not finding.blind and NEEDS.get(finding.check) is not NOTHING
        for finding in findings
    )
