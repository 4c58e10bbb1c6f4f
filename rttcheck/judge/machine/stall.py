"""Whether the machine explains late values: in virtual time one pause of the processor, in real time its noise.

In virtual time no noise of the host is in a sample, but the guest's kernel has work of its own that no traffic causes
(freed memory is returned, timers expire), and everything else waits for it. It is rare: of 468,189 packets passed from
one interface to another in 21 runs of the suite on 6.12 one waited longer than 34 us, for 406 us. Two such pauses in
one scenario are not expected in 10,000 scenarios. So what one pause explains is *inconclusive*: neither failed nor
passed. If it takes two pauses it is a failure, and so is lateness of more than half of all values, or longer than the
kernel lets such work run at a time.

A preemptible kernel may preempt a thread between a segment's stamp and its departure, or between an ACK's arrival and
its sample; with PREEMPT_RT anywhere on a packet's way (``local_bh_disable()`` does not prevent preemption). More
threads mean more of it. That is by design, and samples contain it. There a few late values are no failure, however many
pauses they need.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.findings import Outcome, inconclusive_if
from rttcheck.judge.machine.noise import Late, MachineNoise

Integers = npt.NDArray[np.int64]

MOST_PAUSES: Final = 1

REST_NS: Final = 150_000
"""A processor is idle when no packet passed for this long: what is due sooner after a pause still waits for the same
work (self-built 6.12, `bbr`: 280 us and 210 us, with a burst of packets in the 28 us between)."""

FEW: Final = 20
"""One in this many values may be late by preemption: 2 of 544 were, of sixteen flows on 6.12-rt."""

LONGEST_NS: Final = 4_000_000
"""``MAX_SOFTIRQ_TIME`` (kernel/softirq.c): 2 ms, which is one jiffy of 4 ms at Debian's HZ of 250."""

PREEMPTED_NS: Final = 12_000_000
"""A preempted thread runs again after three time slices at the latest, each up to a tick of 4 ms: client, server and
one other thread take turns. 3.2 to 5.1 ms were seen (`bbr` and `rate-queue` on 7.3)."""


def pauses(begin_ns: Integers, end_ns: Integers) -> int:
    """Return the fewest moments such that each late value's window, ``begin`` to ``end``, contains one of them."""
    count, moment = 0, None
    for at in np.argsort(end_ns, kind="stable").tolist():
        if moment is None or begin_ns[at] > moment:
            count, moment = count + 1, end_ns[at]
    return count


def explained(late: Late, *, preemption: str = "") -> str:
    """Return what explains late values that are at most half of all: one pause, or the kernel's ``preemption``.

    ``preemption`` is what `Evidence` calls it, empty where the kernel has none. Empty where nothing explains them.
    """
    if late.count == 0:
        return ""
    longest_ns = int(np.max(late.excess_ns))
    one = 2 * late.count <= late.total and pauses(late.begin_ns, late.end_ns + REST_NS) <= MOST_PAUSES
    if one and longest_ns <= LONGEST_NS:
        return "one pause of the processor"
    if preemption and FEW * late.count <= late.total and longest_ns <= PREEMPTED_NS:
        return preemption
    return ""


def at_few_moments(due_ns: Integers, within_ns: int, late: Late) -> str:
    """Return at how few moments the late values occurred, as text; empty where it was at half of all moments or more.

    Synchronous flows are due together, so one pause may make half of their values late. ``due_ns`` is of all values,
    late or not; values due ``within_ns`` of each other count as one moment.
    """
    occasions = pauses(due_ns, due_ns + within_ns)
    moments = pauses(late.begin_ns, late.end_ns)
    return f"that was at {moments} of {occasions} moments" if 2 * moments < occasions else ""


def unless_stalled(
    message: str, late: Late, noise: MachineNoise | None, *, relayed: bool = True, preemption: str = ""
) -> tuple[Outcome, str]:
    """Return outcome and message of a check that failed by ``late``: inconclusive where the machine explains it.

    ``noise`` is None in virtual time. ``relayed``: the values went over the link. ``preemption``: as in `explained`.
    """
    if noise is not None:
        return inconclusive_if(Outcome.FAILED, message, noise.explains(late, relayed=relayed))
    cause = explained(late, preemption=preemption)
    return inconclusive_if(Outcome.FAILED, message, f"{cause} can explain this" if cause else "")
