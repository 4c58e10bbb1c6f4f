"""Every keyword of a scenario with its meaning, value, default and an example: the source of docs/scenarios.md.

`references` checks that this list and the keywords that `rttcheck.scenario.model` takes are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rttcheck.scenario import traffic as traffic_module
from rttcheck.scenario.link import DELAY, DIRECTION_KEYWORDS, LINK_KEYWORDS, LONGEST_NS, LOSS_MODELS, SLOT_KEYWORDS
from rttcheck.scenario.model import KEYWORDS, STEP_KEYWORDS, Scenario
from rttcheck_netns.distribution import NAMED

LINK: Final = "Link"
LAB: Final = "Network"
TRAFFIC: Final = "Traffic"
OTHER: Final = "Scenario"

_LONGEST_S: Final = LONGEST_NS // 1_000_000_000
_TRAFFIC_TABLE: Final = "Table `traffic`"
_STEP_TABLE: Final = "Table in `steps`"
_LOSS_TABLE: Final = "Table `loss`"
_SLOT_TABLE: Final = "Table `slot`"
_DISTRIBUTION_TABLE: Final = "Table `distribution`"

SECTIONS: Final = (
    OTHER, LINK, LAB, TRAFFIC, _TRAFFIC_TABLE, _STEP_TABLE, _LOSS_TABLE, _SLOT_TABLE, _DISTRIBUTION_TABLE,
)  # fmt: skip
"""In the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyword:
    """One keyword. ``example`` holds keywords of a whole scenario that uses it, ``default`` is text for people."""

    name: str
    section: str
    meaning: str
    value: str
    default: str
    example: Mapping[str, object]

    @property
    def per_direction(self) -> bool:
        """Whether the keyword sets each direction of the link, and may stand in the tables ``out`` and ``back``."""
        return self.section == LINK and self.name in (DELAY, *DIRECTION_KEYWORDS)

    @property
    def asserted(self) -> bool:
        """Whether checks assert its effect; False where the kernel does not do what the keyword says."""
        return self.name not in Scenario.make(**self.example).not_asserted


def _table(section: str, rows: Mapping[str, tuple[str, str, str, Mapping[str, object]]]) -> tuple[Keyword, ...]:
    return tuple(
        Keyword(name=name, section=section, meaning=meaning, value=value, default=default, example=example)
        for name, (meaning, value, default, example) in rows.items()
    )


_TIME = "time"
_SHARE = "share, 0% to 100%"
_FLAG = "true or false"
_JITTER: Final = {"rtt": "40ms", "jitter": "2ms"}
_RATE: Final = {"rtt": "20ms", "rate": "20mbit"}
_SLOT: Final = {"rtt": "20ms", "slot": {"min": "2ms", "max": "4ms", "packets": 8}}
_STATE: Final = {"rtt": "20ms", "loss": {"model": "state", "p13": "1%", "p31": "50%"}}
_GILBERT: Final = {"rtt": "20ms", "loss": {"model": "gilbert-elliott", "p": "1%", "r": "30%"}}
_TABLE: Final = {"rtt": "40ms", "jitter": "2ms", "distribution": {"name": "two", "table": [-8192, 8192]}}
_KINDS: Final = ", ".join(traffic_module.KINDS)
_COUNTS: Final = ", ".join(
    f"{defaults['count']} for {kind}" for kind, defaults in traffic_module.DEFAULTS.items() if kind != "bulk"
)

_ALL: Final = (
    *_table(OTHER, {
        "name": (
            "The scenario's name. In a TOML file it is the name of the table.",
            "one line of text", "unnamed", {"name": "far-away", "rtt": "300ms"},
        ),
        "steps": (
            "Changes of the link during the connection, in order. Each step is a complete link: settings of the step "
            "before do not carry over. Only for traffic pingpong, oneway and paced.",
            "list of tables", "none", {"rtt": "20ms", "count": 50, "steps": [{"after": 20, "rtt": "80ms"}]},
        ),
        "unit": (
            "Unit of the histogram whose bucket is asserted.", "ms or us", "ms", {"rtt": "520us", "unit": "us"},
        ),
    }),
    *_table(LINK, {
        "rtt": (
            "Round-trip time of the link, split evenly over the two directions. Excludes out and back.",
            f"{_TIME}, 0 to {2 * _LONGEST_S}s", "0ms", {"rtt": "40ms"},
        ),
        "out": (
            "Delay from client to server, or a table with delay and the keywords of one direction.",
            f"{_TIME}, 0 to {_LONGEST_S}s, or table", "0ms", {"out": "35ms", "back": "5ms"},
        ),
        "back": (
            "The same from server to client.",
            f"{_TIME}, 0 to {_LONGEST_S}s, or table", "0ms", {"back": {"delay": "20ms", "loss": "1%"}},
        ),
        DELAY: (
            "Delay of one direction. Only in the tables out and back.",
            f"{_TIME}, 0 to {_LONGEST_S}s", "0ms", {"out": {"delay": "20ms", "jitter": "2ms"}},
        ),
        "jitter": (
            "Variation of the delay: half the width of the uniform distribution, or the scale of another one. At most "
            "the delay, including the distribution's tail.",
            f"{_TIME}, 0 to 2.147s", "0ms", _JITTER,
        ),
        "delay_correlation": (
            "Correlation of each packet's delay with the one before. Needs jitter.",
            _SHARE, "0%", {**_JITTER, "delay_correlation": "25%"},
        ),
        "distribution": (
            "Distribution of the jitter. Needs jitter.",
            f"uniform, {', '.join(NAMED)}, or table", "uniform",
            {"rtt": "80ms", "jitter": "5ms", "distribution": "normal"},
        ),
        "loss": (
            "Packets lost: a share, a table (see below), or tc's: gemodel p r 1-h 1-k, state p13 p31 p32 p23 p14.",
            f"{_SHARE}, table, or words", "none", {"rtt": "20ms", "loss": "3%"},
        ),
        "loss_correlation": (
            "Correlation of each random loss with the one before. Needs loss as a share.",
            _SHARE, "0%", {"rtt": "20ms", "loss": "3%", "loss_correlation": "25%"},
        ),
        "ecn": (
            "Mark ECN-capable packets as congested instead of losing them. Needs loss.",
            _FLAG, "false", {"rtt": "20ms", "loss": "3%", "ecn": True},
        ),
        "duplicate": ("Share of packets sent twice.", _SHARE, "0%", {"rtt": "20ms", "duplicate": "1%"}),
        "duplicate_correlation": (
            "Correlation of each duplication with the one before. Needs duplicate.",
            _SHARE, "0%", {"rtt": "20ms", "duplicate": "1%", "duplicate_correlation": "25%"},
        ),
        "reorder": (
            "Share of packets sent without delay, ahead of those that wait. Needs a delay.",
            _SHARE, "none", {"rtt": "20ms", "reorder": "20%"},
        ),
        "reorder_correlation": (
            "Correlation of each reordering with the one before. Needs reorder.",
            _SHARE, "0%", {"rtt": "20ms", "reorder": "20%", "reorder_correlation": "25%"},
        ),
        "gap": (
            "At least gap - 1 packets are delayed between two that are reordered. Needs reorder.",
            "number, 0 to 4294967295", "1 (with reorder)", {"rtt": "20ms", "reorder": "50%", "gap": 5},
        ),
        "corrupt": ("Share of packets with one bit inverted.", _SHARE, "0%", {"rtt": "20ms", "corrupt": "1%"}),
        "corrupt_correlation": (
            "Correlation of each corruption with the one before. Needs corrupt.",
            _SHARE, "0%", {"rtt": "20ms", "corrupt": "1%", "corrupt_correlation": "25%"},
        ),
        "rate": (
            "Rate of the link: packets queue behind each other.",
            "bits a second: bit, kbit, mbit, gbit, at least 8bit", "unlimited", _RATE,
        ),
        "packet_overhead": (
            "Bytes added to each packet's size for the rate. Needs rate.",
            "number, -65536 to 65536", "0", {**_RATE, "packet_overhead": 24},
        ),
        "cell_size": (
            "Payload bytes of a link-layer cell; packets are rounded up to whole cells for the rate. Needs rate.",
            "number, 0 to 65536", "0 (no cells)", {**_RATE, "cell_size": 48},
        ),
        "cell_overhead": (
            "Bytes added to each cell. Needs rate.",
            "number, -65536 to 65536", "0", {**_RATE, "cell_size": 48, "cell_overhead": 5},
        ),
        "slot": (
            "Packets leave together in slots instead of one by one.", "table", "none", _SLOT,
        ),
        "limit": (
            "Packets that the link holds at once; more are dropped.",
            "number, 1 to 2147483647", "1000", {"rtt": "20ms", "limit": 5000},
        ),
        "seed": (
            "Seed of netem's random numbers (Linux 6.6). Does not fix slots, corruption and correlations.",
            "number, 0 to 18446744073709551615", "chosen by the kernel", {**_JITTER, "seed": 7},
        ),
    }),
    *_table(LAB, {
        "family": ("IP version.", "4 or 6", "4", {"rtt": "40ms", "family": 6}),
        "topology": (
            "routed: the delay is between two routers in the middle. direct: it is at the ends.",
            "routed or direct", "routed", {"rtt": "40ms", "topology": "direct"},
        ),
        "offloads": (
            "Segmentation and receive offloads of the interfaces.", _FLAG, "false", {"rtt": "40ms", "offloads": True},
        ),
        "quickack": (
            "quickack on the routes: the kernel delays no ACK, so that samples contain the network alone.",
            _FLAG, "true", {"rtt": "40ms", "quickack": False},
        ),
        "mtu": (
            "MTU of all interfaces, bytes.", "number, 576 (IPv6: 1280) to 65535", "1500", {"rtt": "40ms", "mtu": 9000},
        ),
        "sysctls": (
            "Sysctls of both ends' network namespaces; names begin with net.",
            "table", "none", {"rtt": "40ms", "sysctls": {"net.ipv4.tcp_sack": 0}},
        ),
    }),
    *_table(TRAFFIC, {
        "traffic": (
            "What each connection does. pingpong: write size bytes, wait for as many back, count times. oneway: write "
            "size bytes count times without waiting. paced: the same, one write per interval. bulk: write size bytes "
            "in all. connections: count connections in sequence, one exchange each.",
            f"{_KINDS}, or table", "pingpong", {"rtt": "20ms", "traffic": "bulk"},
        ),
        "count": (
            "Exchanges, writes or connections. Not for bulk.", "number, 1 to 100000", _COUNTS,
            {"rtt": "40ms", "count": 50},
        ),
        "size": (
            "Bytes of each write; for bulk, of the whole transfer.", "number, 1 to 1073741824",
            f"1; {traffic_module.DEFAULTS['bulk']['size']} for bulk",
            {"rtt": "20ms", "traffic": "bulk", "size": 48_000},
        ),
        "interval": (
            "Time between two writes. Only for paced.", "time above 0",
            str(traffic_module.DEFAULTS["paced"]["interval"]), {"rtt": "20ms", "traffic": "paced", "interval": "2ms"},
        ),
        "flows": ("Number of parallel connections.", "number, 1 to 256", "1", {"rtt": "40ms", "flows": 16}),
        "congestion": ("Congestion control.", "name in the kernel", "cubic", {"rtt": "40ms", "congestion": "bbr"}),
        "nodelay": ("TCP_NODELAY on the sockets.", _FLAG, "true", {"rtt": "40ms", "nodelay": False}),
    }),
    *_table(_TRAFFIC_TABLE, {
        "kind": (
            "The kind of traffic, as above. The other keywords of the section Traffic may be in the table, too.",
            _KINDS, "pingpong", {"rtt": "20ms", "traffic": {"kind": "bulk", "size": 48_000}},
        ),
        "quickack": (
            "TCP_QUICKACK on the sockets.", _FLAG, "false", {"rtt": "20ms", "traffic": {"quickack": True}},
        ),
        "deadline": (
            "Longest time that the traffic may take, on the clock of the run.", "time above 0, to 60min",
            f"{traffic_module.DEADLINE_S:g}s, longer on a slow link", {"rtt": "20ms", "traffic": {"deadline": "90s"}},
        ),
    }),
    *_table(_STEP_TABLE, {
        "after": (
            "The step begins when each connection has done this many exchanges or writes. All keywords of the section "
            "Link follow in the same table.",
            "number, below count", "required", {"rtt": "20ms", "count": 50, "steps": [{"after": 20, "rtt": "80ms"}]},
        ),
    }),
    *_table(_LOSS_TABLE, {
        "model": ("The loss model.", f"{' or '.join(LOSS_MODELS)}", "required", _GILBERT),
        "p13": ("state: from received in a gap to lost in a burst.", _SHARE, "required", _STATE),
        "p31": ("state: from lost in a burst to received in a gap.", _SHARE, "100% - p13", _STATE),
        "p32": ("state: from lost in a burst to received in it.", _SHARE, "0%", _STATE),
        "p23": ("state: from received in a burst to lost in it.", _SHARE, "100%", _STATE),
        "p14": ("state: from received in a gap to a single loss.", _SHARE, "0%", _STATE),
        "p": ("gilbert-elliott: from the good state to the bad one.", _SHARE, "required", _GILBERT),
        "r": ("gilbert-elliott: from the bad state to the good one.", _SHARE, "100% - p", _GILBERT),
        "1-h": ("gilbert-elliott: packets lost in the bad state.", _SHARE, "100%", _GILBERT),
        "1-k": ("gilbert-elliott: packets lost in the good state.", _SHARE, "0%", _GILBERT),
        "h": ("gilbert-elliott: packets delivered in the bad state. Excludes 1-h.", _SHARE, "0%", _GILBERT),
        "k1": ("gilbert-elliott: another name of 1-k.", _SHARE, "0%", _GILBERT),
    }),
    *_table(_SLOT_TABLE, {
        "min": ("Shortest time to the next slot.", _TIME, "0ms", _SLOT),
        "max": ("Longest time to the next slot.", _TIME, "min", _SLOT),
        "distribution": (
            "Distribution of that time, instead of min and max. Needs jitter.", f"{', '.join(NAMED)}, or table", "none",
            {"rtt": "20ms", "slot": {"distribution": "normal", "delay": "4ms", "jitter": "1ms"}},
        ),
        "delay": (
            "Mean of the distribution.", _TIME, "0ms",
            {"rtt": "20ms", "slot": {"distribution": "normal", "delay": "4ms", "jitter": "1ms"}},
        ),
        "jitter": (
            "Scale of the distribution.", f"{_TIME}, 0 to 2.147s", "0ms",
            {"rtt": "20ms", "slot": {"distribution": "normal", "delay": "4ms", "jitter": "1ms"}},
        ),
        "packets": ("Packets that a slot holds; 0 is no limit.", "number, 0 to 2147483647", "0", _SLOT),
        "bytes": (
            "Bytes that a slot holds; 0 is no limit.", "number, 0 to 2147483647", "0",
            {"rtt": "20ms", "slot": {"min": "2ms", "bytes": 6000}},
        ),
    }),
    *_table(_DISTRIBUTION_TABLE, {
        "name": ("Name of the distribution, for messages.", "text", "custom", _TABLE),
        "table": (
            "Quantiles of the distribution, in units of jitter / 8192.", "list of numbers, -32768 to 32767", "required",
            _TABLE,
        ),
    }),
)  # fmt: skip


def references() -> tuple[Keyword, ...]:
    """Return every keyword, section by section. Raises ValueError where this list and the model differ."""
    sections = {
        OTHER: {"name", "steps", "unit"},
        LINK: {*LINK_KEYWORDS, DELAY},
        LAB: set(KEYWORDS) - {*LINK_KEYWORDS, "traffic", *traffic_module.FLAT_KEYWORDS, "name", "steps", "unit"},
        TRAFFIC: {"traffic", *traffic_module.FLAT_KEYWORDS},
        _TRAFFIC_TABLE: set(traffic_module.TABLE_KEYWORDS) - set(traffic_module.FLAT_KEYWORDS),
        _STEP_TABLE: set(STEP_KEYWORDS) - set(LINK_KEYWORDS),
        _LOSS_TABLE: {"model", *(name for names in LOSS_MODELS.values() for name in names)},
        _SLOT_TABLE: set(SLOT_KEYWORDS),
        _DISTRIBUTION_TABLE: {"name", "table"},
    }
    for section, known in sections.items():
        listed = {keyword.name for keyword in _ALL if keyword.section == section}
        if listed != known:
            raise ValueError(f"{section}: the reference and the model differ in {', '.join(sorted(listed ^ known))}")
    return _ALL
