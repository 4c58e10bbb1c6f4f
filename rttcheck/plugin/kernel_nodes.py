"""xdist workers on other machines, with the same arguments as those on this one.

For a gateway over ssh, xdist rewrites arguments and copies directories. Neither is needed, because a guest sees
everything at the paths of this machine (`rttcheck.remote`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xdist.workermanage import Marker, NodeManager, WorkerController

if TYPE_CHECKING:
    import execnet

Put = Callable[[tuple[str, dict[str, Any]]], None]


class KernelNodes(NodeManager):  # type: ignore[misc]  # xdist has no types
    """xdist's node manager, for workers on this and other machines."""

    def setup_node(self, spec: execnet.XSpec, putevent: Put) -> WorkerController:
        """Set up a worker as xdist does, or a `RemoteWorker`."""
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
        """Set up as xdist does, with unchanged arguments and its Python's own import path."""
        self.gateway._rinfo()
        arguments = [str(argument) for argument in self.config.invocation_params.args or ()]
        self.config.hook.pytest_configure_node(node=self)
        self.channel = self.gateway.remote_exec(self.config.hook.pytest_xdist_getremotemodule())
        self.channel.send((self.workerinput, arguments, {}, None))
        self.channel.setcallback(self.process_from_remote, endmarker=Marker.END)
