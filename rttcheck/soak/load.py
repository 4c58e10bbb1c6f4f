"""Load the machine with one busy-looping process per processor.

The processes end with the block, and the kernel kills them when this process dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rttcheck.errors import RttcheckError
from rttcheck.kernels.parent_death import die_with_parent

_BUSY = "while True: pass"


@contextmanager
def busy(load: str) -> Iterator[tuple[int, ...]]:
    """With load ``busy``, run a process of nice 0 on every processor that this process may use; with ``none`` nothing.

    Yields the process ids. Call it in the main thread. Raises RttcheckError at the end of the block when one of them
    has ended early: then the machine was not as busy as reported.
    """
    with ExitStack() as stack:
        loops = []
        for _ in range(len(os.sched_getaffinity(0)) if load == "busy" else 0):
            loop = subprocess.Popen(
                [sys.executable, "-ISc", _BUSY],
                stdin=subprocess.DEVNULL,
                preexec_fn=_dies_with_parent(),
                process_group=0,
            )
            stack.callback(loop.wait)
            stack.callback(loop.kill)
            loops.append(loop)
        yield tuple(loop.pid for loop in loops)
        gone = sum(loop.poll() is not None for loop in loops)
        if gone:
            raise RttcheckError(
                f"{gone} of {len(loops)} load processes have ended early, so that the suite did not run on a busy "
                "machine: find out what kills processes here, or use --load none"
            )


def _dies_with_parent() -> Callable[[], None]:
    """Return a preexec function: die with this process, and run at nice 0 even where this process does not."""
    request_death_signal = die_with_parent()

    def prepare() -> None:
        request_death_signal()
        if os.getpriority(os.PRIO_PROCESS, 0) > 0 and os.geteuid() == 0:
            os.setpriority(os.PRIO_PROCESS, 0, 0)

    return prepare
