"""netem's attributes as bytes: what the kernel gets, and that any difference in its answer is named."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import pytest

from rttcheck_netns import (
    Distribution,
    GilbertElliott,
    Netem,
    NetemMismatch,
    RandomLoss,
    Slot,
    StateLoss,
    UnsupportedByKernel,
)
from rttcheck_netns.netem_nla import compare, found, fraction, netem_options, options, percentage

MS = 1_000_000
EVERYTHING = Netem(
    delay_ns=20 * MS + 1,
    jitter_ns=2 * MS + 3,
    delay_correlation=10,
    distribution=Distribution("steps", (-1, 0, 1)),
    loss=RandomLoss(1, 2),
    ecn=True,
    duplicate=0.5,
    duplicate_correlation=1,
    reorder=3,
    reorder_correlation=4,
    gap=2,
    corrupt=5,
    corrupt_correlation=6,
    rate_bytes=1 << 33,
    packet_overhead=-14,
    cell_size=48,
    cell_overhead=5,
    slot=Slot(min_delay_ns=MS, max_delay_ns=2 * MS, max_packets=3, max_bytes=4),
    limit=5000,
    seed=1 << 40,
)


def attributes(asked: Netem) -> tuple[bytes, dict[int, bytes]]:
    """struct tc_netem_qopt and the attributes behind it, taken apart without pyroute2."""
    message = netem_options()
    message.setvalue(options(asked))
    message.encode()
    data = bytes(message.data)
    parts, offset = {}, 4 + 24
    while offset < len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        parts[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return data[4:28], parts


def as_dumped(asked: Netem) -> Any:
    """What a kernel that keeps everything would dump."""
    message = netem_options()
    message.setvalue(options(asked))
    message.encode()
    answer = netem_options(bytes(message.data))
    answer.decode()
    return answer


def test_every_attribute_is_the_structure_of_the_kernels_header() -> None:
    """Against include/uapi/linux/pkt_sched.h, written out by hand."""
    head, parts = attributes(EVERYTHING)
    one = (1 << 32) - 1
    latency, limit, loss, gap, duplicate, jitter = struct.unpack("=6I", head)
    assert (latency, limit, gap, jitter) == ((20 * MS + 1) // 64, 5000, 2, (2 * MS + 3) // 64)
    assert (loss, duplicate) == (round(one * 0.01), round(one * 0.005))
    assert struct.unpack("=3I", parts[1]) == (round(one * 0.1), round(one * 0.02), round(one * 0.01))
    assert struct.unpack("=3h", parts[2]) == (-1, 0, 1)
    assert struct.unpack("=2I", parts[3]) == (round(one * 0.03), round(one * 0.04))
    assert struct.unpack("=2I", parts[4]) == (round(one * 0.05), round(one * 0.06))
    assert 5 not in parts
    assert struct.unpack("=IiIi", parts[6]) == (one, -14, 48, 5)
    assert struct.unpack("=I", parts[7]) == (1,)
    assert struct.unpack("=Q", parts[8]) == (1 << 33,)
    assert struct.unpack("=q", parts[10]) == (20 * MS + 1,)
    assert struct.unpack("=q", parts[11]) == (2 * MS + 3,)
    assert struct.unpack("=qqiiqq", parts[12]) == (MS, 2 * MS, 3, 4, 0, 0)
    assert 13 not in parts
    assert struct.unpack("=Q", parts[14]) == (1 << 40,)


def test_markov_models_are_nested_in_the_kernels_order() -> None:
    _, state = attributes(Netem(loss=StateLoss(p13=1, p31=2, p32=3, p23=4, p14=5)))
    assert struct.unpack("=HH5I", state[5]) == (24, 1, *map(fraction, (1, 2, 3, 5, 4)))
    _, elliott = attributes(Netem(loss=GilbertElliott(p=1, r=2, h=3, k1=4)))
    assert struct.unpack("=HH4I", elliott[5]) == (20, 2, *map(fraction, (1, 2, 3, 4)))


def test_a_slot_distribution_has_an_attribute_of_its_own() -> None:
    _, parts = attributes(
        Netem(slot=Slot(distribution=Distribution("two", (5, -5)), dist_delay_ns=9, dist_jitter_ns=8))
    )
    assert struct.unpack("=qqiiqq", parts[12]) == (0, 0, 0, 0, 9, 8)
    assert struct.unpack("=2h", parts[13]) == (5, -5)


def test_a_delay_beyond_the_ticks_of_32_bits_is_exact_in_64() -> None:
    head, parts = attributes(Netem(delay_ns=400_000_000_001))
    assert struct.unpack_from("=I", head)[0] == (1 << 32) - 1
    assert struct.unpack("=q", parts[10]) == (400_000_000_001,)


@pytest.mark.parametrize("percent", [0, 0.0001, 0.3, 12.5, 33.3, 99.9999, 100])
def test_a_percentage_survives_the_kernels_fraction(percent: float) -> None:
    assert percentage(fraction(percent)) == pytest.approx(percent, abs=1e-7)
    assert fraction(percentage(fraction(percent))) == fraction(percent)


def test_what_a_faithful_kernel_dumps_is_what_was_asked_for() -> None:
    held = found(as_dumped(EVERYTHING), EVERYTHING)
    assert held == EVERYTHING
    compare("out", EVERYTHING, held)


OTHERWISE: dict[str, Any] = {
    "delay_ns": 20 * MS + 2,
    "jitter_ns": 2 * MS,
    "delay_correlation": 11,
    "loss": RandomLoss(1, 3),
    "ecn": False,
    "duplicate": 0.6,
    "duplicate_correlation": 2,
    "reorder": 2,
    "reorder_correlation": 5,
    "gap": 3,
    "corrupt": 4,
    "corrupt_correlation": 7,
    "rate_bytes": (1 << 33) + 1,
    "packet_overhead": -13,
    "cell_size": 49,
    "cell_overhead": 4,
    "slot": Slot(min_delay_ns=MS, max_delay_ns=2 * MS + 1, max_packets=3, max_bytes=4),
    "limit": 4999,
    "seed": 7,
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_any_attribute_that_the_kernel_holds_otherwise_is_named(name: str) -> None:
    holding = dataclasses.replace(EVERYTHING, **{name: OTHERWISE[name]})
    with pytest.raises(NetemMismatch, match=name) as refused:
        compare("back", EVERYTHING, found(as_dumped(holding), EVERYTHING))
    assert refused.value.attribute.startswith(name)
    assert refused.value.direction == "back"


def test_every_attribute_is_compared_but_the_table_that_is_never_dumped() -> None:
    assert set(Netem.__slots__) == {*OTHERWISE, "distribution"}


@pytest.mark.parametrize(
    "holding", [Netem(), Netem(loss=StateLoss(1)), Netem(loss=RandomLoss(1.1))], ids=["none", "model", "chance"]
)
def test_another_loss_is_noticed(holding: Netem) -> None:
    asked = Netem(loss=RandomLoss(1))
    with pytest.raises(NetemMismatch, match="loss"):
        compare("out", asked, found(as_dumped(holding), asked))


def test_an_unrequested_loss_is_noticed() -> None:
    with pytest.raises(NetemMismatch, match="loss"):
        compare("out", Netem(), found(as_dumped(Netem(loss=GilbertElliott(1))), Netem()))


def test_a_kernel_without_seeds_is_named_as_the_reason() -> None:
    asked = Netem(seed=5)
    with pytest.raises(UnsupportedByKernel, match="seed"):
        compare("out", asked, found(as_dumped(Netem()), asked))


def test_a_seed_of_the_kernels_choice_is_no_difference() -> None:
    held = found(as_dumped(Netem(seed=5)), Netem())
    compare("out", Netem(), held)
    assert held.seed == 5


def test_a_kernel_before_64_bits_is_compared_in_its_ticks() -> None:
    raw = as_dumped(Netem(delay_ns=1000))
    raw["attrs"] = [slot for slot in raw["attrs"] if slot[0] != "TCA_NETEM_LATENCY64"]
    assert found(raw, Netem()).delay_ns == 960
