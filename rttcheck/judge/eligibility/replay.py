"""One life of a socket, packet by packet: what each ACK expects, and which event belongs to it.

It owns the order of things: packets leave and come in, ACKs may wait for the thread that owns the socket, and those
that wait may become one (``tcp_add_backlog()``). What an ACK expects is asked of `Queue` and `Gate`; events say no more
than which of the ACKs TCP looked at, and when, never what was due.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from rttcheck.judge.eligibility.ahead import Ahead
from rttcheck.judge.eligibility.gate import Arrival, Gate
from rttcheck.judge.eligibility.part import PLAIN, VALUES, Part
from rttcheck.judge.eligibility.queue import Queue
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.record.event import FLAG_ACK_MAYBE_DELAYED, Owned
from rttcheck.record.packet import ACK, RST, SYN

NEVER_NS: Final = 1 << 62

_MICROSECOND_NS: Final = 1_000


@dataclass(slots=True)
class Departure:
    """One packet that leaves; ``start`` is an offset, ``ack`` as on the wire, ``length`` with SYN and FIN."""

    time_ns: int
    start: int
    length: int
    flags: int
    ack: int


@dataclass(slots=True)
class Call:
    """One event; ``now_ns`` is when the kernel looked at the ACK, cut to microseconds."""

    event: int
    una: int
    now_ns: int
    reported: int
    flag: int
    first_rtt_us: int
    owned: int
    rto_ms: float

    @property
    def speaks(self) -> bool:
        """Whether it reports any value at all."""
        return bool(self.reported & VALUES)

    def after(self, time_ns: int) -> bool:
        """Whether the kernel may have looked at a packet that came in at ``time_ns``."""
        return self.now_ns + _MICROSECOND_NS > time_ns


@dataclass(slots=True)
class Due:
    """A row of `DUE`, without the socket; sums of `Part`."""

    ack: int
    event: int
    expected: int
    reported: int
    karn: int


class _State(IntEnum):
    SYN_SENT = 0
    SYN_RECEIVED = 1
    ESTABLISHED = 2


class Walk:
    """A walk through one life, once."""

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
        """All in the order of time. ``mss`` is how many bytes of data a segment may have.

        ``opened`` has the flags of the first SYN or SYN-ACK that left, 0 if the capture began later; ``reset_ns`` is
        when the first RST came by, in whichever direction.
        """
        self._departures, self._arrivals, self._calls = Ahead(departures), Ahead(arrivals), Ahead(calls)
        self._opened, self._reset_ns = bool(opened), reset_ns
        self._queue, self._gate, self._synacks = Queue(mss), Gate(), 0
        self._last, self._last_una = Due(NONE, NONE, 0, 0, 0), NONE
        self._found: list[Due] = []
        self._state = _State.ESTABLISHED
        if opened:
            self._state = _State.SYN_RECEIVED if opened & ACK else _State.SYN_SENT
        else:
            self._queue.una = self._queue.next = 1

    def go(self) -> list[Due]:
        """Every ACK that expects a sample and every event that shows one, in the order of time."""
        waiting: list[Arrival] = []
        while self._arrivals.at(0) is not None:
            waiting.append(self._arrivals.take())
            if not self._becomes_one_with_next(waiting):
                following = self._arrivals.at(0)
                self._arrive(_merged(waiting), NEVER_NS if following is None else following.time_ns)
                waiting = []
        while self._calls.at(0) is not None:
            self._pass()
        return self._found

    def _becomes_one_with_next(self, waiting: Sequence[Arrival]) -> bool:
        """Whether the last of those ``waiting`` became one with the next: it could, and an event shows that it did.

        That event names the number of a later one, and none comes between; ACKs wait only while a thread owns the
        socket; and what it says of its first segment holds for the first segment of all that became one.
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
        self._leave(max(waiting[0].time_ns, call.now_ns))
        count, sent_ns = self._queue.until(call.una)
        if count > 1 and call.flag & FLAG_ACK_MAYBE_DELAYED:
            return False
        if call.reported & Part.FIRST and sent_ns is not None:
            # The stamp is not later than the departure; both are cut to microseconds.
            return call.first_rtt_us >= call.now_ns // _MICROSECOND_NS - sent_ns // _MICROSECOND_NS
        return True

    def _arrive(self, arrival: Arrival, next_ns: int) -> None:
        """An ACK that TCP takes from the network, or from the backlog, in which ``next_ns`` is when the next comes."""
        self._leave(arrival.time_ns)
        if self._state is _State.SYN_SENT:
            if arrival.flags & SYN and arrival.ack == 1:
                self._gate.open(arrival)
                self._state = _State.ESTABLISHED
                self._look(arrival, Part.HANDSHAKE)
            return
        if self._state is _State.SYN_RECEIVED:
            if arrival.ack == 1 and not arrival.flags & SYN:
                self._state = _State.ESTABLISHED
                self._accept(arrival)
            return
        if self._gate.initial is None:
            self._gate.open(arrival)
        una = self._queue.una
        if not self._gate.lets_through(arrival, una) or arrival.ack > self._queue.next:
            return
        call = self._call_for(max(arrival.ack, una), arrival.time_ns)
        if call is not None and call.una == max(arrival.ack, una) and self._is_its_own(call, arrival, next_ns):
            self._gate.rto_ms = call.rto_ms
            self._leave(call.now_ns)
            if not self._gate.lets_through(arrival, una):
                return
        self._gate.receive(arrival, una)
        if arrival.ack < una:
            self._queue.sack(arrival.blocks)
        else:
            self._look(arrival, 0)

    def _is_its_own(self, call: Call, arrival: Arrival, next_ns: int) -> bool:
        """Whether an event is this ACK's and no later one's that has the same number."""
        if arrival.ack > self._queue.una or call.now_ns < next_ns:
            return True
        # It waited; and if it says nothing new, there may have been no event for it.
        return call.owned != Owned.NO and self._queue.has_news(arrival.blocks)

    def _accept(self, arrival: Arrival) -> None:
        """What ends a passive handshake is timed from the SYN-ACK if that was sent once (``tcp_synack_rtt_meas()``)."""
        self._queue.look(1, ())
        again = self._synacks > 1
        expected = PLAIN
        if again:
            expected = Part.TAKEN if _echoes(arrival) else 0
        self._book(arrival, expected | Part.HANDSHAKE if expected else expected, Part.FIRST if again else 0)
        self._gate.receive(arrival, 1)

    def _look(self, arrival: Arrival, handshake: int) -> None:
        """An ACK that is not old, as ``tcp_clean_rtx_queue()`` and ``tcp_ack_update_rtt()`` see it."""
        look = self._queue.look(arrival.ack, arrival.blocks)
        expected = look.parts
        if expected or (look.acknowledged and _echoes(arrival)):
            expected |= Part.TAKEN | handshake
        self._book(arrival, expected, look.karn)

    def _book(self, arrival: Arrival, expected: int, karn: int) -> None:
        """Put what is expected beside what an event shows."""
        for _ in range(self._place_of(self._queue.una, arrival.time_ns)):
            self._pass()
        self._last, self._last_una = Due(arrival.row, NONE, expected, 0, karn), self._queue.una
        call = self._calls.at(0)
        if call is not None and call.una == self._queue.una and (expected or not call.speaks):
            self._calls.take()
            if self._tries_again(call):
                call = self._calls.take()
            self._last.event, self._last.reported = call.event, self._reported(call)
        elif expected and self._gone(arrival):
            return
        if expected:
            self._found.append(self._last)

    def _tries_again(self, call: Call) -> bool:
        """Whether a passive handshake called in vain and now does once more, with the timestamp.

        ``tcp_check_req()`` calls before the new socket has seen one; ``tcp_rcv_state_process()`` if that gave nothing.
        """
        following = self._calls.at(0)
        if call.speaks or following is None:
            return False
        return bool(call.reported & following.reported & Part.HANDSHAKE) and following.speaks

    def _call_for(self, una: int, time_ns: int) -> Call | None:
        return self._calls.at(self._place_of(una, time_ns))

    def _place_of(self, una: int, time_ns: int) -> int:
        """The first event that may be that of an ACK which makes ``snd_una`` so, or of a later one."""
        place = 0
        while (call := self._calls.at(place)) is not None:
            if call.una > una or (call.una == una and call.after(time_ns)):
                break
            place += 1
        return place

    def _pass(self) -> None:
        """An event that no ACK is left for, with the last ACK of its number that had none."""
        call = self._calls.take()
        if call.speaks:
            near = call.una == self._last_una and not self._last.expected
            ack, karn = (self._last.ack, self._last.karn) if near else (NONE, 0)
            self._found.append(Due(ack, call.event, 0, self._reported(call), karn))

    def _reported(self, call: Call) -> int:
        return call.reported if self._opened else call.reported & ~Part.HANDSHAKE

    def _gone(self, arrival: Arrival) -> bool:
        """Whether the socket was closed before the ACK came: after a RST, or where one is the answer."""
        if arrival.time_ns >= self._reset_ns:
            return True
        answer = self._departures.at(0)
        return answer is not None and bool(answer.flags & RST) and answer.start == arrival.ack

    def _leave(self, until_ns: int) -> None:
        """What left up to then."""
        while (one := self._departures.at(0)) is not None and one.time_ns <= until_ns:
            self._departures.take()
            if one.flags & RST:
                continue
            if one.flags & SYN and one.flags & ACK:
                self._synacks += 1
                if self._synacks == 1:
                    self._gate.begin(one.ack - 1)
            elif one.flags & ACK:
                self._gate.tell(one.ack)
            if one.length:
                self._queue.send(one.start, one.start + one.length, one.time_ns)


def _echoes(arrival: Arrival) -> bool:
    return arrival.stamped and arrival.tsecr != 0


def _merged(waiting: Sequence[Arrival]) -> Arrival:
    """Several that became one while they waited: the first's place in the peer's data, the highest ACK number."""
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
