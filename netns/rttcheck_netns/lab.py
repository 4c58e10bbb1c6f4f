"""A lab: client and server, the link between them, and the link's impairment.

This module changes the impairment, reads the link's counters and waits until it is empty; `topology` builds the lab.
Directions: ``out`` is client to server, ``back`` is server to client.
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
"""How long a marker may take beyond twice the link's delays before it counts as lost and is sent again."""


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
        expected_packet_bytes: int,
    ) -> None:
        self.topology = topology
        self.client, self.server, self.link = client, server, link
        self.offloads, self.mtu = offloads, mtu
        self.sysctls: dict[str, str] = dict(sysctls)
        """The sysctl values of the ends: pinned, asked for and recorded ones; "absent" where the kernel has none."""
        self._engine = engine
        self.relay = relay
        """The relay, with its record of each packet, where that is the engine."""
        self._expected_rate_bytes, self._expected_packet_bytes = expected_rate_bytes, expected_packet_bytes
        self._asked: dict[Direction, Netem | None] = {"out": None, "back": None}
        self._held: dict[Direction, Netem | None] = {"out": None, "back": None}

    @property
    def engine(self) -> EngineName:
        """What impairs the link: the kernel's netem, or the relay."""
        return self._engine.name

    @property
    def out(self) -> Netem | None:
        """The impairment of packets from client to server, as asked for and read back."""
        return self._asked["out"]

    @property
    def back(self) -> Netem | None:
        """The impairment of packets from server to client, as asked for and read back."""
        return self._asked["back"]

    def held(self, direction: Direction) -> Netem | None:
        """Return the settings that the kernel reported, with the seed that it drew where none was asked for."""
        return self._held[direction]

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces in the order in which a packet from the client passes them."""
        hosts = (self.client, self.link, self.server)
        return tuple(host.namespace for host in hosts if host is not None)

    @property
    def inodes(self) -> tuple[int, ...]:
        """The namespaces' inode numbers, ``net->ns.inum`` in the kernel."""
        return tuple(namespace.inode for namespace in self.namespaces)

    def impair(self, *, out: Netem | None, back: Netem | None) -> None:
        """Replace the impairment of both directions; packets that wait in the old discipline are lost with it.

        Raises LimitTooSmall and UnsupportedByEngine before anything changes; with netem, UnsupportedByKernel where the
        kernel has none and NetemMismatch where its settings differ from the request.
        """
        asked: dict[Direction, Netem | None] = {"out": out, "back": back}
        self.check_limits(asked)
        try:
            self._held = self._engine.install(asked)
        except NetemMismatch:
            # Something is installed, but not what was asked for.
            self._asked, self._held = asked, dict.fromkeys(DIRECTIONS)
            raise
        self._asked = asked

    def check_limits(self, asked: Mapping[Direction, Netem | None]) -> None:
        for direction, netem in asked.items():
            if netem is not None:
                netem.check_limit(
                    direction,
                    expected_rate_bytes=self._expected_rate_bytes,
                    expected_packet_bytes=self._expected_packet_bytes,
                    packet_bytes=self.mtu,
                )

    def statistics(self) -> dict[str, QdiscStatistics]:
        """Return the counters of both directions, under "out" and "back"; noqueue counts nothing."""
        return self._engine.statistics()

    def drain(self, *, deadline_s: float) -> None:
        """Return when all packets in flight in both directions have arrived. Raises LinkSilent after the deadline."""
        delays_ns = [netem.highest_delay_ns() for netem in self._asked.values() if netem is not None]
        wait_until_empty(
            {"out": (self.client, self.server), "back": (self.server, self.client)},
            queued=lambda: sum(counted.qlen for counted in self.statistics().values()),
            patience_s=_PATIENCE_S + 2 * sum(delays_ns) / 1e9,
            deadline_s=deadline_s,
        )
