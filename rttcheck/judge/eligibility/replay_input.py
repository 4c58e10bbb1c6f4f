"""Replay one life of a socket: turn table rows into `Departure`, `Arrival` and `Call` objects, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from rttcheck.judge.eligibility.acceptance import Arrival
from rttcheck.judge.eligibility.in_order import merges_of
from rttcheck.judge.eligibility.part import EXPECTATION
from rttcheck.judge.eligibility.portion import Portion
from rttcheck.judge.eligibility.replay import NEVER_NS, Call, Departure, Replay
from rttcheck.judge.pairing.ends import Booleans, Rows, keys, packets_of, sequence_keys
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record.packet import ACK, FIN, RST, SYN

TIMESTAMP_BYTES: Final = 12
"""Size of the timestamp option in each segment, padding included (RFC 7323, appendix A)."""

_BLOCK: Final = 4_096
"""Rows converted to Python objects at a time."""


def most_payload(portion: Portion, segment_bytes: int) -> Integers:
    """Return the most payload of a segment in each life, bytes; ``segment_bytes`` is that without TCP options."""
    came = portion.came
    stamped = np.zeros(portion.lives, dtype=np.bool_)
    stamped[came.life[portion.ends.wire["has_ts"][came.row] != 0]] = True
    longest: Integers = segment_bytes - TIMESTAMP_BYTES * stamped.astype(np.int64)
    return longest


def replayed(events: np.ndarray, portion: Portion, life: int, mss: int) -> np.ndarray:
    """Replay one life of ``portion``; return its rows, dtype `EXPECTATION`. ``mss`` is its `most_payload`."""
    wire, rows = portion.ends.wire, portion.rows(life)
    flags, out = wire["flags"][rows], wire["outgoing"][rows] != 0
    came = rows[~out & ((flags & (ACK | RST)) == ACK)]
    resets = rows[(flags & RST) != 0]
    number = portion.first + life
    initial = portion.ends.initial[number : number + 1]
    replay = Replay(
        _departures(wire, rows[out], initial),
        _arrivals(wire, came, initial),
        _calls(events, portion, life),
        opened=_opening(flags[out & ((flags & SYN) != 0)]),
        mss=mss,
        reset_ns=int(wire["time_ns"][resets[0]]) if len(resets) else NEVER_NS,
    )
    socket = int(portion.ends.socket[number])
    found = [(one.ack, one.event, socket, one.expected, one.reported, one.karn) for one in replay.run()]
    return np.array(found, dtype=EXPECTATION)


def _opening(syn_flags: np.ndarray) -> int:
    """Return the flags of the first outgoing SYN, 0 without one."""
    return int(syn_flags[0]) if len(syn_flags) else 0


def _departures(wire: np.ndarray, row: Rows, initial: np.ndarray) -> Iterator[Departure]:
    starts = _offsets(wire["seq"][row], initial)
    for at in range(0, len(row), _BLOCK):
        packets = packets_of(wire, row[at : at + _BLOCK])
        length = packets["payload"] + ((packets["flags"] & (SYN | FIN)) != 0)
        for fields in zip(
            packets["time_ns"].tolist(), starts[at : at + _BLOCK].tolist(), length.tolist(),
            packets["flags"].tolist(), packets["ack"].tolist(), strict=True,
        ):  # fmt: skip
            yield Departure(*fields)


def _arrivals(wire: np.ndarray, row: Rows, initial: np.ndarray) -> Iterator[Arrival]:
    acked = _offsets(wire["ack"][row], initial)
    merges: Booleans = merges_of(wire, row, np.zeros(len(row), dtype=np.int32))
    for at in range(0, len(row), _BLOCK):
        block = slice(at, at + _BLOCK)
        packets = packets_of(wire, row[block])
        length = packets["payload"] + ((packets["flags"] & (SYN | FIN)) != 0)
        # SACK edges lie within 2^31 of the ACK number that they come with.
        edges = (packets["sack"] - packets["ack"][:, None, None]).view(np.int32) + acked[block, None, None]
        for which, time_ns, ack, count, sack, *rest in zip(
            row[block].tolist(), packets["time_ns"].tolist(), acked[block].tolist(), packets["sack_blocks"].tolist(),
            edges.tolist(), packets["seq"].tolist(), length.tolist(), packets["flags"].tolist(),
            packets["window"].tolist(), (packets["has_ts"] != 0).tolist(), packets["tsval"].tolist(),
            packets["tsecr"].tolist(), merges[block].tolist(), strict=True,
        ):  # fmt: skip
            yield Arrival(which, time_ns, ack, tuple((left, right) for left, right in sack[:count]), *rest)


def _calls(events: np.ndarray, portion: Portion, life: int) -> Iterator[Call]:
    calls = portion.calls
    low, high = np.searchsorted(calls.life, (life, life + 1)).tolist()
    zero = int(keys(np.array([life]), 0)[0])
    for at in range(low, high, _BLOCK):
        block = slice(at, min(at + _BLOCK, high))
        rows = events[calls.event[block]]
        rto_ms = rows["rto_jiffies"] * (1_000 / np.maximum(rows["hz"], 1))
        for fields in zip(
            calls.event[block].tolist(), (calls.una[block] - zero).tolist(), calls.now_ns[block].tolist(),
            calls.reported[block].tolist(), rows["flag"].tolist(), rows["first_rtt_us"].tolist(),
            rows["owned"].tolist(), rto_ms.tolist(), strict=True,
        ):  # fmt: skip
            yield Call(*fields)


def _offsets(numbers: np.ndarray, initial: np.ndarray) -> Integers:
    return sequence_keys(numbers, np.zeros(len(numbers), dtype=np.int32), initial)
