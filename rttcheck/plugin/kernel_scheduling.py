"""Schedule tests on kernels: all tests at once, or, in a second guest, those that the first did not finish.

It implements pytest-xdist's scheduler (``xdist.scheduler.protocol.Scheduling``). Kernels do not wait for each other:
each begins when it has collected its tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rttcheck.plugin.kernel_run import KernelRun
from rttcheck.plugin.worker import with_kernel

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


@dataclass(slots=True, eq=False)
class KernelScheduling:
    """Every test on every kernel. ``run_of`` returns a node's kernel; ``all_done`` whether no kernel is left."""

    run_of: Callable[[WorkerController], KernelRun]
    all_done: Callable[[], bool]
    _pending: dict[WorkerController, list[int]] = field(default_factory=dict)
    _collections: dict[WorkerController, list[str]] = field(default_factory=dict)
    _started: set[WorkerController] = field(default_factory=set)

    @property
    def nodes(self) -> list[WorkerController]:
        """All nodes."""
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        """True: no kernel waits for the collection of another."""
        return True

    @property
    def has_pending(self) -> bool:
        """True: xdist prints the number of its workers until tests are pending."""
        return True

    @property
    def tests_finished(self) -> bool:
        """Whether no kernel is left; a guest may still be lost in its last test."""
        return self.all_done()

    def add_node(self, node: WorkerController) -> None:
        """Add a kernel that is up."""
        self._pending[node] = []

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Set the tests of a kernel, without those that an earlier guest of it has finished."""
        run = self.run_of(node)
        self._collections[node] = [with_kernel(nodeid, run.asked) for nodeid in collection]
        self._pending[node] = [
            index for index, nodeid in enumerate(self._collections[node]) if nodeid not in run.finished
        ]

    def schedule(self) -> None:
        """Send its tests to each kernel that has collected them; it ends when it has run them."""
        for node, pending in self._pending.items():
            if node in self._started or node not in self._collections:
                continue
            self._started.add(node)
            node.send_runtest_some(list(pending))
            node.shutdown()

    def mark_test_complete(
        self,
        node: WorkerController,
        item_index: int,
        duration: float = 0,  # noqa: ARG002  # as xdist calls it
    ) -> None:
        """Record that a test has finished."""
        self._pending[node].remove(item_index)

    def running(self, node: WorkerController) -> str | None:
        """Return the test that is running on a node, or None."""
        pending = self._pending.get(node, [])
        return self._collections[node][pending[0]] if pending and node in self._started else None

    def remove_node(self, node: WorkerController) -> str | None:
        """Remove a node. Returns None, so that xdist reports no crashed test; `KernelSession` reports the loss."""
        self._pending.pop(node)
        return None

    def mark_test_pending(self, item: str) -> None:
        """Refuse: no test is run again on a kernel that has finished it."""
        raise NotImplementedError(f"xdist requested {item} again, and rttcheck runs each test once on each kernel")

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """Refuse: each kernel runs its own tests."""
        raise NotImplementedError(
            f"xdist requested tests {list(indices)} back from {node}, and each kernel runs its own"
        )
