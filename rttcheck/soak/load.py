"""A busy machine, made on purpose: one process a processor that does nothing but run.

Owns those processes: they are gone when the block ends, and killed by the kernel when this process dies, whatever
kills it.
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
    """With load ``busy`` every processor that this process may use has a rival of nice 0; with ``none`` nothing.

    Gives the process ids. Call it in the main thread. Raises RttcheckError at the end of the block when one of them
    did not live until then: the machine was not as busy as the report would say.
    """
    with ExitStack() as stack:
        rivals = []
        for _ in range(len(os.sched_getaffinity(0)) if load == "busy" else 0):
            rival = subprocess.Popen(
                [sys.executable, "-ISc", _BUSY],
                stdin=subprocess.DEVNULL,
                preexec_fn=_dies_with_parent(),
                process_group=0,
            )
            stack.callback(rival.wait)
            stack.callback(rival.kill)
            rivals.append(rival)
        yield tuple(rival.pid for rival in rivals)
        gone = sum(rival.poll() is not None for rival in rivals)
        if gone:
            raise RttcheckError(
                f"{gone} of {len(rivals)} processes that keep the machine busy have ended early, so that what ran "
                "meanwhile says nothing of a busy machine: find out who kills processes here, or use --load none"
            )


def _dies_with_parent() -> Callable[[], None]:
    """Dies with this process, and is no nicer than a process is by default, even where this one is."""
    request_death_signal = die_with_parent()

    def prepare() -> None:
        request_death_signal()
        if os.getpriority(os.PRIO_PROCESS, 0) > 0 and os.geteuid() == 0:
            os.setpriority(os.PRIO_PROCESS, 0, 0)

    return prepare
