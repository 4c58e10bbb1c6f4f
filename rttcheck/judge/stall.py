"""Whether one pause of the processor explains all values that are late.

It owns the count of pauses that a set of late values needs. What is late it is told.

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


def explained(begin_ns: Integers, end_ns: Integers, excess_ns: Integers, total: int) -> bool:
    """Whether `MOST_PAUSES` explain the late ones of ``total`` values.

    The windows say when each may have waited, ``excess_ns`` how much too late it is.
    """
    late = len(begin_ns)
    if late == 0 or int(np.max(excess_ns)) > LONGEST_NS:
        return False
    return 2 * late <= total and pauses(begin_ns, end_ns) <= MOST_PAUSES
