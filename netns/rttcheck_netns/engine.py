"""The interface of a link's engine (it impairs both directions, reports its settings, and counts), and engine netem.

The other engine is `relay`. Directions: ``out`` is client to server, ``back`` is server to client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from . import qdisc
from .errors import NetemMismatch
from .netem import Netem
from .netem_nla import compare, found
from .netlink import Channel, Request
from .qdisc import QdiscStatistics

Direction = Literal["out", "back"]
DIRECTIONS: tuple[Direction, Direction] = ("out", "back")
EngineName = Literal["netem", "relay"]


class Engine(Protocol):
    """Impairs the two directions of one link."""

    @property
    def name(self) -> EngineName: ...

    def install(self, asked: Mapping[Direction, Netem | None]) -> dict[Direction, Netem | None]:
        """Replace the impairment of both directions; return the settings in force, drawn seeds included.

        Raises UnsupportedByEngine, before anything changes, for a setting that the engine does not have.
        """

    def statistics(self) -> dict[str, QdiscStatistics]:
        """Return the counters of both directions since `install`, under "out" and "back"."""


@dataclass(frozen=True, slots=True)
class Egress:
    """Where a direction's packets are delayed: the interface that sends them on, and a channel to configure it."""

    channel: Channel
    index: int


class KernelNetem:
    """The kernel's netem at the root of each direction's interface; noqueue for a direction without impairment."""

    name: Literal["netem"] = "netem"

    def __init__(self, egress: Mapping[Direction, Egress]) -> None:
        self._egress = egress
        self._impaired = False

    def install(self, asked: Mapping[Direction, Netem | None]) -> dict[Direction, Netem | None]:
        """Remove and add the disciplines, then read them back and compare.

        Raises UnsupportedByKernel without netem, NetemMismatch when the kernel's settings differ.
        """
        removing, self._impaired = self._impaired, True
        for channel, directions in self._channels().items():
            requests: list[Request] = []
            for direction in directions:
                index, netem = self._egress[direction].index, asked[direction]
                if removing:
                    requests.append(qdisc.remove(index))
                requests.append(qdisc.add_noqueue(index) if netem is None else qdisc.add_netem(index, netem))
            channel.transact(requests)
        return self._read_back(asked)

    def _read_back(self, wanted: Mapping[Direction, Netem | None]) -> dict[Direction, Netem | None]:
        holds: dict[Direction, Netem | None] = dict.fromkeys(DIRECTIONS)
        for channel, directions in self._channels().items():
            if all(wanted[direction] is None for direction in directions):
                continue
            roots = qdisc.roots(channel)
            for direction in directions:
                asked, root = wanted[direction], roots.get(self._egress[direction].index)
                if asked is None:
                    continue
                if root is None or root.options is None:
                    raise NetemMismatch(direction, "the discipline", "netem", "noqueue" if root is None else root.kind)
                held = found(root.options, asked)
                compare(direction, asked, held)
                holds[direction] = held
        return holds

    def statistics(self) -> dict[str, QdiscStatistics]:
        """Return the counters of both directions' disciplines, under "out" and "back"; noqueue counts nothing."""
        counted: dict[str, QdiscStatistics] = {}
        for channel, directions in self._channels().items():
            roots = qdisc.roots(channel)
            for direction in directions:
                root = roots.get(self._egress[direction].index)
                counted[direction] = QdiscStatistics(kind="noqueue") if root is None else root.statistics
        return counted

    def _channels(self) -> dict[Channel, list[Direction]]:
        """Return each channel with the directions that it serves: one for a link in the middle, two for ends."""
        channels: dict[Channel, list[Direction]] = {}
        for direction in DIRECTIONS:
            channels.setdefault(self._egress[direction].channel, []).append(direction)
        return channels
