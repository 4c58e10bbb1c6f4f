"""Lives compared as whole arrays give the rows of a replay packet by packet, whatever is done to them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from benchmarks.exchange import Exchange, Traffic
from benchmarks.planted import SECOND, Connection, Planted, plant
from rttcheck.judge.eligibility import expectations as module
from rttcheck.judge.eligibility import replay_input
from rttcheck.judge.eligibility.acks import Clock
from rttcheck.judge.eligibility.expectations import expectations_of
from rttcheck.judge.eligibility.part import EXPECTATION
from rttcheck.judge.eligibility.portion import Portion
from rttcheck.judge.eligibility.scored import Scored
from rttcheck.record.event import Owned
from rttcheck.record.packet import Point

LOSSY = Traffic(writes=150, write=1_448, window=20, loss=0.05)
TRAFFIC = {
    "lossy": LOSSY,
    "very lossy": Traffic(writes=200, write=1_448, window=30, loss=0.25, seed=8),
    "answers": Traffic(writes=80, answer=1, loss=0.06, seed=2),
    "small segments": Traffic(writes=150, write=200, window=12, loss=0.05, seed=3),
    "reordered": Traffic(writes=120, write=1_448, window=12, loss=0.02, jitter_us=1_500, seed=4),
    "doubled": Traffic(writes=120, write=1_448, window=12, loss=0.03, double=0.05, seed=5),
    "large segments": Traffic(writes=60, write=7_000, window=6, loss=0.04, split=True, seed=6),
    "a busy thread": Traffic(writes=120, write=1_448, window=12, loss=0.03, busy=0.1, seed=7),
}
Change = Callable[[np.ndarray, np.ndarray, int, Random], tuple[np.ndarray, np.ndarray]]


def planted(traffic: Traffic, connections: int = 2) -> Planted:
    exchange = Exchange(traffic).run()
    made = plant(
        [
            Connection(
                exchange=exchange, client_port=40_000 + one, start_ns=(100 + one) * SECOND, initial=(2**32 - 9, 5)
            )
            for one in range(connections)
        ]
    )
    made.events["owned"] = Owned.NO
    return made


def table(events: np.ndarray, wire: np.ndarray, flows: Any) -> np.ndarray:
    rows = expectations_of(events, wire, flows)
    in_order: np.ndarray = np.sort(rows, order=EXPECTATION.names)
    return in_order


def nothing(_events: np.ndarray, _portion: Portion, chosen: np.ndarray, _longest: np.ndarray) -> Scored:
    return Scored(np.zeros_like(chosen), np.zeros(0, dtype=EXPECTATION))


def replayed(events: np.ndarray, wire: np.ndarray, flows: Any, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    with monkeypatch.context() as context:
        context.setattr(Scored, "of", nothing)
        return table(events, wire, flows)


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lives that were replayed packet by packet."""
    found: list[int] = []

    def counted(events: np.ndarray, portion: Portion, life: int, mss: int) -> np.ndarray:
        found.append(life)
        return replay_input.replayed(events, portion, life, mss)

    monkeypatch.setattr(module, "replayed", counted)
    return found


@pytest.mark.parametrize("name", TRAFFIC)
def test_both_ways_give_the_same_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planted(TRAFFIC[name])
    rows = table(made.events, made.wire, made.flows)
    assert rows.tobytes() == replayed(made.events, made.wire, made.flows, monkeypatch).tobytes()
    assert (rows["karn"] != 0).any()


@pytest.mark.parametrize("name", ["lossy", "very lossy", "answers", "doubled"])
def test_what_is_as_it_should_be_is_not_replayed(name: str, replays: list[int]) -> None:
    made = planted(TRAFFIC[name])
    rows = table(made.events, made.wire, made.flows)
    assert (rows["expected"] == rows["reported"]).all()
    assert len(rows) == int(((made.events["taken"] != 0) | (made.events["sack_rtt_us"] >= 0)).sum())
    assert replays == []


def drop(events: np.ndarray, wire: np.ndarray, at: int, _random: Random) -> tuple[np.ndarray, np.ndarray]:
    return np.delete(events, at), wire


def another_source(events: np.ndarray, wire: np.ndarray, at: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    name = random.choice(["first_rtt_us", "sack_rtt_us", "last_rtt_us"])
    events[name][at] = -1 if events[name][at] >= 0 else 20_000
    return events, wire


def another_number(events: np.ndarray, wire: np.ndarray, at: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    events["snd_una"][at] = (int(events["snd_una"][at]) + random.choice([-1_448, 1, 1_448])) % 2**32
    return events, wire


def another_time(events: np.ndarray, wire: np.ndarray, at: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    events["tcp_mstamp_us"][at] = int(events["tcp_mstamp_us"][at]) + random.choice([-9_000, -4, 4, 9_000])
    return events, wire


def handshake(events: np.ndarray, wire: np.ndarray, at: int, _random: Random) -> tuple[np.ndarray, np.ndarray]:
    events["flag"][at] ^= 0x10
    return events, wire


def owned(events: np.ndarray, wire: np.ndarray, at: int, _random: Random) -> tuple[np.ndarray, np.ndarray]:
    events["owned"][at : at + 9] = Owned.YES
    return events, wire


def uncaptured(events: np.ndarray, wire: np.ndarray, at: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    return events, np.delete(wire, [8 + at, random.randrange(8, len(wire))])


def late_capture(events: np.ndarray, wire: np.ndarray, at: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    wire["time_ns"][8 + at] += random.choice([-40_000, -900, 900, 40_000])
    return events, wire


def old_timestamp(events: np.ndarray, wire: np.ndarray, at: int, _random: Random) -> tuple[np.ndarray, np.ndarray]:
    wire["tsval"][8 + at] -= 5
    return events, wire


CHANGES: tuple[Change, ...] = (
    drop, another_source, another_number, another_time, handshake, owned, uncaptured, late_capture, old_timestamp,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_both_ways_give_the_same_rows_of_what_is_not_as_it_should_be(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, random = planted(LOSSY, 1), Random(1)
    for at in range(3, len(made.events), 7):
        events, wire = change(made.events.copy(), made.wire.copy(), at, random)
        rows = table(events, wire, made.flows)
        assert rows.tobytes() == replayed(events, wire, made.flows, monkeypatch).tobytes(), at


def test_sacked_segments_that_are_sent_again_make_the_kernel_forget(
    monkeypatch: pytest.MonkeyPatch, replays: list[int]
) -> None:
    made = planted(LOSSY, 1)
    wire = made.wire
    mine = wire["point"] == Point.CLIENT
    for came in np.flatnonzero(mine & (wire["outgoing"] == 0) & (wire["sack_blocks"] > 0)).tolist():
        segment = np.flatnonzero(mine & (wire["outgoing"] == 1) & (wire["seq"] == wire["sack"][came, 0, 0]))[:1]
        again = wire[segment].copy()
        again["time_ns"] = wire["time_ns"][came] + 4_000
        changed = np.insert(wire, came + 1, again)
        replays.clear()
        rows = table(made.events, changed, made.flows)
        assert len(replays) == 1
        assert rows.tobytes() == replayed(made.events, changed, made.flows, monkeypatch).tobytes()


def test_a_sample_that_is_missing_is_found_without_a_replay_of_the_other_lives(replays: list[int]) -> None:
    made = planted(LOSSY)
    mine = np.flatnonzero((made.events["sport"] == 40_001) & (made.events["first_rtt_us"] >= 0))
    rows = table(np.delete(made.events, mine[20]), made.wire, made.flows)
    assert int((rows["expected"] != rows["reported"]).sum()) == 1
    assert len(replays) == 1


def test_lives_and_times_that_do_not_fit_into_one_number_are_replayed() -> None:
    times = np.array([0, 1 << 60])
    assert Clock.of(8, times) is None
    clock = Clock.of(2, times)
    assert clock is not None
    life = np.array([1, 1], dtype=np.int32)
    assert clock.time_ns(life, clock.key(life, times)).tolist() == times.tolist()
