"""Parse the link keywords of a scenario (``rtt``, ``out``, ``back``, ``jitter``, ...) into a `Netem` per direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from rttcheck.errors import ScenarioError
from rttcheck.scenario.duration import format_ns, parse_ns
from rttcheck.scenario.keywords import as_table, check_known
from rttcheck.scenario.quantity import parse_choice, parse_count, parse_flag, parse_percent, parse_rate
from rttcheck_netns.distribution import NAMED, SCALE, Distribution
from rttcheck_netns.errors import NetemInvalid
from rttcheck_netns.netem import MAX_JITTER_NS, GilbertElliott, Netem, RandomLoss, Slot, StateLoss

LONGEST_NS: Final = 120_000_000_000
"""TCP waits at most two minutes (TCP_RTO_MAX, RFC 6298 section 2.5): beyond, every segment counts as lost."""

DIRECTION_KEYWORDS: Final = (
    "jitter",
    "delay_correlation",
    "distribution",
    "loss",
    "loss_correlation",
    "ecn",
    "duplicate",
    "duplicate_correlation",
    "reorder",
    "reorder_correlation",
    "gap",
    "corrupt",
    "corrupt_correlation",
    "rate",
    "packet_overhead",
    "cell_size",
    "cell_overhead",
    "slot",
    "limit",
    "seed",
)
"""Keywords of one direction; beside ``rtt`` each applies to both directions, as written."""

LINK_KEYWORDS: Final = ("rtt", "out", "back", *DIRECTION_KEYWORDS)

DELAY: Final = "delay"
"""Keyword of the delay in the tables ``out`` and ``back``."""

LOSS_MODELS: Final = {"state": ("p13", "p31", "p32", "p23", "p14"), "gilbert-elliott": ("p", "r", "h", "k1")}
"""Loss models and their keywords; the first one is required."""

SLOT_KEYWORDS: Final = ("min", "max", "distribution", "delay", "jitter", "packets", "bytes")

_NEEDS: Final = {
    "distribution": "jitter",
    "delay_correlation": "jitter",
    "loss_correlation": "loss",
    "ecn": "loss",
    "duplicate_correlation": "duplicate",
    "reorder": "delay",
    "reorder_correlation": "reorder",
    "gap": "reorder",
    "corrupt_correlation": "corrupt",
    "packet_overhead": "rate",
    "cell_size": "rate",
    "cell_overhead": "rate",
}


def parse_link(keywords: Mapping[str, object]) -> tuple[Netem, Netem]:
    """Return client-to-server and server-to-client impairment from the keywords of a scenario or a step.

    ``rtt`` is split evenly, to the nanosecond. ``out`` and ``back`` are a one-way time or a table; one of them alone
    leaves the other direction without delay. Every other keyword applies to each direction as written, so that a jitter
    of 2 ms beside ``rtt`` varies the round trip by up to 4 ms. Raises ScenarioError for invalid combinations.
    """
    if "rtt" in keywords and ("out" in keywords or "back" in keywords):
        also = "out" if "out" in keywords else "back"
        raise ScenarioError(
            f"rtt and {also} were both given: keep rtt for an even split, or out and back for two delays"
        )
    both = {name: value for name, value in keywords.items() if name in DIRECTION_KEYWORDS}
    if "rtt" in keywords:
        rtt_ns = parse_ns(keywords["rtt"], what="rtt")
        delays = {"out": rtt_ns // 2, "back": rtt_ns - rtt_ns // 2}
        if rtt_ns > 2 * LONGEST_NS:
            raise ScenarioError(_too_long("rtt", rtt_ns, 2 * LONGEST_NS))
        return _netem("out", delays["out"], both), _netem("back", delays["back"], both)
    return _direction("out", keywords.get("out", "0ms"), both), _direction("back", keywords.get("back", "0ms"), both)


def _direction(side: str, value: object, both: Mapping[str, object]) -> Netem:
    table = dict(value) if isinstance(value, Mapping) else {"delay": value}
    check_known(table, (DELAY, *DIRECTION_KEYWORDS), where=side)
    twice = sorted(table.keys() & both.keys())
    if twice:
        raise ScenarioError(f"{twice[0]} is given for both directions and in {side}: keep one of the two")
    what = f"{side}.delay" if isinstance(value, Mapping) else side
    delay_ns = parse_ns(table.pop("delay", "0ms"), what=what)
    return _netem(side, delay_ns, both, table)


def _netem(
    side: str, delay_ns: int, both: Mapping[str, object], own: Mapping[str, object] = MappingProxyType({})
) -> Netem:
    named = {name: (name, value) for name, value in both.items() if value is not None}
    named |= {name: (f"{side}.{name}", value) for name, value in own.items() if value is not None}
    given = _DirectionKeywords(side, delay_ns, named)
    try:
        return replace(given, values={name: named[name] for name in named if not given.is_zero(name)}).netem()
    except NetemInvalid as error:
        raise ScenarioError(f"{side}: {error}") from error


def _too_long(what: str, given_ns: int, most_ns: int) -> str:
    return (
        f'{what}="{format_ns(given_ns)}" exceeds the maximum of {format_ns(most_ns)}: TCP waits at most two minutes '
        "for an ACK (TCP_RTO_MAX), so that it would take no sample; give it less"
    )


@dataclass(frozen=True, slots=True)
class _DirectionKeywords:
    """The keywords of one direction: each value with its full name, for messages."""

    side: str
    delay_ns: int
    values: Mapping[str, tuple[str, object]]

    def netem(self) -> Netem:
        if self.delay_ns > LONGEST_NS:
            raise ScenarioError(_too_long(self.side, self.delay_ns, LONGEST_NS))
        for name, needed in _NEEDS.items():
            present = self.delay_ns > 0 if needed == "delay" else needed in self.values
            if name in self.values and not present:
                raise ScenarioError(
                    f"{self.values[name][0]} does nothing without {needed}: add {needed}, or leave it out"
                )
        jitter_ns = self._time("jitter")
        if jitter_ns > MAX_JITTER_NS:
            raise ScenarioError(
                f'{self.values["jitter"][0]}="{format_ns(jitter_ns)}" is too large for netem: give 2.147s or less'
            )
        netem = Netem(
            delay_ns=self.delay_ns,
            jitter_ns=jitter_ns,
            delay_correlation=self._percent("delay_correlation"),
            distribution=self._distribution(),
            loss=self._loss(),
            ecn=self._flag("ecn"),
            duplicate=self._percent("duplicate"),
            duplicate_correlation=self._percent("duplicate_correlation"),
            reorder=self._percent("reorder"),
            reorder_correlation=self._percent("reorder_correlation"),
            # netem reorders nothing while its gap is 0 (netem_enqueue()); tc silently sets 1, and so does this.
            gap=self._count("gap", default=1 if "reorder" in self.values else 0, most=2**32 - 1),
            corrupt=self._percent("corrupt"),
            corrupt_correlation=self._percent("corrupt_correlation"),
            rate_bytes=self._rate(),
            packet_overhead=self._count("packet_overhead", least=-(2**16), most=2**16),
            cell_size=self._count("cell_size", most=2**16),
            cell_overhead=self._count("cell_overhead", least=-(2**16), most=2**16),
            slot=self._slot(),
            limit=self._count("limit", default=1000, least=1, most=2**31 - 1),
            seed=self._count("seed", most=2**64 - 1) if "seed" in self.values else None,
        )
        self._refuse_truncation(netem)
        return netem

    def is_zero(self, name: str) -> bool:
        """Return whether a keyword is given as zero, which is the same as not at all. Raises ScenarioError."""
        if name == "jitter":
            return self._time(name) == 0
        if name == "rate":
            return self._rate() == 0
        if name == "loss":
            return self._loss() == RandomLoss(0.0)
        if name in ("duplicate", "reorder", "corrupt") or name.endswith("_correlation"):
            return self._percent(name) == 0
        return name in ("gap", "packet_overhead", "cell_size", "cell_overhead") and self.values[name][1] == 0

    def _time(self, name: str) -> int:
        what, value = self.values.get(name, (name, "0ms"))
        return parse_ns(value, what=what)

    def _percent(self, name: str) -> float:
        what, value = self.values.get(name, (name, "0%"))
        return parse_percent(value, what=what)

    def _flag(self, name: str) -> bool:
        what, value = self.values.get(name, (name, False))
        return parse_flag(value, what=what)

    def _count(self, name: str, *, default: int = 0, least: int = 0, most: int) -> int:
        what, value = self.values.get(name, (name, default))
        return parse_count(value, what=what, least=least, most=most)

    def _rate(self) -> int:
        if "rate" not in self.values:
            return 0
        what, value = self.values["rate"]
        return parse_rate(value, what=what) // 8

    def _distribution(self) -> Distribution | None:
        what, value = self.values.get("distribution", ("distribution", "uniform"))
        return None if value == "uniform" else _table_of(value, what)

    def _loss(self) -> RandomLoss | StateLoss | GilbertElliott | None:
        if "loss" not in self.values:
            return None
        what, value = self.values["loss"]
        if not isinstance(value, Mapping):
            return RandomLoss(parse_percent(value, what=what), self._percent("loss_correlation"))
        table = as_table(value, what=what)
        model = table.pop("model", None)
        if not isinstance(model, str) or model not in LOSS_MODELS:
            raise ScenarioError(f'{what} needs a known model: write {what}={{model="gilbert-elliott", p="1%"}}')
        if "loss_correlation" in self.values:
            raise ScenarioError(f"loss_correlation is for random loss, and {what} is a loss model: drop one")
        check_known(table, LOSS_MODELS[model], where=what)
        shares = {name: parse_percent(share, what=f"{what}.{name}") for name, share in table.items()}
        if LOSS_MODELS[model][0] not in shares:
            raise ScenarioError(f'{what} loses nothing: give {LOSS_MODELS[model][0]} a share, such as "1%"')
        return StateLoss(**shares) if model == "state" else GilbertElliott(**shares)

    def _slot(self) -> Slot | None:
        if "slot" not in self.values:
            return None
        what, value = self.values["slot"]
        table = as_table(value, what=what)
        check_known(table, SLOT_KEYWORDS, where=what)
        ns = {name: parse_ns(table.get(name, "0ms"), what=f"{what}.{name}") for name in ("min", "delay", "jitter")}
        named = "distribution" in table
        return Slot(
            min_delay_ns=ns["min"],
            max_delay_ns=parse_ns(table.get("max", table.get("min", "0ms")), what=f"{what}.max"),
            distribution=_table_of(table["distribution"], f"{what}.distribution") if named else None,
            dist_delay_ns=ns["delay"],
            dist_jitter_ns=ns["jitter"],
            max_packets=parse_count(table.get("packets", 0), what=f"{what}.packets", most=2**31 - 1),
            max_bytes=parse_count(table.get("bytes", 0), what=f"{what}.bytes", most=2**31 - 1),
        )

    def _refuse_truncation(self, netem: Netem) -> None:
        what = self.values.get("jitter", ("jitter", None))[0]
        if netem.jitter_ns == 0:
            return
        reach_ns = netem.jitter_ns
        if netem.distribution is not None:
            reach_ns = -min(netem.distribution.table) * netem.jitter_ns // SCALE
        if reach_ns > netem.delay_ns:
            tail = (
                ""
                if netem.distribution is None
                else f", whose {netem.distribution.name} tail reaches {format_ns(reach_ns)},"
            )
            raise ScenarioError(
                f'{what}="{format_ns(netem.jitter_ns)}"{tail} is more than the delay {self.side} of '
                f"{format_ns(netem.delay_ns)}: netem sends packets with a negative delay at once, "
                "which truncates the distribution and raises its mean; give less jitter or more delay"
            )


def _table_of(value: object, what: str) -> Distribution:
    """Return a distribution by its name, or from ``{name=..., table=[...]}``."""
    if isinstance(value, str):
        return Distribution.named(parse_choice(value, what=what, choices=(*NAMED, "uniform")))
    table = as_table(value, what=what)
    check_known(table, ("name", "table"), where=what)
    name, numbers = table.get("name", "custom"), table.get("table")
    if not isinstance(name, str) or not isinstance(numbers, (list, tuple)) or not numbers:
        raise ScenarioError(f"{what} needs a name and a table of numbers: write {{name=..., table=[...]}}")
    least, most = -(2**15), 2**15 - 1
    entries = tuple(parse_count(number, what=f"{what}.table", least=least, most=most) for number in numbers)
    return Distribution(name, entries)
