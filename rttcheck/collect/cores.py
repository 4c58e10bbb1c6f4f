"""Choose the cores of the traffic and the relay in real time, and set how their threads are scheduled.

Affinity and policy belong to a thread and end with it, so nothing remains afterwards. Standard library only, because
the noise process, which has nothing else, imports this module.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

PRIORITY = 1
"""The lowest of SCHED_FIFO: above the whole normal scheduler, below the relay and the kernel's own threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Where threads run; None: wherever the kernel chooses. ``priority`` is of SCHED_FIFO, 0 the normal scheduler."""

    traffic: int | None = None
    relay: int | None = None
    priority: int = 0


ANYWHERE = Cores()


def choose_cores(allowed: Collection[int] | None = None) -> Cores:
    """Choose a core for the traffic and one for the relay, where this process is ``allowed`` two or more; else none.

    ``sched_getaffinity(2)`` lists the allowed ones: those of the control group's cpuset and of the starting process.
    The last ones are taken, because interrupts without an affinity setting go to the first.
    """
    cores = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    if len(cores) < 2:
        return ANYWHERE
    return Cores(traffic=cores[-2], relay=cores[-1], priority=PRIORITY)


def take(cpu: int | None, priority: int) -> str:
    """Bind the calling thread to one core, then set SCHED_FIFO with the priority; return the result as text.

    A thread that may run anywhere stays under the normal scheduler: under SCHED_FIFO it could block all others.
    """
    if cpu is None:
        return "the normal scheduler, on any CPU"
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        return f"the normal scheduler, not on CPU {cpu} ({error.strerror})"
    if not priority:
        return f"the normal scheduler, on CPU {cpu}"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"the normal scheduler, SCHED_FIFO is refused ({error.strerror}), on CPU {cpu}"
    return f"SCHED_FIFO priority {priority}, on CPU {cpu}"
