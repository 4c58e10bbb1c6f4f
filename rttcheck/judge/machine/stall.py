"""Whether the machine explains late values: in virtual time one pause of the processor, in real time its noise.

In virtual time no noise of the host is in a sample, but the guest's kernel has work of its own that no traffic causes
(freed memory is returned, timers expire), and everything else waits for it. It is rare: of 468,189 packets passed from
one interface to another in 21 runs of the suite on 6.12 one waited longer than 34 us, for 406 us. Two such pauses in
one scenario are not expected in 10,000 scenarios. So what one pause explains is *inconclusive*: neither failed nor
passed. If it takes two pauses it is a failure, and so is lateness of more than half of all values, or longer than the
kernel lets such work run at a time.

With PREEMPT_RT a thread may be preempted between a segment's stamp and its departure, or between an ACK's arrival and
its sample (``local_bh_disable()`` does not prevent preemption), and more threads mean more of it. That is by design,
and samples contain it. There a few late values are no failure, however many pauses they need.
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
"""One in this many values may be late under PREEMPT_RT: 2 of 544 were, of sixteen flows on 6.12."""

LONGEST_NS: Final = 4_000_000
"""``MAX_SOFTIRQ_TIME`` (kernel/softirq.c): 2 ms, which is one jiffy of 4 ms at Debian's HZ of 250."""


def pauses(begin_ns: Integers, end_ns: Integers) -> int:
    """Return the fewest moments such that each late value's window, ``begin`` to ``end``, contains one of them."""
    count, moment = 0, None
    for at in np.argsort(end_ns, kind="stable").tolist():
        if moment is None or begin_ns[at] > moment:
            count, moment = count + 1, end_ns[at]
    return count


def explained(late: Late, *, preemptible: bool = False) -> str:
    """Return what explains late values that are at most half of all: one pause or PREEMPT_RT.

    Empty where nothing does.
    """
    if late.count == 0 or int(np.max(late.excess_ns)) > LONGEST_NS:
        return ""
    if 2 * late.count <= late.total and pauses(late.begin_ns, late.end_ns + REST_NS) <= MOST_PAUSES:
        return "one pause of the processor"
    if preemptible and FEW * late.count <= late.total:
        return "PREEMPT_RT preemption"
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
    message: str, late: Late, noise: MachineNoise | None, *, relayed: bool = True, preemptible: bool = False
) -> tuple[Outcome, str]:
    """Return outcome and message of a check that failed by ``late``: inconclusive where the machine explains it.

    ``noise`` is None in virtual time. ``relayed``: the values went over the link. ``preemptible``: the kernel has
    PREEMPT_RT.
    """
    if noise is not None:
        return inconclusive_if(Outcome.FAILED, message, noise.explains(late, relayed=relayed))
    cause = explained(late, preemptible=preemptible)
    return inconclusive_if(Outcome.FAILED, message, f"{cause} can explain this" if cause else "")
