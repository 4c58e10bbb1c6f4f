"""The relay's records: their arithmetic, and random delays that are known from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rttcheck.judge.findings import Outcome
from rttcheck.record.recording import Recording
from rttcheck_netns.netem import Netem
from rttcheck_netns.relay.line import Fate, Line
from rttcheck_netns.relay.packets import PACKET
from tests.support.planted_link import START_NS, WAYS, checked, failed, finding, linked, shifted

MS = 1_000_000
HOLDS, LATER = "link.relay-account", "link.never-late"
JITTER: dict[str, Any] = {"rtt": "40ms", "jitter": "8ms"}


def relayed(recording: Recording, change: Callable[[np.ndarray], None] = lambda _: None) -> Recording:
    """The recording with records of a relay that did what the planted link did; received 2 us after the capture."""
    wire = recording.wire
    tables = []
    for direction, (first, last) in enumerate(WAYS.values()):
        came = wire[(wire["point"] == first) & (wire["outgoing"] == 0)]
        left = wire[(wire["point"] == last) & (wire["outgoing"] == 1)]
        came, left = came[np.argsort(came["seq"])], left[np.argsort(left["seq"])]
        packets = np.zeros(len(came), dtype=PACKET)
        packets["taken_ns"] = came["time_ns"] + 2_000
        # The planted machine lets packets go 4.5 us and 90 ns for each ninth late.
        packets["due_ns"] = left["time_ns"] - 2_500 - 90 * (left["tsval"] % 9)
        packets["released_ns"] = left["time_ns"] - 1_000
        packets["length"], packets["direction"], packets["fate"] = 166, direction, Fate.PASSED
        tables.append(packets[np.argsort(packets["taken_ns"])])
    account = np.concatenate(tables)
    change(account)
    return dataclasses.replace(recording, relay=account, engine="relay")


def test_a_relay_that_delays_as_configured_passes() -> None:
    each: list[dict[str, Any]] = [{}, JITTER, {"rate": "2mbit", "rtt": "10ms"}]
    for keywords in each:
        found = finding(checked(relayed(linked(clock="real", **keywords))), HOLDS)
        assert (found.outcome, found.samples) == (Outcome.PASSED, 240), (keywords, found.message)


@pytest.mark.parametrize("by_ns", [1, -1, 200_000])
def test_one_wrong_due_time_is_found(by_ns: int) -> None:
    def change(account: np.ndarray) -> None:
        account["due_ns"][17] += by_ns

    found = finding(checked(relayed(linked(clock="real"), change)), HOLDS)
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("1 of 240 packets that the relay held have a wrong due time")


def test_a_packet_that_was_sent_ahead_is_due_when_it_comes_in() -> None:
    def change(account: np.ndarray) -> None:
        account["fate"][5], account["due_ns"][5] = Fate.REORDERED, account["taken_ns"][5] + 1

    assert finding(checked(relayed(linked(clock="real"), change)), HOLDS).outcome is Outcome.FAILED


def test_late_releases_of_the_relay_are_found_with_random_delays() -> None:
    """Only the relay knows the draws: 200 us are not significant within 8 ms of jitter."""
    truthful = linked(clock="real", **JITTER)

    def late(account_says: bool) -> list[str]:
        account = relayed(truthful).relay.copy()
        account["released_ns"] += 200_000 * account_says
        late = shifted(truthful, "back", lambda rows, _: 200_000 + 0 * rows["tsval"])
        return failed(checked(dataclasses.replace(late, relay=account, engine="relay")))

    assert failed(checked(relayed(truthful))) == []
    assert late(account_says=False) == ["link.never-late"]
    # Out was let go before it left by this account, so that the records of it are no other packets'.
    assert "link.never-late" in late(account_says=True)


def test_the_relays_draws_are_those_of_its_seed() -> None:
    """200 us more than configured are not significant within 8 ms of jitter, but each packet shows them."""

    def judged(more_ns: int, seed: int) -> Outcome:
        def change(account: np.ndarray) -> None:
            for direction in (0, 1):
                line = Line(Netem(delay_ns=20 * MS, jitter_ns=8 * MS), 17)
                for row in np.flatnonzero(account["direction"] == direction):
                    account["due_ns"][row] = line.admit(int(account["taken_ns"][row]), 166)[0][0] + more_ns
                account["released_ns"] = account["due_ns"] + 1_000

        recording = relayed(linked(clock="real", **JITTER), change)
        held = dict.fromkeys(("out", "back"), str(Netem(delay_ns=20 * MS, jitter_ns=8 * MS, seed=seed)))
        return finding(checked(dataclasses.replace(recording, netem={**recording.netem, "held": held})), HOLDS).outcome

    assert judged(0, seed=17) is Outcome.PASSED
    assert judged(200_000, seed=17) is Outcome.FAILED
    assert judged(0, seed=18) is Outcome.FAILED


def test_records_of_another_direction_do_not_match() -> None:
    recording = relayed(linked(clock="real", **JITTER))
    account = recording.relay.copy()
    account["taken_ns"] += START_NS
    apart = dataclasses.replace(recording, relay=account)
    assert finding(checked(apart), LATER).samples == 240
    assert finding(checked(apart), HOLDS).outcome is Outcome.FAILED
