"""Whether the machine explains values that are late: in virtual time one pause, in real time the noise there was.

It owns what becomes of a check that failed because of them, and the count of pauses that a set of late values needs.
What is late it is told, and how noisy the machine was.

In virtual time nothing of the host is in a sample, but the guest's kernel has work of its own that no traffic causes
(what was freed is given back, timers run out), and while it does that everything waits. It is rare: of 468,189 packets
handed from one interface to another in 21 runs of the suite on 6.12 one waited longer than 34 us, for 406 us. That two
such pauses meet one scenario is then not to be expected in 10,000 scenarios. So what one pause explains is no failure;
it is no proof of the contrary either, hence *inconclusive*. What takes two is a failure, and so is what concerns more
than half of all values, or is later than the kernel lets such work go on at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.doubt import doubted
from rttcheck.judge.findings import Outcome
from rttcheck.judge.noise import Late, Noise

Integers = npt.NDArray[np.int64]

MOST_PAUSES: Final = 1

LONGEST_NS: Final = 4_000_000
"""``MAX_SOFTIRQ_TIME`` (kernel/softirq.c): 2 ms, which are one jiffy of 4 ms at 250 a second, as Debian has it."""


def pauses(begin_ns: Integers, end_ns: Integers) -> int:
    """The least number of moments such that each window ``begin`` to ``end``, one a late value, holds one of them."""
    count, moment = 0, None
    for at in np.argsort(end_ns, kind="stable").tolist():
        if moment is None or begin_ns[at] > moment:
            count, moment = count + 1, end_ns[at]
    return count


def explained(late: Late) -> bool:
    """Whether `MOST_PAUSES` explain the late values, which are less than half of all."""
    if late.count == 0 or int(np.max(late.excess_ns)) > LONGEST_NS:
        return False
    return 2 * late.count <= late.total and pauses(late.begin_ns, late.end_ns) <= MOST_PAUSES


def unless_stalled(message: str, late: Late, noise: Noise | None, *, relayed: bool = True) -> tuple[Outcome, str]:
    """What a check comes to that failed because of ``late``: inconclusive where the machine explains it.

    ``noise`` is None in virtual time, where there is none. ``relayed``: the values went over the link.
    """
    if noise is not None:
        return doubted(Outcome.FAILED, message, noise.explains(late, relayed=relayed))
    return doubted(Outcome.FAILED, message, "one pause of the processor would explain it" if explained(late) else "")
