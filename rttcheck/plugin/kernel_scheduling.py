"""Which tests a kernel is given: all of them at once, or, in a second guest, those that the first left behind.

Owns the account of what was sent where, as pytest-xdist asks for it (``xdist.scheduler.protocol.Scheduling``). Kernels
do not wait for each other: each begins when it has collected its tests.
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
    """Every test on every kernel. ``run_of`` says whose gateway a node is; ``all_done`` whether no kernel is left."""

    run_of: Callable[[WorkerController], KernelRun]
    all_done: Callable[[], bool]
    _pending: dict[WorkerController, list[int]] = field(default_factory=dict)
    _collections: dict[WorkerController, list[str]] = field(default_factory=dict)
    _started: set[WorkerController] = field(default_factory=set)

    @property
    def nodes(self) -> list[WorkerController]:
        """All that are there."""
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        """Nobody is waited for."""
        return True

    @property
    def has_pending(self) -> bool:
        """Whether tests are under way; xdist counts its workers on the terminal until they are."""
        return True

    @property
    def tests_finished(self) -> bool:
        """Only when no kernel is left, for a guest may still be lost with its last test."""
        return self.all_done()

    def add_node(self, node: WorkerController) -> None:
        """A kernel is up."""
        self._pending[node] = []

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """What it would run; what an earlier guest of the same kernel has finished is left out."""
        run = self.run_of(node)
        self._collections[node] = [with_kernel(nodeid, run.asked) for nodeid in collection]
        self._pending[node] = [
            index for index, nodeid in enumerate(self._collections[node]) if nodeid not in run.finished
        ]

    def schedule(self) -> None:
        """Send each that has collected its tests; it ends when it has done them."""
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
        """One test is over there."""
        self._pending[node].remove(item_index)

    def running(self, node: WorkerController) -> str | None:
        """The test that was under way there; None when none was."""
        pending = self._pending.get(node, [])
        return self._collections[node][pending[0]] if pending and node in self._started else None

    def remove_node(self, node: WorkerController) -> str | None:
        """It is gone. xdist would report the test under way as crashed; here that is told elsewhere, hence None."""
        self._pending.pop(node)
        return None

    def mark_test_pending(self, item: str) -> None:
        """Tests are not run again on a kernel that has finished them."""
        raise NotImplementedError(f"{item} was to be run again, and rttcheck runs each test once on each kernel")

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """Kernels do not take each other's tests."""
        raise NotImplementedError(f"tests {list(indices)} were to be taken from {node}, and each kernel runs its own")
