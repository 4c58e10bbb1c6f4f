"""A scenario, made and validated from keywords, which are the same in Python, in a marker and in a TOML file.

`Scenario.make` is the only way to make one. `rttcheck.scenario.reference` documents the keywords.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from rttcheck.errors import ScenarioError
from rttcheck.scenario import traffic as traffic_module
from rttcheck.scenario.keywords import Plain, as_table, check_known, plain
from rttcheck.scenario.link import LINK_KEYWORDS, parse_link
from rttcheck.scenario.quantity import parse_choice, parse_count, parse_flag
from rttcheck.scenario.traffic import Traffic
from rttcheck_netns.netem import Netem, RandomLoss

CONTROL_EXCHANGES: Final = 60
"""Enough to measure a machine's overhead, few enough for an emulated one."""

_LAB_KEYWORDS: Final = ("family", "topology", "offloads", "quickack", "mtu", "sysctls")

KEYWORDS: Final = (
    "name",
    *LINK_KEYWORDS,
    *_LAB_KEYWORDS,
    "traffic",
    *traffic_module.FLAT_KEYWORDS,
    "steps",
    "unit",
)
"""Every keyword that `Scenario.make` takes."""

STEP_KEYWORDS: Final = ("after", *LINK_KEYWORDS)
"""Every keyword of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A change of the link during the connection, when each flow has done ``after`` exchanges or writes."""

    after: int
    out: Netem
    back: Netem


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A link, the network around it and the traffic that crosses it. Use `Scenario.make`."""

    name: str
    out: Netem
    """Client to server."""
    back: Netem
    """Server to client."""
    family: int = 4
    """4 or 6."""
    topology: str = "routed"
    """``routed`` (delay in the middle) or ``direct`` (delay at the ends)."""
    offloads: bool = False
    quickack: bool = True
    """``quickack 1`` on the routes: no ACK is delayed, so that samples contain the network alone."""
    mtu: int = 1500
    sysctls: tuple[tuple[str, str], ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    steps: tuple[Step, ...] = ()
    unit: str = "ms"
    """The unit of the histogram whose bucket is asserted: ``ms`` or ``us``."""
    asked: Mapping[str, Plain] = field(default_factory=dict, compare=False, repr=False)
    """The keywords as given."""

    @classmethod
    def make(cls, **keywords: object) -> Scenario:
        """Make a scenario from keywords, all of them optional.

        ``name``. The link: ``rtt`` (the round trip, split evenly), or ``out`` and ``back`` (each a one-way time or a
        table); ``jitter``, ``distribution``, ``loss``, ``rate`` and the others of `DIRECTION_KEYWORDS`, for each
        direction as written. The lab: ``family`` (4 or 6), ``topology`` ("routed" or "direct"), ``offloads``,
        ``quickack``, ``mtu``, ``sysctls``. ``traffic``, ``count``, ``size``, ``interval``, ``flows``, ``congestion``,
        ``nodelay``: see `Traffic`. ``steps``: tables of ``after`` and link keywords, each a whole new link. ``unit``:
        "ms" or "us". docs/scenarios.md documents every keyword.

        Times are strings with a unit or timedelta, shares ``"1%"``, rates ``"20mbit"``. A keyword that is None counts
        as not given. Raises ScenarioError for unknown keywords, for numbers without a unit, for values out of
        range and for invalid combinations; the message names the remedy.
        """
        given = {key: value for key, value in keywords.items() if value is not None}
        if "delay" in given:
            raise ScenarioError(
                'delay is ambiguous: write rtt="40ms" for the round trip, or out="20ms" and back="20ms"'
            )
        check_known(given, KEYWORDS, where="a scenario")
        asked = {key: plain(value, what=key) for key, value in given.items()}
        name = given.get("name", "unnamed")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ScenarioError(f"name={name!r} is not a name: give it a line of text")
        out, back = parse_link(given)
        flat = {key: given[key] for key in traffic_module.FLAT_KEYWORDS if key in given}
        traffic = Traffic.make(given.get("traffic", "pingpong"), **flat)
        family = _family(given.get("family", 4))
        return cls(
            name=name,
            out=out,
            back=back,
            family=family,
            topology=parse_choice(given.get("topology", "routed"), what="topology", choices=("routed", "direct")),
            offloads=parse_flag(given.get("offloads", False), what="offloads"),
            quickack=parse_flag(given.get("quickack", True), what="quickack"),
            mtu=parse_count(given.get("mtu", 1500), what="mtu", least=576 if family == 4 else 1280, most=65_535),
            sysctls=_sysctls(given.get("sysctls", {})),
            traffic=traffic,
            steps=_steps(given.get("steps", ()), traffic),
            unit=parse_choice(given.get("unit", "ms"), what="unit", choices=("ms", "us")),
            asked=asked,
        )

    @property
    def rtt_us(self) -> int:
        """The round-trip time injected before any step, without jitter, microseconds."""
        return (self.out.delay_ns + self.back.delay_ns) // 1_000

    @property
    def links(self) -> tuple[tuple[Netem, Netem], ...]:
        """Both directions at the start and after each step."""
        return ((self.out, self.back), *((step.out, step.back) for step in self.steps))

    @property
    def deadline_s(self) -> float:
        """How long the traffic may take, seconds: as given, else the default plus the time that the link needs.

        That is three times the sum of all round trips that are waited for, with room for jitter, losses and timeouts.
        """
        if self.traffic.deadline_s != traffic_module.DEADLINE_S:
            return self.traffic.deadline_s
        longest_ns = max(out.delay_ns + out.jitter_ns + back.delay_ns + back.jitter_ns for out, back in self.links)
        # A connection of its own waits for its SYN, its data and its FIN.
        turns = {"pingpong": 1, "connections": 3}.get(self.traffic.kind, 0) * self.traffic.count
        paced_s = self.traffic.count * self.traffic.interval_us / 1_000_000
        return traffic_module.DEADLINE_S + paced_s + 3 * turns * longest_ns / 1_000_000_000

    @property
    def bursts(self) -> bool:
        """Whether the client writes more than one segment without waiting for the ACK of the previous one."""
        headers = (20 if self.family == 4 else 40) + 60
        return self.traffic.kind in ("bulk", "oneway") or self.traffic.size > self.mtu - headers

    @property
    def not_asserted(self) -> tuple[str, ...]:
        """Keywords in use whose effect no check asserts, because the kernel does not do what they say.

        netem applies correlation to a 32-bit number of which it then uses the low bits: correlated delay comes out
        uncorrelated, and correlated loss loses a tenth of its share (5.10 to 7.3).
        """
        found: dict[str, None] = {}
        for netem in (direction for link in self.links for direction in link):
            if netem.delay_correlation:
                found["delay_correlation"] = None
            if isinstance(netem.loss, RandomLoss) and netem.loss.correlation:
                found["loss_correlation"] = None
            for knob in ("duplicate_correlation", "reorder_correlation", "corrupt_correlation"):
                if getattr(netem, knob):
                    found[knob] = None
        return tuple(found)

    def keywords(self) -> dict[str, Plain]:
        """Return the keywords as given, as plain data: ``Scenario.make(**keywords)`` is this scenario."""
        return {"name": self.name, **self.asked}

    def control(self) -> Scenario:
        """Return the same traffic in the same lab over a link without delay.

        Scenarios that differ only in their link share a control run, except for its name. For pingpong it has one
        connection with `CONTROL_EXCHANGES` exchanges: without delay, several connections would compete for the
        processor all the time, as they do not over a link with delay. (`Slack` allows for segments that arrive
        together.)
        """
        traffic = self.traffic
        if traffic.kind == "pingpong":
            traffic = replace(traffic, flows=1, count=CONTROL_EXCHANGES)
        return Scenario.make(
            name=f"{self.name} control",
            rtt="0ms",
            family=self.family,
            topology=self.topology,
            offloads=self.offloads,
            quickack=self.quickack,
            mtu=self.mtu,
            sysctls=dict(self.sysctls),
            traffic=traffic.keywords(),
        )


def _family(value: object) -> int:
    if value not in (4, 6) or not isinstance(value, int):
        raise ScenarioError(f"family={value!r} is not known: write family=4 for IPv4 or family=6 for IPv6")
    return value


def _sysctls(value: object) -> tuple[tuple[str, str], ...]:
    table = as_table(value, what="sysctls")
    for name, setting in table.items():
        if not name.startswith("net.") or any(part in ("", "..") for part in name.split(".")):
            raise ScenarioError(
                f'sysctls has "{name}", which does not belong to a network namespace: names begin with "net.", as in '
                '"net.ipv4.tcp_sack"'
            )
        if isinstance(setting, bool) or not isinstance(setting, (int, str)):
            raise ScenarioError(f"sysctls gives {name} the value {setting!r}: write a number or a string")
    return tuple(sorted((name, str(setting)) for name, setting in table.items()))


def _steps(value: object, traffic: Traffic) -> tuple[Step, ...]:
    if not isinstance(value, (list, tuple)):
        raise ScenarioError(f'steps={value!r} is not a list: write steps=[{{after=50, rtt="40ms"}}]')
    if value and traffic.kind not in ("pingpong", "oneway", "paced"):
        raise ScenarioError(
            f'steps count writes, and traffic="{traffic.kind}" has none: use "pingpong", "oneway" or "paced"'
        )
    steps: list[Step] = []
    for number, item in enumerate(value, start=1):
        where = f"steps[{number}]"
        table = as_table(item, what=where)
        check_known(table, STEP_KEYWORDS, where=where)
        if "after" not in table or len(table) == 1:
            raise ScenarioError(f'{where} needs "after" and a link: write {{after=50, rtt="40ms"}}')
        least = steps[-1].after + 1 if steps else 1
        if traffic.count - 1 < least:
            raise ScenarioError(f"{where} comes after the last of {traffic.count} exchanges: raise count, or drop it")
        after = parse_count(table.pop("after"), what=f"{where}.after", least=least, most=traffic.count - 1)
        try:
            out, back = parse_link(table)
        except ScenarioError as error:
            raise ScenarioError(f"{where}: {error}") from error
        steps.append(Step(after=after, out=out, back=back))
    return tuple(steps)
