"""One direction's impairment, with every setting that netem has, as plain frozen data.

Contradictory settings are refused here; `netem_nla` encodes the rest for the kernel. Times are integer nanoseconds,
chances are percent (0 to 100, floats), rates are bytes per second. Imports only the standard library.

Semantics are those of net/sched/sch_netem.c (read in 5.10 to 7.3); where iproute2's names differ, a docstring notes it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .distribution import Distribution
from .errors import LimitTooSmall, NetemInvalid

MAX_JITTER_NS = (1 << 31) - 1
"""netem silently cuts jitter to INT_MAX nanoseconds (get_dist_jitter, since 5.9): about 2.1 s."""

_U32, _S31, _S63 = (1 << 32) - 1, (1 << 31) - 1, (1 << 63) - 1
_ETHERNET_HEADER = 14


@dataclass(frozen=True, slots=True)
class RandomLoss:
    """Each packet is lost with this chance. Correlation makes the loss rate collapse; `GilbertElliott` avoids that."""

    percent: float
    correlation: float = 0

    def __post_init__(self) -> None:
        _percent("loss", self.percent)
        _percent("loss correlation", self.correlation)


@dataclass(frozen=True, slots=True)
class StateLoss:
    """The 4-state Markov model (loss_4state): 1 received in gap, 2 received in burst, 3 lost in burst, 4 lost alone.

    ``pXY`` is the chance to go from state X to Y. Order and defaults are iproute2's; ``p31=None`` is 100 - p13.
    """

    p13: float
    p31: float | None = None
    p32: float = 0
    p23: float = 100
    p14: float = 0

    def __post_init__(self) -> None:
        _percent("loss state p13", self.p13)
        if self.p31 is None:
            object.__setattr__(self, "p31", 100 - self.p13)
        for name in ("p31", "p32", "p23", "p14"):
            _percent(f"loss state {name}", getattr(self, name))


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Two states (loss_gilb_ell): ``p`` good to bad, ``r`` bad to good (None: 100 - p).

    ``h`` is the chance to be *delivered* in the bad state and ``k1`` to be *lost* in the good one, as in the kernel;
    iproute2's third and fourth arguments are 1-h and 1-k, of which it passes the second on unchanged.
    """

    p: float
    r: float | None = None
    h: float = 0
    k1: float = 0

    def __post_init__(self) -> None:
        _percent("gemodel p", self.p)
        if self.r is None:
            object.__setattr__(self, "r", 100 - self.p)
        for name in ("r", "h", "k1"):
            _percent(f"gemodel {name}", getattr(self, name))


Loss = RandomLoss | StateLoss | GilbertElliott


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Packets leave in groups: a slot opens after each delay, and closes after so many packets or bytes (0: no bound).

    The delay is uniform in [min_delay_ns, max_delay_ns], or with a distribution, around dist_delay_ns.
    """

    min_delay_ns: int = 0
    max_delay_ns: int = 0
    distribution: Distribution | None = None
    dist_delay_ns: int = 0
    dist_jitter_ns: int = 0
    max_packets: int = 0
    max_bytes: int = 0

    def __post_init__(self) -> None:
        _within("slot min_delay_ns", self.min_delay_ns, _S63)
        _within("slot max_delay_ns", self.max_delay_ns, _S63)
        _within("slot dist_delay_ns", self.dist_delay_ns, _S63)
        _within("slot dist_jitter_ns", self.dist_jitter_ns, MAX_JITTER_NS)
        _within("slot max_packets", self.max_packets, _S31)
        _within("slot max_bytes", self.max_bytes, _S31)
        if self.min_delay_ns > self.max_delay_ns:
            raise NetemInvalid(
                f"slot: min_delay_ns {self.min_delay_ns} is above max_delay_ns {self.max_delay_ns}: write both"
            )
        if (self.distribution is None) != (self.dist_jitter_ns == 0):
            raise NetemInvalid("slot: a distribution and dist_jitter_ns need each other: give both or none")
        if self.distribution is not None and self.max_delay_ns:
            raise NetemInvalid("slot: the kernel takes a range or a distribution, not both: drop min and max_delay_ns")
        if not (self.max_delay_ns or self.dist_jitter_ns):
            raise NetemInvalid("slot: without a delay no slot ever closes: give max_delay_ns, or a distribution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Netem:
    """What one direction does to packets. Raises NetemInvalid for settings that contradict or do not fit the kernel.

    ``distribution=None`` is the kernel's uniform one, [delay - jitter, delay + jitter). ``delay_correlation`` has not
    the effect of its name (the kernel correlates bits that it then drops); it is here because the kernel accepts it.
    ``reorder`` needs a delay and means gap 1 where ``gap`` is 0. ``limit`` counts packets, and a packet of TCP with
    segmentation offload is one, however long. ``seed`` needs 6.6 and does not fix slots, corruption and correlations.
    """

    delay_ns: int = 0
    jitter_ns: int = 0
    delay_correlation: float = 0
    distribution: Distribution | None = None
    loss: Loss | None = None
    ecn: bool = False
    duplicate: float = 0
    duplicate_correlation: float = 0
    reorder: float = 0
    reorder_correlation: float = 0
    gap: int = 0
    corrupt: float = 0
    corrupt_correlation: float = 0
    rate_bytes: int = 0
    packet_overhead: int = 0
    cell_size: int = 0
    cell_overhead: int = 0
    slot: Slot | None = None
    limit: int = 1000
    seed: int | None = None

    def __post_init__(self) -> None:
        _within("delay_ns", self.delay_ns, _S63)
        _within("jitter_ns", self.jitter_ns, MAX_JITTER_NS)
        _within("gap", self.gap, _U32)
        _within("rate_bytes", self.rate_bytes, _S63)
        _within("packet_overhead", self.packet_overhead, _S31, lowest=-_S31 - 1)
        _within("cell_size", self.cell_size, _U32)
        _within("cell_overhead", self.cell_overhead, _S31, lowest=-_S31 - 1)
        _within("limit", self.limit, _U32, lowest=1)
        if self.seed is not None:
            _within("seed", self.seed, (1 << 64) - 1)
        for name in ("delay_correlation", "duplicate", "duplicate_correlation", "reorder", "reorder_correlation",
                     "corrupt", "corrupt_correlation"):  # fmt: skip
            _percent(name, getattr(self, name))
        self._refuse_ignored_settings()

    def _refuse_ignored_settings(self) -> None:
        """Refuse settings that the kernel would accept and then ignore."""
        lonely = (
            (self.delay_correlation and not self.jitter_ns, "delay_correlation", "jitter_ns"),
            (self.distribution is not None and not self.jitter_ns, "distribution", "jitter_ns"),
            (self.ecn and self.loss is None, "ecn", "loss"),
            (self.duplicate_correlation and not self.duplicate, "duplicate_correlation", "duplicate"),
            (self.reorder_correlation and not self.reorder, "reorder_correlation", "reorder"),
            (self.gap and not self.reorder, "gap", "reorder"),
            (self.reorder and not self.delay_ns, "reorder", "delay_ns"),
            (self.corrupt_correlation and not self.corrupt, "corrupt_correlation", "corrupt"),
            (self.packet_overhead and not self.rate_bytes, "packet_overhead", "rate_bytes"),
            (self.cell_size and not self.rate_bytes, "cell_size", "rate_bytes"),
            (self.cell_overhead and not self.cell_size, "cell_overhead", "cell_size"),
        )
        for is_lonely, setting, needs in lonely:
            if is_lonely:
                raise NetemInvalid(
                    f"netem: {setting} does nothing without {needs}: give {needs} too, or drop {setting}"
                )

    def changed(self) -> dict[str, object]:
        """Return the settings that differ from the defaults, for JSON: tables by name, loss models by fields."""
        plain: dict[str, object] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                plain[field.name] = _plain(value)
        return plain

    def highest_delay_ns(self) -> int:
        """The longest time that delay and jitter alone hold a packet, before any rate queue or slot."""
        if self.distribution is None:
            return self.delay_ns + self.jitter_ns
        return self.delay_ns + max(0, max(self.distribution.table) * self.jitter_ns // 8192)

    def check_limit(
        self, direction: str, *, expected_rate_bytes: int = 0, expected_packet_bytes: int = 0, packet_bytes: int = 1500
    ) -> None:
        """Raise LimitTooSmall where packets in flight at the given rate exceed the limit.

        The rate is the smaller of netem's own and ``expected_rate_bytes`` (0: unknown); without either there is nothing
        to check. ``packet_bytes`` is the MTU, and ``expected_packet_bytes`` are those of a packet of the expected rate,
        without headers (0: as large as the MTU allows).
        """
        rates = [rate for rate in (self.rate_bytes, expected_rate_bytes) if rate]
        if not rates:
            return
        rate, held_ns, frame = min(rates), self.highest_delay_ns(), packet_bytes + _ETHERNET_HEADER
        if rate == expected_rate_bytes and expected_packet_bytes:
            frame = min(frame, expected_packet_bytes)
        needed = -(-rate * held_ns // (1_000_000_000 * frame)) + 1
        if needed > self.limit:
            raise LimitTooSmall(
                f"netem {direction}: the limit of {self.limit} packets is too small, {rate} bytes/s delayed by up to "
                f"{held_ns / 1e6:g} ms are {needed} packets of {frame} bytes: write limit={needed} or more",
                needed,
            )


def _plain(value: object) -> object:
    if isinstance(value, Distribution):
        return value.name
    if isinstance(value, RandomLoss | StateLoss | GilbertElliott | Slot):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **{name: item for name, item in fields.items() if item is not None}}
    return value


def _percent(name: str, value: float) -> None:
    if not 0 <= value <= 100:
        raise NetemInvalid(f"netem: {name} = {value} is no percentage: write a number from 0 to 100")


def _within(name: str, value: int, highest: int, *, lowest: int = 0) -> None:
    if not isinstance(value, int) or not lowest <= value <= highest:
        raise NetemInvalid(f"netem: {name} = {value} does not fit: write an integer from {lowest} to {highest}")
