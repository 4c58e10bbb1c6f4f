"""Workers of pytest-xdist's on other machines, told the same as those on this one.

xdist takes what is reached with ssh for a machine with other paths: it rewrites arguments, and brings directories of
its own there. Owned here is that it does not, for a guest sees everything where it is here (`rttcheck.remote`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xdist.workermanage import Marker, NodeManager, WorkerController

if TYPE_CHECKING:
    import execnet

Put = Callable[[tuple[str, dict[str, Any]]], None]


class KernelNodes(NodeManager):  # type: ignore[misc]  # xdist has no types
    """xdist's workers, of which some are elsewhere."""

    def setup_node(self, spec: execnet.XSpec, putevent: Put) -> WorkerController:
        """As xdist's, up to what a worker elsewhere is told."""
        if spec.popen:
            return super().setup_node(spec, putevent)
        gateway = self.group.makegateway(f"execmodel=main_thread_only//{spec}")
        self.config.hook.pytest_xdist_newgateway(gateway=gateway)
        node = RemoteWorker(self, gateway, self.config, putevent)
        gateway.node = node
        node.setup()
        return node


class RemoteWorker(WorkerController):  # type: ignore[misc]  # xdist has no types
    """A worker on another machine."""

    def setup(self) -> None:
        """As xdist's: arguments as they were given, and the path for imports that its Python has."""
        self.gateway._rinfo()
        arguments = [str(argument) for argument in self.config.invocation_params.args or ()]
        self.config.hook.pytest_configure_node(node=self)
        self.channel = self.gateway.remote_exec(self.config.hook.pytest_xdist_getremotemodule())
        self.channel.send((self.workerinput, arguments, {}, None))
        self.channel.setcallback(self.process_from_remote, endmarker=Marker.END)
