"""A lab: client and server, the link between them, and what the link does to packets.

Owns impairing the link, its counters and waiting until it is empty; refuses to know how the lab was wired (that is
`topology`) and anything about TCP. Directions: ``out`` is client to server, ``back`` is server to client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from .engine import DIRECTIONS, Direction, Engine, EngineName
from .errors import NetemMismatch
from .host import Host
from .marker import wait_until_empty
from .namespace import Namespace
from .netem import Netem
from .offloads import Offloads
from .qdisc import QdiscStatistics

if TYPE_CHECKING:
    from .relay.relay import Relay

__all__ = ["DIRECTIONS", "Direction", "Lab"]

_PATIENCE_S = 0.25
"""How long a marker may take beyond twice the link's delays before it is thought lost, and sent again."""


class Lab:
    """A running lab, made by `routed` or `direct`; everything in it ends with their ``with`` block."""

    def __init__(
        self,
        *,
        topology: Literal["routed", "direct"],
        client: Host,
        server: Host,
        link: Host | None,
        engine: Engine,
        relay: Relay | None = None,
        offloads: Offloads,
        mtu: int,
        sysctls: Mapping[str, str],
        expected_rate_bytes: int,
    ) -> None:
        self.topology = topology
        self.client, self.server, self.link = client, server, link
        self.offloads, self.mtu = offloads, mtu
        self.sysctls: dict[str, str] = dict(sysctls)
        """What the ends' sysctls hold: pinned, asked for and recorded ones; "absent" where the kernel has none."""
        self._engine = engine
        self.relay = relay
        """The relay, with its account of each packet, where that is the engine."""
        self._expected_rate_bytes = expected_rate_bytes
        self._asked: dict[Direction, Netem | None] = {"out": None, "back": None}
        self._held: dict[Direction, Netem | None] = {"out": None, "back": None}

    @property
    def engine(self) -> EngineName:
        """What impairs the link: the kernel's netem, or the relay."""
        return self._engine.name

    @property
    def out(self) -> Netem | None:
        """What packets from client to server go through, as asked for and read back."""
        return self._asked["out"]

    @property
    def back(self) -> Netem | None:
        """What packets from server to client go through, as asked for and read back."""
        return self._asked["back"]

    def held(self, direction: Direction) -> Netem | None:
        """What the kernel said that it holds, with the seed that it drew where none was asked for."""
        return self._held[direction]

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces in the order that a packet from the client sees."""
        hosts = (self.client, self.link, self.server)
        return tuple(host.namespace for host in hosts if host is not None)

    @property
    def inodes(self) -> tuple[int, ...]:
        """The namespaces' inode numbers, ``net->ns.inum`` in the kernel."""
        return tuple(namespace.inode for namespace in self.namespaces)

    def impair(self, *, out: Netem | None, back: Netem | None) -> None:
        """Replace what both directions go through; packets that wait in the old discipline are lost with it.

        Raises LimitTooSmall and UnsupportedByEngine before anything is touched; with netem, UnsupportedByKernel where
        the kernel has none and NetemMismatch where it holds something else than was asked for.
        """
        asked: dict[Direction, Netem | None] = {"out": out, "back": back}
        self.check_limits(asked)
        try:
            self._held = self._engine.install(asked)
        except NetemMismatch:
            # Something is in place, only not what was asked for.
            self._asked, self._held = asked, dict.fromkeys(DIRECTIONS)
            raise
        self._asked = asked

    def check_limits(self, asked: Mapping[Direction, Netem | None]) -> None:
        for direction, netem in asked.items():
            if netem is not None:
                netem.check_limit(direction, expected_rate_bytes=self._expected_rate_bytes, packet_bytes=self.mtu)

    def statistics(self) -> dict[str, QdiscStatistics]:
        """The counters of both directions, under "out" and "back"; noqueue counts nothing."""
        return self._engine.statistics()

    def drain(self, *, deadline_s: float) -> None:
        """Return when all that was under way in both directions has arrived; LinkSilent when it has not by then."""
        delays_ns = [netem.highest_delay_ns() for netem in self._asked.values() if netem is not None]
        wait_until_empty(
            {"out": (self.client, self.server), "back": (self.server, self.client)},
            queued=lambda: sum(counted.qlen for counted in self.statistics().values()),
            patience_s=_PATIENCE_S + 2 * sum(delays_ns) / 1e9,
            deadline_s=deadline_s,
        )
