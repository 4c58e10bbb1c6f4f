"""Pair each event of the probe with its packets: the ACK that caused it, and the segments that this ACK acknowledges.

Pairs are found by socket and sequence number, in the packets at the socket's own end. Events and ACKs without a partner
are reported, never dropped.

Whole arrays are processed, a portion of lives at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.advance import advance
from rttcheck.judge.pairing.backlog import without_merged
from rttcheck.judge.pairing.calls import Calls, acks_of
from rttcheck.judge.pairing.ends import Arrivals, Booleans, Ends, Places, Rows, keys, sequence_keys
from rttcheck.judge.pairing.lives import lives_of, portions
from rttcheck.judge.pairing.scoreboard import NONE, Scoreboard
from rttcheck.judge.pairing.sockets import Integers, Sockets
from rttcheck.record.event import FLAG_SYN_ACKED, Hook


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """One entry per event: rows of the table of packets, `NONE` (-1) where there is none."""

    ack: Rows
    """The ACK of the event: the last that came in before it with its ``snd_una`` and is not a later event's."""
    first: Rows
    """Departure of the first newly acknowledged segment that may give a sample."""
    last: Rows
    """Departure of the last such segment, or of the last newly SACKed one where there is one."""
    sack: Rows
    """Departure of the first newly SACKed segment that may give a sample."""
    echoed: Rows
    """For samples from timestamps: first departure that carried the timestamp which the ACK echoes."""
    unreported: Rows
    """ACKs of new data without an event."""
    known: Booleans
    """Whether the event's socket is one of the recording's connections, with captured packets."""


def pair(events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]) -> Pairs:
    """Pair ``events`` (dtype ``EVENT``) with ``wire`` (dtype ``WIRE``); ``flows`` are the recording's connections."""
    return pair_at(events, Ends.of(wire, Sockets(flows)))


def pair_at(events: np.ndarray, ends: Ends) -> Pairs:
    """Pair ``events`` (dtype ``EVENT``) with the packets at the ends."""
    ack, first, last, sack, echoed = (np.full(len(events), NONE, dtype=np.int32) for _ in range(5))
    pairs = Pairs(
        ack=ack, first=first, last=last, sack=sack, echoed=echoed,
        unreported=np.zeros(0, dtype=np.int32), known=np.zeros(len(events), dtype=np.bool_),
    )  # fmt: skip
    if not ends.lives or not len(events):
        return pairs
    life, order, _ = lives_of(events, ends)
    if not len(order):
        return pairs
    pairs.known[order] = True
    unreported = []
    for start, stop in portions(ends):
        mine = slice(*np.searchsorted(life, (start, stop)))
        unreported.append(_pair_lives(pairs, events, order[mine], life[mine], ends, start, stop))
    return replace(pairs, unreported=np.concatenate(unreported))


def _pair_lives(pairs: Pairs, events: np.ndarray, event: Places, life: Rows, ends: Ends, start: int, stop: int) -> Rows:
    """Fill in ``pairs`` for ``event``, the events of lives ``start`` to ``stop`` - 1; return their unreported ACKs."""
    calls = _calls(events, event, life, ends.initial, start)
    sent, came = ends.directions(start, stop)
    if _every_ack(events):
        came = without_merged(ends.wire, came, calls, events["owned"][event])
    at = acks_of(calls, came)
    if not _every_ack(events):
        at, before = advance(calls, at, came)
        calls = replace(calls, before=before)
    unreported = _unreported(came, at)
    if not len(at):
        return unreported
    found = at != NONE
    pairs.ack[event[found]] = came.row[at[found]]
    if len(came.sacks):
        came = replace(came, sacks=came.sacks[~_dropped_as_old(ends.wire, came)[came.sacks]])
    board = Scoreboard.of(ends.wire, sent, came, _segment_bytes(events, calls, stop - start))
    # The scoreboard and the pairs hold what is needed of these, the largest arrays.
    del sent, came
    newest = np.maximum.accumulate(at)
    low, high = board.acknowledged(calls.life, calls.before, calls.una, calls.now_ns, newest)
    low[~found] = high[~found] = NONE
    if board.marks is not None:
        # ACKs up to the previous event's are counted there.
        fresh = np.flatnonzero(at > np.append(NONE, newest[:-1]))
        pairs.sack[event[fresh]] = board.marks.sack_first[at[fresh]]
        sacked = board.marks.sack_last[at[fresh]]
        high[fresh] = np.where(sacked == NONE, high[fresh], sacked)
    pairs.first[event], pairs.last[event] = low, high
    _echoes(pairs, events, calls, ends, start)
    return unreported


def _dropped_as_old(wire: np.ndarray, came: Arrivals) -> Booleans:
    """Return which ACKs are dropped for an old timestamp, with their SACK blocks.

    RFC 7323, section 5.3, and ``tcp_disordered_ack()``: an ACK with the newest ACK number is accepted, and so is a
    timestamp that is one tick old (``TCP_PAWS_WINDOW``).
    """
    begins = np.append(True, came.life[1:] != came.life[:-1])
    stamp = wire["tsval"][came.row]
    first = stamp[np.maximum.accumulate(np.where(begins, np.arange(len(stamp)), 0))]
    # Lives are offset by more than any difference of two timestamps.
    since = (stamp - first).view(np.int32) + (came.life.astype(np.int64) << 33)
    newest, acked = np.maximum.accumulate(since), np.maximum.accumulate(came.ack)
    past: Booleans = (wire["has_ts"][came.row] != 0) & (newest - since > 1) & (came.ack < acked)
    return past


def _every_ack(events: np.ndarray) -> bool:
    """Return whether each processed ACK has an event, so that the previous event has the state before."""
    return not (events["hook"] == Hook.SOCKOPS).any()


def _calls(events: np.ndarray, event: Places, life: Rows, initial: npt.NDArray[np.uint32], first_life: int) -> Calls:
    begins = np.append(True, life[1:] != life[:-1])[: len(life)]
    mine = life - np.int32(first_life)
    una = sequence_keys(events["snd_una"][event], mine, initial[first_life:])
    before = np.empty_like(una)
    before[1:] = una[:-1]
    # A SYN is the first byte of its connection.
    opening = np.flatnonzero(begins)
    handshake = (events["flag"][event[opening]] & FLAG_SYN_ACKED) != 0
    before[opening] = keys(mine[opening], np.where(handshake, 0, 1))
    # When the kernel processed the ACK: tcp_mstamp, before which it came in; else the time of the event.
    done_ns = events["timestamp_ns"][event].astype(np.int64)
    stamp = events["tcp_mstamp_us"][event].astype(np.int64)
    now_ns = np.where(stamp == 0, done_ns, np.minimum(stamp * 1_000 + 999, done_ns))
    return Calls(event=event, life=mine, una=una, before=before, now_ns=now_ns)


def _segment_bytes(events: np.ndarray, calls: Calls, lives: int) -> Integers:
    """Return the most bytes of a segment in each life: its largest ``mss_cache``."""
    longest = np.full(lives, np.iinfo(np.int64).max)
    begins = np.flatnonzero(np.diff(calls.life, prepend=-1))
    if len(begins):
        longest[calls.life[begins]] = np.maximum.reduceat(events["mss_cache"][calls.event], begins)
    return longest


def _echoes(pairs: Pairs, events: np.ndarray, calls: Calls, ends: Ends, first_life: int) -> None:
    """Find the first departure with the echoed timestamp, for samples from timestamps."""
    at = np.flatnonzero((events["first_rtt_us"][calls.event] < 0) & (pairs.ack[calls.event] != NONE))
    at = at[(events["sack_rtt_us"][calls.event[at]] < 0) & (events["taken"][calls.event[at]] != 0)]
    if not len(at):
        return
    event = calls.event[at]
    wanted = calls.life[at].astype(np.int64) << 32 | ends.wire["tsecr"][pairs.ack[event]]
    lives = np.unique(calls.life[at])
    row, life, stamp = ends.stamps(lives + first_life)
    key = (life - first_life).astype(np.int64) << 32 | stamp
    if (key[1:] < key[:-1]).any():
        by_key = np.argsort(key, kind="stable")
        key, row = key[by_key], row[by_key]
    least = np.searchsorted(key, wanted)
    hit = least < np.searchsorted(key, wanted, side="right")
    pairs.echoed[event[hit]] = row[least[hit]]


def _unreported(came: Arrivals, at: Places) -> Rows:
    """Return the ACKs of new data without an event: the first of their number, the SYN's excluded."""
    number = np.maximum(came.ack, keys(came.life, 0))
    highest = np.maximum.accumulate(number)
    rises = np.flatnonzero((number[1:] > highest[:-1]) & (came.life[1:] == came.life[:-1])) + 1
    reported = np.zeros(len(number), dtype=np.bool_)
    reported[at[at != NONE]] = True
    # A later ACK of the same number may have the event.
    open_ = rises[~reported[rises]]
    return came.row[open_[~np.isin(number[open_], number[reported])]] if len(open_) else np.zeros(0, dtype=np.int32)
