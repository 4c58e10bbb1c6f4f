"""Replay one life of a socket packet by packet: which sample each ACK implies, and which event is of it.

ACKs may wait for the thread that owns the socket, and waiting ones may be merged (``tcp_add_backlog()``).
`RetransmitQueue` and `Acceptance` find the expected samples; events only show which ACKs TCP processed, and when, never
what is expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from rttcheck.judge.eligibility.acceptance import Acceptance, Arrival
from rttcheck.judge.eligibility.lookahead import Lookahead
from rttcheck.judge.eligibility.part import ANY_VALUE, NEW_DATA, Part
from rttcheck.judge.eligibility.retransmit_queue import RetransmitQueue
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.record.event import FLAG_ACK_MAYBE_DELAYED, Owned
from rttcheck.record.packet import ACK, RST, SYN

NEVER_NS: Final = 1 << 62

_MICROSECOND_NS: Final = 1_000


@dataclass(slots=True)
class Departure:
    """One outgoing packet; ``start`` is an offset, ``ack`` as on the wire, ``length`` includes SYN and FIN."""

    time_ns: int
    start: int
    length: int
    flags: int
    ack: int


@dataclass(slots=True)
class Call:
    """One event; ``now_ns`` is when the kernel processed the ACK, rounded down to microseconds."""

    event: int
    una: int
    now_ns: int
    reported: int
    flag: int
    first_rtt_us: int
    owned: int
    rto_ms: float

    @property
    def has_value(self) -> bool:
        """Return whether the event reports any value."""
        return bool(self.reported & ANY_VALUE)

    def after(self, time_ns: int) -> bool:
        """Return whether the kernel may have processed a packet that came in at ``time_ns``."""
        return self.now_ns + _MICROSECOND_NS > time_ns


@dataclass(slots=True)
class Expectation:
    """A row of `EXPECTATION` without the socket; the last three are `Part` flags."""

    ack: int
    event: int
    expected: int
    reported: int
    karn: int


class _State(IntEnum):
    SYN_SENT = 0
    SYN_RECEIVED = 1
    ESTABLISHED = 2


class Replay:
    """The replay of one life; it runs once."""

    def __init__(
        self,
        departures: Iterable[Departure],
        arrivals: Iterable[Arrival],
        calls: Iterable[Call],
        *,
        opened: int,
        mss: int,
        reset_ns: int = NEVER_NS,
    ) -> None:
        """All items are in order of time. ``mss`` is the most payload of a segment in bytes.

        ``opened`` has the flags of the first outgoing SYN or SYN-ACK, 0 if the capture began later; ``reset_ns`` is the
        time of the first RST, in either direction.
        """
        self._departures, self._arrivals, self._calls = Lookahead(departures), Lookahead(arrivals), Lookahead(calls)
        self._opened, self._reset_ns = bool(opened), reset_ns
        self._queue, self._acceptance, self._synacks = RetransmitQueue(mss), Acceptance(), 0
        self._last, self._last_una = Expectation(NONE, NONE, 0, 0, 0), NONE
        self._found: list[Expectation] = []
        self._state = _State.ESTABLISHED
        if opened:
            self._state = _State.SYN_RECEIVED if opened & ACK else _State.SYN_SENT
        else:
            self._queue.una = self._queue.next = 1

    def run(self) -> list[Expectation]:
        """Return each expected sample with its event, and each event with an unexpected value, in order of time."""
        waiting: list[Arrival] = []
        while self._arrivals.at(0) is not None:
            waiting.append(self._arrivals.take())
            if not self._coalesces_with_next(waiting):
                following = self._arrivals.at(0)
                self._receive(_merged(waiting), NEVER_NS if following is None else following.time_ns)
                waiting = []
        while self._calls.at(0) is not None:
            self._skip_call()
        return self._found

    def _coalesces_with_next(self, waiting: Sequence[Arrival]) -> bool:
        """Return whether the last of ``waiting`` was merged with the next ACK: it could be, and an event shows that.

        That event has the number of a later ACK, with no event between; a thread owned the socket, as ACKs wait only
        then; and its first-acked time fits the first segment of all merged ACKs.
        """
        arrival: Arrival | None = waiting[-1]
        if not waiting[-1].merges or self._state is not _State.ESTABLISHED:
            return False
        una = max(waiting[-1].ack, self._queue.una)
        call = self._call_for(una, waiting[0].time_ns)
        if call is None or call.una <= una or call.owned == Owned.NO:
            return False
        place = 0
        while arrival is not None and arrival.merges and arrival.ack < call.una:
            arrival = self._arrivals.at(place)
            place += 1
        if arrival is None or arrival.ack != call.una or not call.after(arrival.time_ns):
            return False
        self._depart_until(max(waiting[0].time_ns, call.now_ns))
        count, sent_ns = self._queue.would_acknowledge(call.una)
        if count > 1 and call.flag & FLAG_ACK_MAYBE_DELAYED:
            return False
        if call.reported & Part.FIRST and sent_ns is not None:
            # The stamp is not later than the departure; both are rounded down to microseconds.
            return call.first_rtt_us >= call.now_ns // _MICROSECOND_NS - sent_ns // _MICROSECOND_NS
        return True

    def _receive(self, arrival: Arrival, next_ns: int) -> None:
        """Process an ACK from the network or the backlog; ``next_ns`` is when the next one comes in."""
        self._depart_until(arrival.time_ns)
        if self._state is _State.SYN_SENT:
            if arrival.flags & SYN and arrival.ack == 1:
                self._acceptance.open(arrival)
                self._state = _State.ESTABLISHED
                self._process(arrival, Part.HANDSHAKE)
            return
        if self._state is _State.SYN_RECEIVED:
            if arrival.ack == 1 and not arrival.flags & SYN:
                self._state = _State.ESTABLISHED
                self._accept(arrival)
            return
        if self._acceptance.initial is None:
            self._acceptance.open(arrival)
        una = self._queue.una
        if not self._acceptance.accepts(arrival, una) or arrival.ack > self._queue.next:
            return
        call = self._call_for(max(arrival.ack, una), arrival.time_ns)
        if call is not None and call.una == max(arrival.ack, una) and self._is_of(call, arrival, next_ns):
            self._acceptance.rto_ms = call.rto_ms
            self._depart_until(call.now_ns)
            if not self._acceptance.accepts(arrival, una):
                return
        self._acceptance.receive(arrival, una)
        if arrival.ack < una:
            self._queue.sack(arrival.blocks)
        else:
            self._process(arrival, 0)

    def _is_of(self, call: Call, arrival: Arrival, next_ns: int) -> bool:
        """Return whether an event is of this ACK and not of a later one with the same number."""
        if arrival.ack > self._queue.una or call.now_ns < next_ns:
            return True
        # The ACK waited; if it acknowledges and SACKs nothing new, it may have no event.
        return call.owned != Owned.NO and self._queue.covers_new(arrival.blocks)

    def _accept(self, arrival: Arrival) -> None:
        """Process the ACK of a passive handshake: timed if the SYN-ACK was sent once (``tcp_synack_rtt_meas()``)."""
        self._queue.process_ack(1, ())
        again = self._synacks > 1
        expected = NEW_DATA
        if again:
            expected = Part.TAKEN if _echoes(arrival) else 0
        self._record(arrival, expected | Part.HANDSHAKE if expected else expected, Part.FIRST if again else 0)
        self._acceptance.receive(arrival, 1)

    def _process(self, arrival: Arrival, handshake: int) -> None:
        """Process an ACK that is not old, as ``tcp_clean_rtx_queue()`` and ``tcp_ack_update_rtt()`` do."""
        look = self._queue.process_ack(arrival.ack, arrival.blocks)
        expected = look.parts
        if expected or (look.acknowledged and _echoes(arrival)):
            expected |= Part.TAKEN | handshake
        self._record(arrival, expected, look.karn)

    def _record(self, arrival: Arrival, expected: int, karn: int) -> None:
        """Add a row with what is expected of the ACK and what its event reports."""
        for _ in range(self._place_of(self._queue.una, arrival.time_ns)):
            self._skip_call()
        self._last, self._last_una = Expectation(arrival.row, NONE, expected, 0, karn), self._queue.una
        call = self._calls.at(0)
        if call is not None and call.una == self._queue.una and (expected or not call.has_value):
            self._calls.take()
            if self._repeats_handshake(call):
                call = self._calls.take()
            self._last.event, self._last.reported = call.event, self._reported(call)
        elif expected and self._is_closed(arrival):
            return
        if expected:
            self._found.append(self._last)

    def _repeats_handshake(self, call: Call) -> bool:
        """Return whether a passive handshake calls a second time, with the timestamp, as the first call gave nothing.

        ``tcp_check_req()`` calls before the new socket has a timestamp, ``tcp_rcv_state_process()`` after that failed.
        """
        following = self._calls.at(0)
        if call.has_value or following is None:
            return False
        return bool(call.reported & following.reported & Part.HANDSHAKE) and following.has_value

    def _call_for(self, una: int, time_ns: int) -> Call | None:
        return self._calls.at(self._place_of(una, time_ns))

    def _place_of(self, una: int, time_ns: int) -> int:
        """Return the place of the first event that may be of an ACK that moves ``snd_una`` there, or of a later ACK."""
        place = 0
        while (call := self._calls.at(place)) is not None:
            if call.una > una or (call.una == una and call.after(time_ns)):
                break
            place += 1
        return place

    def _skip_call(self) -> None:
        """Skip an event without an ACK; if it reports a value add a row, with the last ACK of its number if any."""
        call = self._calls.take()
        if call.has_value:
            near = call.una == self._last_una and not self._last.expected
            ack, karn = (self._last.ack, self._last.karn) if near else (NONE, 0)
            self._found.append(Expectation(ack, call.event, 0, self._reported(call), karn))

    def _reported(self, call: Call) -> int:
        return call.reported if self._opened else call.reported & ~Part.HANDSHAKE

    def _is_closed(self, arrival: Arrival) -> bool:
        """Return whether the socket was closed before the ACK came: after a RST, or if a RST answers it."""
        if arrival.time_ns >= self._reset_ns:
            return True
        answer = self._departures.at(0)
        return answer is not None and bool(answer.flags & RST) and answer.start == arrival.ack

    def _depart_until(self, until_ns: int) -> None:
        """Process the packets that left up to ``until_ns``."""
        while (one := self._departures.at(0)) is not None and one.time_ns <= until_ns:
            self._departures.take()
            if one.flags & RST:
                continue
            if one.flags & SYN and one.flags & ACK:
                self._synacks += 1
                if self._synacks == 1:
                    self._acceptance.begin(one.ack - 1)
            elif one.flags & ACK:
                self._acceptance.acknowledge(one.ack)
            if one.length:
                self._queue.send(one.start, one.start + one.length, one.time_ns)


def _echoes(arrival: Arrival) -> bool:
    return arrival.stamped and arrival.tsecr != 0


def _merged(waiting: Sequence[Arrival]) -> Arrival:
    """Merge ACKs that waited together: the first one's place in the peer's data, the highest ACK number."""
    if len(waiting) == 1:
        return waiting[0]
    newest = max(range(len(waiting)), key=lambda place: (waiting[place].ack, place))
    return replace(
        waiting[-1],
        seq=waiting[0].seq,
        length=sum(one.length for one in waiting),
        ack=waiting[newest].ack,
        window=waiting[newest].window,
    )
