"""Lives with losses and SACK blocks, compared as whole arrays with a scoreboard of the packets.

Conditions: TCP surely accepts each ACK that does anything, ACKs are not merged, and each event is of an ACK of its own,
in their order. Then each ACK acts on the retransmit queue by itself, and the state of a segment follows from the first
ACK and the first retransmission that cover it (`Scoreboard`). Lives that do not meet the conditions, or in which an
event differs from its ACK, are replayed packet by packet: what fails, fails there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rttcheck.judge.eligibility.acks import Acks, Clock, Sent, of_lives, sequence_is_new, timestamp_is_new
from rttcheck.judge.eligibility.in_order import merges_of
from rttcheck.judge.eligibility.part import ANY_VALUE, EXPECTATION, Part, Parts
from rttcheck.judge.eligibility.portion import Portion, ReportedCalls
from rttcheck.judge.pairing.ends import Arrivals, Booleans, Departures, Places, keys
from rttcheck.judge.pairing.scoreboard import NONE, Scoreboard
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record.event import Owned
from rttcheck.record.packet import ACK, RST, SYN

_NEVER_NS = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The lives that this covers."""

    lives: Booleans
    """Which lives of a portion meet the conditions, with events that match the packets."""
    rows: np.ndarray
    """Their rows, dtype `EXPECTATION`."""

    @classmethod
    def of(cls, events: np.ndarray, portion: Portion, chosen: Booleans, segment_bytes: Integers) -> Scored:
        """Compare the ``chosen`` lives of a portion; ``segment_bytes`` is the most payload of a segment in each."""
        lives = chosen & portion.opened
        sent, came, calls = of_lives(portion, lives)
        clock = Clock.of(portion.lives, sent.time_ns, came.time_ns, calls.now_ns)
        if clock is None or not len(came.row):
            return cls(np.zeros_like(lives), np.zeros(0, dtype=EXPECTATION))
        comparison = _Comparison(portion.ends.wire, events["owned"][calls.event], sent, came, calls, lives, clock)
        found, row = comparison.found(segment_bytes)
        rows = np.zeros(len(row), dtype=EXPECTATION)
        rows["ack"], rows["event"] = came.row[row], calls.event[comparison.own[row]]
        rows["socket"] = portion.ends.socket[portion.first + came.life[row]]
        rows["expected"] = rows["reported"] = found.expected[row]
        rows["karn"] = found.karn[row]
        return cls(lives, rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Effects:
    """What each arrival gives; see `AckEffect`."""

    expected: Parts
    karn: Parts
    sacks_new: Booleans
    """Whether it SACKs a segment for the first time."""


class _Comparison:
    """The comparison of some ``lives``; those that it does not cover are cleared."""

    def __init__(
        self, wire: np.ndarray, owned: np.ndarray, sent: Departures, came: Arrivals, calls: ReportedCalls,
        lives: Booleans, clock: Clock,
    ) -> None:  # fmt: skip
        self._wire, self._owned = wire, owned
        self._sent, self._came, self._calls, self._lives, self._clock = sent, came, calls, lives, clock
        self._sent_by = Sent.of(sent, clock)
        self._acks = Acks.of(came, self._sent_by)
        self.own, alone = self._acks.own_calls(calls)
        self._leave_out(calls.life[alone])
        handshake_without = (calls.reported & (Part.HANDSHAKE | ANY_VALUE)) == Part.HANDSHAKE
        self._leave_out(calls.life[handshake_without])
        self._check_opening()

    def found(self, segment_bytes: Integers) -> tuple[_Effects, Places]:
        """Return what each arrival gives, and which arrivals of the lives that are covered give a sample."""
        came = self._came
        board = Scoreboard.of(self._wire, self._sent, came, segment_bytes)
        sacked, resent_ns = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
        if board.marks is not None:
            sacked, resent_ns = board.marks.sacked, board.marks.again_ns
        known = np.flatnonzero(sacked < len(came.row))
        sacked_by = sacked[known].astype(np.intp)
        sacks_new = np.zeros(len(came.row), dtype=np.bool_)
        sacks_new[sacked_by] = True
        until_ns = self._until_ns(sacks_new)
        again = resent_ns[known] <= until_ns[sacked_by]
        effects = self._effects(board, until_ns, sacked_by[~again], sacked_by[again], sacks_new)
        self._check_sent_again(board, known, until_ns[sacked_by])
        self._check_acceptance(until_ns, sacks_new)
        self._check_waiting(sacks_new)
        self._check_events(effects)
        return effects, np.flatnonzero((effects.expected != 0) & self._lives[came.life])

    def _leave_out(self, life: np.ndarray) -> None:
        self._lives[life] = False

    def _check_opening(self) -> None:
        """Leave out lives that do not begin with their own SYN and its first answer, or that send a RST with data."""
        sent, came, acks = self._sent, self._came, self._acks
        flags = self._wire["flags"][sent.row]
        self._leave_out(sent.life[(flags & RST) != 0])
        first = np.flatnonzero(np.append(True, sent.life[1:] != sent.life[:-1])[: len(sent.life)])
        begun = np.zeros(len(self._lives), dtype=np.bool_)
        begun[sent.life[first]] = ((flags[first] & SYN) != 0) & (sent.start[first] == keys(sent.life[first], 0))
        passive = np.zeros(len(self._lives), dtype=np.bool_)
        passive[sent.life[first]] = (flags[first] & ACK) != 0
        self._lives &= begun
        syn = (self._wire["flags"][came.row] & SYN) != 0
        self._leave_out(came.life[syn & ~acks.begins])
        opening = np.flatnonzero(acks.begins)
        life = came.life[opening]
        self._leave_out(life[(syn[opening] == passive[life]) | (came.ack[opening] != keys(life, 1))])

    def _until_ns(self, sacks_new: Booleans) -> Integers:
        """Return until when packets have left when each ACK is processed: its arrival, or its event's "now"."""
        came, calls, acks, own = self._came, self._calls, self._acks, self.own
        if not len(calls.now_ns):
            return came.time_ns
        now_ns = calls.now_ns[own]
        following_ns = np.full(len(came.row), _NEVER_NS, dtype=np.int64)
        following_ns[:-1] = np.where(came.life[1:] == came.life[:-1], came.time_ns[1:], _NEVER_NS)
        # As in Replay: an event after the next arrival is surely of this ACK only if this one does something.
        mine = acks.moves | (now_ns < following_ns) | (sacks_new & (self._owned[own] != Owned.NO))
        mine &= (own != NONE) & ~acks.begins
        until = self._clock.key(came.life, np.where(mine, np.maximum(came.time_ns, now_ns), came.time_ns))
        np.maximum.accumulate(until, out=until)
        return self._clock.time_ns(came.life, until)

    def _effects(
        self, board: Scoreboard, until_ns: Integers, once: Places, again: Places, sacks_new: Booleans
    ) -> _Effects:
        """Apply ``tcp_clean_rtx_queue()`` and ``tcp_ack_update_rtt()`` to each arrival.

        ``once`` and ``again`` are the arrivals that SACKed segments which were sent once, and again.
        """
        came, acks = self._came, self._acks
        expected, karn = np.zeros(len(came.row), dtype=np.uint8), np.zeros(len(came.row), dtype=np.uint8)
        moves = np.flatnonzero(acks.moves)
        acked, fresh, resent = board.effects(
            came.life[moves], acks.before[moves], acks.una[moves], until_ns[moves], moves
        )
        expected[moves[fresh & ~resent]] = Part.FIRST | Part.LAST
        expected[once] |= np.uint8(Part.SACK | Part.LAST)
        karn[moves[resent]] = Part.FIRST
        karn[again] |= np.uint8(Part.SACK)
        karn[once] &= ~np.uint8(Part.SACK)
        # Old ACKs mark segments and give nothing.
        old = came.ack < acks.before
        expected[old] = karn[old] = 0
        row = came.row[moves[acked]]
        echoes = (self._wire["has_ts"][row] != 0) & (self._wire["tsecr"][row] != 0)
        taken = expected != 0
        taken[moves[acked][echoes]] = True
        expected[taken] |= np.uint8(Part.TAKEN)
        expected[taken & acks.begins] |= np.uint8(Part.HANDSHAKE)
        return _Effects(expected, karn, sacks_new)

    def _check_sent_again(self, board: Scoreboard, known: Places, sacked_ns: Integers) -> None:
        """Leave out lives that send SACKed segments again: the kernel then forgets all SACK blocks."""
        sent = self._sent
        if not len(known):
            return
        newest = np.empty_like(sent.end)
        newest[:1] = sent.start[:1]
        np.maximum.accumulate(sent.end[:-1], out=newest[1:])
        again = np.flatnonzero(sent.start < newest)
        low = np.searchsorted(board.start, sent.start[again])
        high = np.searchsorted(board.end, np.minimum(sent.end[again], newest[again]), side="right")
        again, low, high = again[low < high], low[low < high], high[low < high]
        when_ns = np.full(len(board.start) + 1, _NEVER_NS, dtype=np.int64)
        when_ns[known] = sacked_ns
        # reduceat also reduces from each range's end to the next one's begin: every second value is not used.
        least = np.minimum.reduceat(when_ns, np.column_stack((low, high)).ravel())[::2] if len(again) else low
        self._leave_out(sent.life[again[least <= sent.time_ns[again]]])

    def _check_acceptance(self, until_ns: Integers, sacks_new: Booleans) -> None:
        """Leave out lives with an ACK that does something and that TCP may drop as old, or as of unsent data."""
        came, acks, wire = self._came, self._acks, self._wire
        acts = (acks.moves | sacks_new | (self.own != NONE)) & ~acks.begins
        stamped = wire["has_ts"][came.row] != 0
        mixed = stamped != stamped[np.flatnonzero(acks.begins)][np.cumsum(acks.begins) - 1]
        self._leave_out(came.life[mixed])
        old = ~sequence_is_new(wire, came, acks.begins)
        old |= stamped & ~timestamp_is_new(wire, came, acks.begins)
        self._leave_out(came.life[acts & old])
        moves = np.flatnonzero(acks.moves)
        beyond = acks.una[moves] > self._sent_by.next_by(came.life[moves], until_ns[moves])
        self._leave_out(came.life[moves[beyond]])

    def _check_waiting(self, sacks_new: Booleans) -> None:
        """Leave out lives with ACKs that may have been merged with the next one, or processed with its event."""
        came, calls, own = self._came, self._calls, self.own
        without = np.flatnonzero(own == NONE)
        following = np.searchsorted(np.flatnonzero(own != NONE), without)
        taken = own[own != NONE]
        without, following = without[following < len(taken)], following[following < len(taken)]
        call = taken[following]
        same = calls.life[call] == came.life[without]
        without, call = without[same], call[same]
        beyond = calls.una[call] > self._acks.una[without]
        self._leave_out(came.life[without[~beyond & sacks_new[without]]])
        waits = without[beyond & (self._owned[call] != Owned.NO)]
        if len(waits):
            self._leave_out(came.life[waits[merges_of(self._wire, came.row, came.life)[waits]]])

    def _check_events(self, effects: _Effects) -> None:
        """Leave out lives in which an event and its ACK differ."""
        came, own = self._came, self.own
        reported = np.zeros(len(came.row), dtype=np.uint8)
        has = np.flatnonzero(own != NONE)
        reported[has] = self._calls.reported[own[has]]
        silent = (reported & ANY_VALUE) == 0
        reported[silent & (effects.expected == 0)] = 0
        self._leave_out(came.life[reported != effects.expected])
