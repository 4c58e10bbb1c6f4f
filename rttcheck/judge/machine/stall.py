"""Whether the machine explains values that are late: in virtual time one pause, in real time the noise there was.

It owns what becomes of a check that failed because of them, and the count of pauses that a set of late values needs.
What is late it is told, and how noisy the machine was.

In virtual time nothing of the host is in a sample, but the guest's kernel has work of its own that no traffic causes
(what was freed is given back, timers run out), and while it does that everything waits. It is rare: of 468,189 packets
handed from one interface to another in 21 runs of the suite on 6.12 one waited longer than 34 us, for 406 us. That two
such pauses meet one scenario is then not to be expected in 10,000 scenarios. So what one pause explains is no failure;
it is no proof of the contrary either, hence *inconclusive*. What takes two is a failure, and so is what concerns more
than half of all values, or is later than the kernel lets such work go on at a time.

A kernel with PREEMPT_RT is another matter. There a thread may be put aside between a segment's stamp and its
departure, or an ACK's arrival and its sample (``local_bh_disable()`` does not keep others from the processor), and more
threads mean more of it: that is what the kernel is for, and its samples hold it. There a few late values are no
failure, however many pauses they need.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.findings import Outcome, inconclusive_if
from rttcheck.judge.machine.noise import Late, Noise

Integers = npt.NDArray[np.int64]

MOST_PAUSES: Final = 1

REST_NS: Final = 150_000
"""A processor by which nothing came for so long is at rest: what is due sooner after a pause still waits for the same
spell of work (self-built 6.12, `bbr`: 280 us and 210 us, with a burst of packets in the 28 us between)."""

FEW: Final = 20
"""One in so many values may be late under PREEMPT_RT: 2 of 544 were, of sixteen flows on 6.12."""

LONGEST_NS: Final = 4_000_000
"""``MAX_SOFTIRQ_TIME`` (kernel/softirq.c): 2 ms, which are one jiffy of 4 ms at 250 a second, as Debian has it."""


def pauses(begin_ns: Integers, end_ns: Integers) -> int:
    """The least number of moments such that each window ``begin`` to ``end``, one a late value, holds one of them."""
    count, moment = 0, None
    for at in np.argsort(end_ns, kind="stable").tolist():
        if moment is None or begin_ns[at] > moment:
            count, moment = count + 1, end_ns[at]
    return count


def explained(late: Late, *, preemptible: bool = False) -> str:
    """What explains the late values, which are less than half of all: `MOST_PAUSES`, or else a kernel like this.

    Empty where nothing does.
    """
    if late.count == 0 or int(np.max(late.excess_ns)) > LONGEST_NS:
        return ""
    if 2 * late.count <= late.total and pauses(late.begin_ns, late.end_ns + REST_NS) <= MOST_PAUSES:
        return "one pause of the processor"
    if preemptible and FEW * late.count <= late.total:
        return "PREEMPT_RT, which puts threads aside in the middle of a packet's way,"
    return ""


def at_few_moments(due_ns: Integers, within_ns: int, late: Late) -> str:
    """Return why values may be late together: what is due at one time is one occasion, and one pause is enough for it.

    Flows that run in step are due together, so that half of their values may be late by one pause. ``due_ns`` is of
    all values, in time or not; what is due ``within_ns`` is one occasion. Empty where half of all occasions are late.
    """
    occasions = pauses(due_ns, due_ns + within_ns)
    moments = pauses(late.begin_ns, late.end_ns)
    return f"that was at {moments} of {occasions} moments" if 2 * moments < occasions else ""


def unless_stalled(
    message: str, late: Late, noise: Noise | None, *, relayed: bool = True, preemptible: bool = False
) -> tuple[Outcome, str]:
    """What a check comes to that failed because of ``late``: inconclusive where the machine explains it.

    ``noise`` is None in virtual time, where there is none. ``relayed``: the values went over the link. ``preemptible``:
    the kernel has PREEMPT_RT.
    """
    if noise is not None:
        return inconclusive_if(Outcome.FAILED, message, noise.explains(late, relayed=relayed))
    cause = explained(late, preemptible=preemptible)
    return inconclusive_if(Outcome.FAILED, message, f"{cause} would explain it" if cause else "")
