"""netem's netlink attributes: encode a `Netem` for the kernel, decode the kernel's dump, and compare the two.

Covers every attribute of net/sched/sch_netem.c up to TCA_NETEM_PRNG_SEED, on pyroute2's NLA base classes (pyroute2's
own netem ends at TCA_NETEM_RATE in 0.9.7).

The 64-bit latency and jitter are exact; the old fields in ticks of 64 ns, read by kernels before 4.15, are sent as
well. Chances are 32-bit fractions, rounded as iproute2 rounds them, and compared as such. Only the distribution
tables are not compared: no kernel dumps them.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
from typing import Any

from .errors import NetemMismatch, UnsupportedByKernel
from .netem import GilbertElliott, Loss, Netem, RandomLoss, Slot, StateLoss
from .nla import nla

_U32 = (1 << 32) - 1
_TICK_SHIFT = 6
"""PSCHED_SHIFT: a tick of the packet scheduler is 64 ns."""


class netem_options(nla):  # type: ignore[misc]  # noqa: N801  # pyroute2 is untyped; the name is its convention
    """struct tc_netem_qopt and the attributes behind it (include/uapi/linux/pkt_sched.h)."""

    fields = (("latency", "I"), ("limit", "I"), ("loss", "I"), ("gap", "I"), ("duplicate", "I"), ("jitter", "I"))
    nla_map = (
        ("TCA_NETEM_UNSPEC", "none"),
        ("TCA_NETEM_CORR", "correlations"),
        ("TCA_NETEM_DELAY_DIST", "cdata"),
        ("TCA_NETEM_REORDER", "chance"),
        ("TCA_NETEM_CORRUPT", "chance"),
        ("TCA_NETEM_LOSS", "loss_models"),
        ("TCA_NETEM_RATE", "rate_and_cells"),
        ("TCA_NETEM_ECN", "uint32"),
        ("TCA_NETEM_RATE64", "uint64"),
        ("TCA_NETEM_PAD", "none"),
        ("TCA_NETEM_LATENCY64", "int64"),
        ("TCA_NETEM_JITTER64", "int64"),
        ("TCA_NETEM_SLOT", "slot"),
        ("TCA_NETEM_SLOT_DIST", "cdata"),
        ("TCA_NETEM_PRNG_SEED", "uint64"),
    )

    class correlations(nla):  # type: ignore[misc]  # noqa: N801  # as above
        """struct tc_netem_corr."""

        fields = (("delay", "I"), ("loss", "I"), ("duplicate", "I"))

    class chance(nla):  # type: ignore[misc]  # noqa: N801  # as above
        """struct tc_netem_reorder and struct tc_netem_corrupt."""

        fields = (("probability", "I"), ("correlation", "I"))

    class rate_and_cells(nla):  # type: ignore[misc]  # noqa: N801  # as above
        """struct tc_netem_rate; rate is all ones where TCA_NETEM_RATE64 holds it."""

        fields = (("rate", "I"), ("packet_overhead", "i"), ("cell_size", "I"), ("cell_overhead", "i"))

    class slot(nla):  # type: ignore[misc]  # noqa: N801  # as above
        """struct tc_netem_slot."""

        fields = (
            ("min_delay", "q"),
            ("max_delay", "q"),
            ("max_packets", "i"),
            ("max_bytes", "i"),
            ("dist_delay", "q"),
            ("dist_jitter", "q"),
        )

    class loss_models(nla):  # type: ignore[misc]  # noqa: N801  # as above
        """One of the two Markov models."""

        nla_flags = 0x8000
        nla_map = (("NETEM_LOSS_UNSPEC", "none"), ("NETEM_LOSS_GI", "state"), ("NETEM_LOSS_GE", "gilbert_elliott"))

        class state(nla):  # type: ignore[misc]  # noqa: N801  # as above
            """struct tc_netem_gimodel: note that p14 comes before p23."""

            fields = (("p13", "I"), ("p31", "I"), ("p32", "I"), ("p14", "I"), ("p23", "I"))

        class gilbert_elliott(nla):  # type: ignore[misc]  # noqa: N801  # as above
            """struct tc_netem_gemodel."""

            fields = (("p", "I"), ("r", "I"), ("h", "I"), ("k1", "I"))


def fraction(percent: float) -> int:
    """Return a chance as the kernel stores it: 100 % is 2**32 - 1."""
    return round(percent / 100 * _U32)


def percentage(part: int) -> float:
    """Return the percentage of a 32-bit fraction, rounded to the fraction's resolution."""
    return round(part / _U32 * 100, 7)


def options(netem: Netem) -> dict[str, Any]:
    """Return the value of TCA_OPTIONS for this impairment, as pyroute2 encodes it."""
    random = netem.loss if isinstance(netem.loss, RandomLoss) else RandomLoss(0)
    return {
        "latency": min(netem.delay_ns >> _TICK_SHIFT, _U32),
        "jitter": min(netem.jitter_ns >> _TICK_SHIFT, _U32),
        "limit": netem.limit,
        "loss": fraction(random.percent),
        "gap": netem.gap or int(netem.reorder > 0),
        "duplicate": fraction(netem.duplicate),
        "attrs": [[name, value] for name, value in _attributes(netem, random)],
    }


def _attributes(netem: Netem, random: RandomLoss) -> Iterator[tuple[str, Any]]:
    yield "TCA_NETEM_LATENCY64", netem.delay_ns
    yield "TCA_NETEM_JITTER64", netem.jitter_ns
    if netem.delay_correlation or random.correlation or netem.duplicate_correlation:
        yield (
            "TCA_NETEM_CORR",
            {
                "delay": fraction(netem.delay_correlation),
                "loss": fraction(random.correlation),
                "duplicate": fraction(netem.duplicate_correlation),
            },
        )
    if netem.distribution is not None:
        yield "TCA_NETEM_DELAY_DIST", _packed(netem.distribution.table)
    if netem.reorder:
        yield "TCA_NETEM_REORDER", _chance(netem.reorder, netem.reorder_correlation)
    if netem.corrupt:
        yield "TCA_NETEM_CORRUPT", _chance(netem.corrupt, netem.corrupt_correlation)
    if isinstance(netem.loss, StateLoss):
        chances = {name: fraction(getattr(netem.loss, name)) for name in ("p13", "p31", "p32", "p14", "p23")}
        yield "TCA_NETEM_LOSS", {"attrs": [["NETEM_LOSS_GI", chances]]}
    if isinstance(netem.loss, GilbertElliott):
        chances = {name: fraction(getattr(netem.loss, name)) for name in ("p", "r", "h", "k1")}
        yield "TCA_NETEM_LOSS", {"attrs": [["NETEM_LOSS_GE", chances]]}
    if netem.rate_bytes:
        if netem.rate_bytes > _U32 - 1:
            yield "TCA_NETEM_RATE64", netem.rate_bytes
        yield (
            "TCA_NETEM_RATE",
            {
                "rate": min(netem.rate_bytes, _U32),
                "packet_overhead": netem.packet_overhead,
                "cell_size": netem.cell_size,
                "cell_overhead": netem.cell_overhead,
            },
        )
    if netem.ecn:
        yield "TCA_NETEM_ECN", 1
    if netem.slot is not None:
        yield "TCA_NETEM_SLOT", _slot(netem.slot)
        if netem.slot.distribution is not None:
            yield "TCA_NETEM_SLOT_DIST", _packed(netem.slot.distribution.table)
    if netem.seed is not None:
        yield "TCA_NETEM_PRNG_SEED", netem.seed


def _chance(percent: float, correlation: float) -> dict[str, int]:
    return {"probability": fraction(percent), "correlation": fraction(correlation)}


def _slot(slot: Slot) -> dict[str, int]:
    return {
        "min_delay": slot.min_delay_ns,
        "max_delay": slot.max_delay_ns,
        "max_packets": slot.max_packets,
        "max_bytes": slot.max_bytes,
        "dist_delay": slot.dist_delay_ns,
        "dist_jitter": slot.dist_jitter_ns,
    }


def _packed(table: tuple[int, ...]) -> bytes:
    return array.array("h", table).tobytes()


def found(dumped: Any, asked: Netem) -> Netem:
    """Decode a dump of TCA_OPTIONS; the tables, which no kernel dumps, are taken from ``asked``.

    Fields that were not asked for are decoded too. ``seed`` is the one that the kernel drew where none was asked for,
    and None where the kernel has no seeds (before 6.6).
    """
    correlations = dumped.get_attr("TCA_NETEM_CORR") or {}
    reorder = dumped.get_attr("TCA_NETEM_REORDER") or {}
    corrupt = dumped.get_attr("TCA_NETEM_CORRUPT") or {}
    rate = dumped.get_attr("TCA_NETEM_RATE") or {}
    rate64 = dumped.get_attr("TCA_NETEM_RATE64")
    delay_ns, jitter_ns = dumped.get_attr("TCA_NETEM_LATENCY64"), dumped.get_attr("TCA_NETEM_JITTER64")
    held: Netem = _unchecked(
        Netem,
        delay_ns=dumped["latency"] << _TICK_SHIFT if delay_ns is None else delay_ns,
        jitter_ns=dumped["jitter"] << _TICK_SHIFT if jitter_ns is None else jitter_ns,
        delay_correlation=percentage(correlations.get("delay", 0)),
        distribution=asked.distribution,
        loss=_loss(dumped, correlations),
        ecn=bool(dumped.get_attr("TCA_NETEM_ECN")),
        duplicate=percentage(dumped["duplicate"]),
        duplicate_correlation=percentage(correlations.get("duplicate", 0)),
        reorder=percentage(reorder.get("probability", 0)),
        reorder_correlation=percentage(reorder.get("correlation", 0)),
        gap=dumped["gap"],
        corrupt=percentage(corrupt.get("probability", 0)),
        corrupt_correlation=percentage(corrupt.get("correlation", 0)),
        rate_bytes=rate.get("rate", 0) if rate64 is None else rate64,
        packet_overhead=rate.get("packet_overhead", 0),
        cell_size=rate.get("cell_size", 0),
        cell_overhead=rate.get("cell_overhead", 0),
        slot=_found_slot(dumped.get_attr("TCA_NETEM_SLOT"), asked),
        limit=dumped["limit"],
        seed=dumped.get_attr("TCA_NETEM_PRNG_SEED"),
    )
    return held


def _unchecked(kind: Any, **fields: Any) -> Any:
    """Build the object without validation: a refusal here would hide the difference."""
    plain = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(plain, name, value)
    return plain


def _loss(dumped: Any, correlations: Any) -> Loss | None:
    models = dumped.get_attr("TCA_NETEM_LOSS")
    if models is not None:
        for attribute, kind in (("NETEM_LOSS_GI", StateLoss), ("NETEM_LOSS_GE", GilbertElliott)):
            chances = models.get_attr(attribute)
            if chances is not None:
                names = [name for name, _ in chances.fields]
                model: Loss = _unchecked(kind, **{name: percentage(chances[name]) for name in names})
                return model
    if dumped["loss"] or correlations.get("loss", 0):
        return RandomLoss(percentage(dumped["loss"]), percentage(correlations.get("loss", 0)))
    return None


def _found_slot(dumped: Any, asked: Netem) -> Slot | None:
    if dumped is None:
        return None
    slot: Slot = _unchecked(
        Slot,
        min_delay_ns=dumped["min_delay"],
        max_delay_ns=dumped["max_delay"],
        distribution=asked.slot.distribution if asked.slot is not None else None,
        dist_delay_ns=dumped["dist_delay"],
        dist_jitter_ns=dumped["dist_jitter"],
        max_packets=dumped["max_packets"],
        max_bytes=dumped["max_bytes"],
    )
    return slot


def compare(direction: str, asked: Netem, held: Netem) -> None:
    """Raise NetemMismatch for the first field in which the kernel's settings differ from the request.

    Integers are compared exactly, chances as 32-bit fractions. Raises UnsupportedByKernel for a seed on a kernel
    without seeds. A seed that was not asked for is the kernel's choice.
    """
    if asked.seed is not None and held.seed is None:
        raise UnsupportedByKernel(
            f"netem {direction}: a seed was asked for and this kernel's netem has none: use 6.6 or later, or no seed"
        )
    for name in Netem.__slots__:
        wanted, got = getattr(asked, name), getattr(held, name)
        if name == "seed" and wanted is None:
            continue
        if name == "gap":
            wanted = wanted or int(asked.reorder > 0)
        if type(wanted) is not type(got) and not isinstance(wanted, int | float):
            raise NetemMismatch(direction, name, wanted, got)
        if isinstance(wanted, RandomLoss | StateLoss | GilbertElliott | Slot):
            for part in type(wanted).__slots__:
                _same(direction, f"{name} {part}", getattr(wanted, part), getattr(got, part))
        else:
            _same(direction, name, wanted, got)


_EXACT = frozenset(("delay_ns", "jitter_ns", "gap", "rate_bytes", "packet_overhead", "cell_size", "cell_overhead",
                    "limit", "seed"))  # fmt: skip


def _same(direction: str, name: str, wanted: Any, got: Any) -> None:
    exact = name in _EXACT or name.startswith("slot ") or not isinstance(wanted, int | float)
    same = wanted == got if exact else fraction(wanted) == fraction(got)
    if not same:
        raise NetemMismatch(direction, name, wanted, got)
