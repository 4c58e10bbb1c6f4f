"""What may be asked of netem, and what is refused before the kernel sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rttcheck_netns import (
    Distribution,
    GilbertElliott,
    LimitTooSmall,
    Netem,
    NetemInvalid,
    RandomLoss,
    Slot,
    StateLoss,
)

MS = 1_000_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delay_ns": -1}, "delay_ns = -1 does not fit"),
        ({"delay_ns": 0.5}, "delay_ns = 0.5 does not fit: write an integer"),
        ({"delay_ns": 1 << 63}, "delay_ns"),
        ({"jitter_ns": 1 << 31}, "jitter_ns"),
        ({"limit": 0}, "limit = 0 does not fit"),
        ({"limit": 1 << 32}, "limit"),
        ({"seed": 1 << 64}, "seed"),
        ({"duplicate": 100.1}, "duplicate = 100.1 is no percentage"),
        ({"corrupt": -1}, "corrupt = -1 is no percentage"),
        ({"rate_bytes": -1}, "rate_bytes"),
        ({"delay_ns": 1, "reorder": 1, "gap": -1}, "gap"),
        ({"rate_bytes": 1, "packet_overhead": 1 << 31}, "packet_overhead"),
        ({"delay_correlation": 5}, "delay_correlation does nothing without jitter_ns"),
        ({"distribution": Distribution("flat", (0,))}, "distribution does nothing without jitter_ns"),
        ({"ecn": True}, "ecn does nothing without loss"),
        ({"duplicate_correlation": 1}, "duplicate_correlation does nothing without duplicate"),
        ({"delay_ns": 1, "reorder_correlation": 1}, "reorder_correlation does nothing without reorder"),
        ({"delay_ns": 1, "gap": 3}, "gap does nothing without reorder"),
        ({"reorder": 5}, "reorder does nothing without delay_ns"),
        ({"corrupt_correlation": 5}, "corrupt_correlation does nothing without corrupt"),
        ({"packet_overhead": 5}, "packet_overhead does nothing without rate_bytes"),
        ({"cell_size": 5}, "cell_size does nothing without rate_bytes"),
        ({"rate_bytes": 5, "cell_overhead": 5}, "cell_overhead does nothing without cell_size"),
    ],
)
def test_contradictory_settings_are_refused_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NetemInvalid, match=message) as refused:
        Netem(**settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomLoss(101),
        lambda: RandomLoss(1, -1),
        lambda: StateLoss(-1),
        lambda: StateLoss(1, p14=101),
        lambda: GilbertElliott(1, h=101),
        lambda: Slot(),
        lambda: Slot(min_delay_ns=2, max_delay_ns=1),
        lambda: Slot(dist_jitter_ns=1),
        lambda: Slot(distribution=Distribution("flat", (0,))),
        lambda: Slot(distribution=Distribution("flat", (0,)), dist_jitter_ns=1, max_delay_ns=1),
        lambda: Slot(max_delay_ns=1, max_packets=-1),
    ],
)
def test_contradictory_parts_are_refused(make: Any) -> None:
    with pytest.raises(NetemInvalid):
        make()


def test_markov_models_default_as_iproute2s_do() -> None:
    assert StateLoss(3) == StateLoss(3, 97, 0, 100, 0)
    assert GilbertElliott(3) == GilbertElliott(3, 97, 0, 0)


def test_what_was_changed_is_ready_for_json() -> None:
    asked = Netem(
        delay_ns=MS,
        jitter_ns=5,
        distribution=Distribution.named("normal"),
        loss=GilbertElliott(1, 50),
        slot=Slot(distribution=Distribution.named("pareto"), dist_jitter_ns=7),
    )
    changed = json.loads(json.dumps(asked.changed()))
    assert changed["delay_ns"] == MS
    assert changed["distribution"] == "normal"
    assert changed["loss"] == {"kind": "GilbertElliott", "p": 1, "r": 50, "h": 0, "k1": 0}
    assert changed["slot"]["distribution"] == "pareto"
    assert "limit" not in changed
    assert Netem().changed() == {}


def test_a_limit_below_the_packets_in_flight_is_an_error_with_the_figures() -> None:
    asked = Netem(delay_ns=300 * MS, rate_bytes=12_500_000)
    with pytest.raises(
        LimitTooSmall, match=r"1000 packets is too small, 12500000 bytes/s .* 300 ms are 2478 packets"
    ) as refused:
        asked.check_limit("out")
    assert refused.value.needed == 2478
    Netem(delay_ns=300 * MS, rate_bytes=12_500_000, limit=2478).check_limit("out")
    with pytest.raises(LimitTooSmall):
        Netem(delay_ns=300 * MS, rate_bytes=12_500_000, limit=2477).check_limit("out")


def test_the_limit_is_checked_against_the_slower_of_the_rates() -> None:
    asked = Netem(delay_ns=300 * MS, rate_bytes=12_500_000)
    asked.check_limit("out", expected_rate_bytes=1_000_000)
    with pytest.raises(LimitTooSmall):
        Netem(delay_ns=300 * MS).check_limit("out", expected_rate_bytes=12_500_000)
    Netem(delay_ns=300 * MS).check_limit("out")


def test_small_writes_at_a_pace_are_many_packets() -> None:
    asked = Netem(delay_ns=1_000 * MS)
    with pytest.raises(LimitTooSmall, match=r"800000 bytes/s delayed by up to 1000 ms are 4001 packets of 200 bytes"):
        asked.check_limit("out", expected_rate_bytes=800_000, expected_packet_bytes=200)
    asked.check_limit("out", expected_rate_bytes=800_000)
    # Where netem's own rate is the slower one, packets are as large as they can be.
    Netem(delay_ns=1_000 * MS, rate_bytes=700_000).check_limit(
        "out", expected_rate_bytes=800_000, expected_packet_bytes=200
    )


def test_jitter_and_its_table_count_towards_the_packets_in_flight() -> None:
    spread = Netem(delay_ns=50 * MS, jitter_ns=40 * MS, distribution=Distribution.named("pareto"))
    assert spread.highest_delay_ns() == 50 * MS + 32767 * 40 * MS // 8192
    assert Netem(delay_ns=50 * MS, jitter_ns=40 * MS).highest_delay_ns() == 90 * MS
    with pytest.raises(LimitTooSmall):
        spread.check_limit("out", expected_rate_bytes=12_500_000)


def test_small_packets_need_a_larger_limit() -> None:
    asked = Netem(delay_ns=100 * MS, rate_bytes=1_250_000)
    asked.check_limit("out")
    with pytest.raises(LimitTooSmall):
        asked.check_limit("out", packet_bytes=60)
