"""A stretch of a real connection on 6.12 with loss, duplicates and reordering, and what is found when it is rewritten.

The text beside this file has a line a packet at the client's interface (``>`` left, ``<`` came in: time, seq, ack,
payload, flags, window, tsval, tsecr, SACK blocks) and a line an event (``=``: time, tcp_mstamp, snd_una, first-acked,
SACK and last-acked time, sample, flag, owned, RTO); times in nanoseconds from the first packet on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rttcheck.judge.address import address_bytes
from rttcheck.judge.eligibility.expectations import expectations_of
from rttcheck.judge.eligibility.part import Part, reported_by
from rttcheck.record.event import EVENT
from rttcheck.record.packet import MOST_SACK_BLOCKS, WIRE
from tests.support.planted import CLIENT, SERVER
from tests.support.planted_ack import FLOWS

BEGAN_NS = 200_000_000_000
OWN, PEER = (np.frombuffer(address_bytes(host), np.uint8) for host in (CLIENT, SERVER))


@pytest.fixture(scope="module")
def lines() -> list[list[str]]:
    text = Path(__file__).with_suffix(".txt").read_text()
    return [line.split() for line in text.splitlines()]


@pytest.fixture(scope="module")
def wire(lines: list[list[str]]) -> np.ndarray:
    packets = [line for line in lines if line[0] != "="]
    rows = np.zeros(len(packets), dtype=WIRE)
    for row, (way, *fields) in zip(rows, packets, strict=True):
        names = ("time_ns", "seq", "ack", "payload", "flags", "window", "tsval", "tsecr")
        for name, value in zip(names, fields, strict=False):
            row[name] = int(value)
        blocks = [[int(edge) for edge in block.split("-")] for block in fields[len(names) :]]
        row["sack_blocks"], row["has_ts"], row["outgoing"] = len(blocks), 1, way == ">"
        row["sack"] = blocks + [[0, 0]] * (MOST_SACK_BLOCKS - len(blocks))
        row["src"], row["dst"] = (OWN, PEER) if way == ">" else (PEER, OWN)
        row["sport"], row["dport"] = (40_000, 5_000) if way == ">" else (5_000, 40_000)
    rows["time_ns"] += BEGAN_NS
    return rows


@pytest.fixture
def events(lines: list[list[str]]) -> np.ndarray:
    calls = [line[1:] for line in lines if line[0] == "="]
    rows = np.zeros(len(calls), dtype=EVENT)
    for row, (done, stamp, una, first, sack, last, sample, flag, owned, rto) in zip(rows, calls, strict=True):
        row["timestamp_ns"], row["tcp_mstamp_us"] = BEGAN_NS + int(done), (BEGAN_NS + int(stamp)) // 1_000
        row["snd_una"], row["sample_us"], row["taken"] = int(una), int(sample), int(sample) >= 0
        row["first_rtt_us"], row["sack_rtt_us"], row["last_rtt_us"] = int(first), int(sack), int(last)
        row["flag"], row["owned"], row["rto_jiffies"] = int(flag), int(owned), int(rto)
    rows["saddr"], rows["daddr"], rows["sport"], rows["dport"], rows["hz"] = OWN, PEER, 40_000, 5_000, 250
    return rows


def differences(events: np.ndarray, wire: np.ndarray) -> np.ndarray:
    rows = expectations_of(events, wire, FLOWS)
    found: np.ndarray = rows[rows["expected"] != rows["reported"]]
    return found


def test_as_it_was_everything_that_is_expected_is_reported_and_nothing_else(
    events: np.ndarray, wire: np.ndarray
) -> None:
    rows = expectations_of(events, wire, FLOWS)
    assert len(differences(events, wire)) == 0
    expected = rows["expected"]
    from_timestamps = ((expected & Part.TAKEN) != 0) & ((expected & (Part.FIRST | Part.SACK)) == 0)
    # Enough of each kind for what follows to mean something.
    assert [int(((expected & part) != 0).sum()) for part in (Part.FIRST, Part.SACK)] == [9, 14]
    assert int(from_timestamps.sum()) == 16
    assert int((rows["karn"] != 0).sum()) == 16


def test_no_sample_can_be_left_out(events: np.ndarray, wire: np.ndarray) -> None:
    for event in np.flatnonzero(events["taken"]).tolist():
        found = differences(np.delete(events, event), wire)
        assert ((found["expected"] & Part.TAKEN) != 0).any(), event


def test_no_sample_can_be_taken_where_none_was(events: np.ndarray, wire: np.ndarray) -> None:
    for event in np.flatnonzero(events["taken"] == 0).tolist():
        changed = events.copy()
        for name in ("first_rtt_us", "last_rtt_us", "sample_us", "taken"):
            changed[name][event] = 1
        found = differences(changed, wire)
        assert found["event"].tolist() == [event]


def test_no_sample_can_come_from_elsewhere(events: np.ndarray, wire: np.ndarray) -> None:
    for event in np.flatnonzero(events["taken"]).tolist():
        for name in ("first_rtt_us", "sack_rtt_us", "last_rtt_us"):
            changed = events.copy()
            changed[name][event] = -1 if changed[name][event] >= 0 else 1
            found = differences(changed, wire)
            assert found["event"].tolist() == [event], (event, name)


def test_karn_cannot_be_ignored(events: np.ndarray, wire: np.ndarray) -> None:
    shown = reported_by(events)
    for event in np.flatnonzero(shown == Part.TAKEN).tolist():
        changed = events.copy()
        for name in ("first_rtt_us", "last_rtt_us"):
            changed[name][event] = changed["sample_us"][event]
        found = differences(changed, wire)
        assert found["event"].tolist() == [event]
        assert (found["karn"] & Part.FIRST).all()
