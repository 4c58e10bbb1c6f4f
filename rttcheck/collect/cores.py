"""Which cores the traffic and the relay keep to in real time, and how their threads are scheduled.

Owns the choice among the cores that this process is allowed, and asking the kernel for them; refuses to know what the
threads do. Nothing outlives the threads that asked: affinity and policy are a thread's own, and end with it. Standard
library only, as a process with nothing else comes through here.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

PRIORITY = 1
"""The lowest of SCHED_FIFO: before all of the normal scheduler, behind the relay and the kernel's own threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Where threads are to run; None: wherever the kernel likes. ``priority`` is of SCHED_FIFO, 0 the normal one."""

    traffic: int | None = None
    relay: int | None = None
    priority: int = 0


ANYWHERE = Cores()


def choose_cores(allowed: Collection[int] | None = None) -> Cores:
    """A core for the traffic and one for the relay, where this process is ``allowed`` two or more; else none.

    ``sched_getaffinity(2)`` names the allowed ones: those of the control group's cpuset, and of who started us. The
    last ones are taken, as interrupts that nobody steers go to the first.
    """
    cores = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    if len(cores) < 2:
        return ANYWHERE
    return Cores(traffic=cores[-2], relay=cores[-1], priority=PRIORITY)


def take(cpu: int | None, priority: int) -> str:
    """Put the calling thread on one core and then, with a priority, under SCHED_FIFO; what the kernel gave, in words.

    A thread that may run anywhere stays under the normal scheduler: under the other it could keep others from all.
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
