"""The traffic of a scenario: what its TCP connections write, how much and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from rttcheck.errors import ScenarioError
from rttcheck.scenario.duration import format_us, parse_us
from rttcheck.scenario.keywords import as_table, check_known
from rttcheck.scenario.quantity import parse_choice, parse_count, parse_flag

KINDS: Final = ("pingpong", "oneway", "bulk", "paced", "connections")

DEADLINE_S: Final = 30.0
"""Default of the longest time that traffic may take, on a link without delay."""

FLAT_KEYWORDS: Final = ("count", "size", "interval", "flows", "congestion", "nodelay")
"""Keywords of traffic in the scenario itself; the table ``traffic`` has more."""

TABLE_KEYWORDS: Final = ("kind", *FLAT_KEYWORDS, "quickack", "deadline")

DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "pingpong": {"count": 100},
    "oneway": {"count": 100},
    "bulk": {"count": 1, "size": 200_000},
    "paced": {"count": 100, "interval": "5ms"},
    "connections": {"count": 20},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What each of ``flows`` connections does.

    ``pingpong``: the client writes ``size`` bytes and waits for as many back, ``count`` times. ``oneway``: the client
    writes ``size`` bytes ``count`` times without waiting. ``paced``: the same, a write every ``interval_us``. ``bulk``:
    the client writes ``size`` bytes in all. ``connections``: ``count`` connections one after the other, one exchange
    each.
    """

    kind: str = "pingpong"
    count: int = 100
    size: int = 1
    interval_us: int = 0
    flows: int = 1
    congestion: str = "cubic"
    nodelay: bool = True
    quickack: bool = False
    """TCP_QUICKACK on the sockets; the route's ``quickack`` is the scenario's own."""
    deadline_s: float = DEADLINE_S
    """In seconds of the lab's clock."""

    @classmethod
    def make(cls, traffic: object = "pingpong", **flat: object) -> Traffic:
        """Make traffic from a kind (``"bulk"``) or a table (``{kind="bulk", size=200_000}``), and keywords beside it.

        Raises ScenarioError for an unknown keyword or kind, a value out of range, a keyword given twice, and a keyword
        without effect on this kind of traffic.
        """
        table = {"kind": traffic} if isinstance(traffic, str) else as_table(traffic, what="traffic")
        check_known(table, TABLE_KEYWORDS, where="traffic")
        kind = parse_choice(table.pop("kind", "pingpong"), what="traffic", choices=KINDS)
        twice = sorted(table.keys() & flat.keys())
        if twice:
            raise ScenarioError(f"{twice[0]} is given beside traffic and inside it: keep one of the two")
        asked = {**table, **flat}
        _refuse_idle(kind, asked)
        asked = {**DEFAULTS[kind], **asked}
        congestion = asked.get("congestion", "cubic")
        if not isinstance(congestion, str) or not congestion:
            raise ScenarioError(f'congestion={congestion!r} is not a name: write one such as congestion="bbr"')
        deadline_us = parse_us(asked.get("deadline", "30s"), what="deadline")
        if not 0 < deadline_us <= 3_600_000_000:
            raise ScenarioError(
                f'deadline="{format_us(deadline_us)}" is out of range: give it more than 0 and up to 60min'
            )
        interval_us = parse_us(asked["interval"], what="interval") if "interval" in asked else 0
        if kind == "paced" and interval_us == 0:
            raise ScenarioError('interval="0ms" is no pace: give it more than 0, or use traffic="oneway"')
        return cls(
            kind=kind,
            count=parse_count(asked["count"], what="count", least=1, most=100_000),
            size=parse_count(asked.get("size", 1), what="size", least=1, most=1 << 30),
            interval_us=interval_us,
            flows=parse_count(asked.get("flows", 1), what="flows", least=1, most=256),
            congestion=congestion,
            nodelay=parse_flag(asked.get("nodelay", True), what="nodelay"),
            quickack=parse_flag(asked.get("quickack", False), what="traffic.quickack"),
            deadline_s=deadline_us / 1_000_000,
        )

    @property
    def server_writes(self) -> bool:
        """Whether the server also writes, and so takes samples of its own."""
        return self.kind in ("pingpong", "connections")

    @property
    def paced_bytes(self) -> int:
        """Bytes per second of all flows together, if paced; else 0."""
        return self.flows * self.size * 1_000_000 // self.interval_us if self.interval_us else 0

    def most_packets(self, segment_bytes: int) -> int:
        """Return the number of data segments of all flows together, without retransmissions."""
        return self.flows * self.count * -(-self.size // segment_bytes)

    def keywords(self) -> dict[str, object]:
        """Return the table that makes the same traffic."""
        table: dict[str, object] = {field.name: getattr(self, field.name) for field in fields(self)}
        interval_us, deadline_s = table.pop("interval_us"), table.pop("deadline_s")
        if self.kind == "bulk":
            del table["count"]
        if interval_us:
            table["interval"] = format_us(self.interval_us)
        if deadline_s != DEADLINE_S:
            table["deadline"] = format_us(round(self.deadline_s * 1_000_000))
        return table


def _refuse_idle(kind: str, asked: Mapping[str, object]) -> None:
    """Raise ScenarioError for a keyword without effect on ``kind``."""
    if "interval" in asked and kind != "paced":
        raise ScenarioError(f'interval has no effect in traffic="{kind}": use traffic="paced", or leave it out')
    if "count" in asked and kind == "bulk":
        raise ScenarioError('count has no effect in traffic="bulk", which writes size bytes in all: leave it out')
