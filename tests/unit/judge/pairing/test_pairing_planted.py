"""Pairing of whole exchanges: against the known packets of both ends, and against pairing by hand."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from benchmarks.exchange import Exchange, Traffic
from benchmarks.planted import RECORDINGS, SECOND, Connection, Planted, plant
from rttcheck.judge.pairing import ends, lives, sack_blocks, scoreboard
from rttcheck.judge.pairing.pairs import Pairs, pair
from tests.support.pairing_by_hand import pair_by_hand

NONE = -1
SIDES = ("ack", "first", "last", "sack")
SEEDS = range(40)


def exchange(random: Random, seed: int, *, busy: bool) -> Exchange:
    """Any traffic: both directions, several segments in one packet, losses, duplicates, delays, stretch ACKs."""
    traffic = Traffic(
        writes=random.randrange(1, 40),
        write=random.choice((1, 700, 1_448, 3 * 1_448, 4_000, 5 * 1_448 + 100)),
        answer=random.choice((0, 0, 0, 1, 300, 3_000)),
        window=random.randrange(1, 40),
        every=random.randrange(1, 4),
        split=random.random() < 0.5,
        delay_us=random.choice((50, 500, 5_000)),
        jitter_us=random.choice((0, 0, 300, 4_000)),
        loss=random.choice((0, 0.02, 0.1, 0.3)),
        double=random.choice((0, 0, 0.05)),
        busy=random.choice((0.1, 0.4)) if busy else 0,
        seed=seed,
    )
    return Exchange(traffic).run()


def connections(seed: int, *, busy: bool = False, ports: int = 1_000) -> list[Connection]:
    """One to three, concurrent or successive, some with sequence numbers that wrap."""
    random = Random(seed)
    return [
        Connection(
            exchange=exchange(random, 10 * seed + number, busy=busy),
            times=random.choice((1, 1, 2)),
            client_port=40_000 + number % ports,
            initial=(random.choice((random.randrange(2**32), 2**32 - 5_000)), random.randrange(2**32)),
            start_ns=(100 + number * random.choice((0, 1_000))) * SECOND,
        )
        for number in range(random.randrange(1, 4))
    ]


@pytest.fixture(autouse=True)
def _small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and portions so small that there are many of them."""
    random = Random(str(request.node.name))
    monkeypatch.setattr(ends, "_BLOCK", random.choice((3, 64, 1 << 15)))
    monkeypatch.setattr(sack_blocks, "_BLOCK", random.choice((2, 30, 1 << 14)))
    monkeypatch.setattr(lives, "_PORTION", random.choice((1, 50, 1 << 20)))
    monkeypatch.setattr(scoreboard, "_AT_ONCE", random.choice((1, 7, 1 << 19)))


def assert_by_hand(pairs: Pairs, planted: Planted, events: np.ndarray, wire: np.ndarray) -> None:
    expected = pair_by_hand(events, wire, planted.flows)
    for name in (*SIDES, "echoed", "known"):
        assert getattr(pairs, name).tolist() == expected[name], name
    assert sorted(pairs.unreported.tolist()) == expected["unreported"]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_event_has_the_packets_of_its_own_end(seed: int) -> None:
    planted = plant(connections(seed), link=seed % 2 == 0)
    pairs = pair(planted.events, planted.wire, planted.flows)
    for name in SIDES:
        assert getattr(pairs, name).tolist() == getattr(planted, name).tolist(), name
    assert pairs.known.all()
    assert not len(pairs.unreported)


@pytest.mark.parametrize("seed", SEEDS)
def test_busy_sockets_and_used_addresses_are_paired_as_by_hand(seed: int) -> None:
    planted = plant(connections(seed, busy=True, ports=1 + seed % 2))
    pairs = pair(planted.events, planted.wire, planted.flows)
    assert_by_hand(pairs, planted, planted.events, planted.wire)


@pytest.mark.parametrize("seed", SEEDS)
def test_nonsense_is_paired_as_by_hand(seed: int) -> None:
    """Missing packets, duplicate events, invalid numbers and blocks."""
    random = np.random.default_rng(seed)
    planted = plant(connections(seed, ports=1 + seed % 2))
    events, wire = planted.events.copy(), planted.wire.copy()
    way = seed % 6
    if way == 0:
        wire = wire[random.random(len(wire)) > 0.1]
    elif way == 1:
        events = np.repeat(events, random.integers(0, 3, len(events)))
    elif way == 2:
        some = random.random(len(events)) < 0.1
        events["snd_una"][some] += random.integers(0, 20_000, int(some.sum())).astype(np.uint32)
    elif way == 3:
        some = random.random(len(wire)) < 0.1
        wire["seq"][some] -= random.integers(0, 6_000, int(some.sum())).astype(np.uint32)
    else:
        some = random.random(len(wire)) < 0.2
        shape = (int(some.sum()), 4, 2)
        wire["sack_blocks"][some] = random.integers(0, 5, len(wire[some]))
        wire["sack"][some] = wire["ack"][some][:, None, None] + random.integers(-3_000, 40_000, shape).astype(np.uint32)
        events["mss_cache"] = random.choice((1, 1_000, 1_448, 5_000))
    pairs = pair(events, wire, planted.flows)
    assert_by_hand(pairs, planted, events, wire)


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_of_the_benchmarks_are_sound(name: str) -> None:
    planted = RECORDINGS[name](500)
    pairs = pair(planted.events, planted.wire, planted.flows)
    for side in SIDES:
        assert getattr(pairs, side).tolist() == getattr(planted, side).tolist(), side
    assert not len(pairs.unreported)
