"""Which ACKs owe a sample, from the wire alone, and which events show one: row beside row.

It owns the answer for all connections at once: those in which every segment was sent once and nothing SACKed are
compared as whole arrays, and where that leaves any question, a life is walked through packet by packet. It holds no
opinion on what a difference means.

Source: ``tcp_ack()``, ``tcp_clean_rtx_queue()``, ``tcp_ack_update_rtt()`` and ``tcp_synack_rtt_meas()`` in
net/ipv4/tcp_input.c, the same rules from 5.10 to 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from rttcheck.collect.probe.layout import FLAG_ACK_MAYBE_DELAYED, Owned
from rttcheck.collect.wire import layout
from rttcheck.judge.due_gate import Arrival
from rttcheck.judge.due_lives import NEVER, Booleans, Lives, Order, Rows, Way
from rttcheck.judge.due_part import DUE, PLAIN, VALUES, Part, shown_by
from rttcheck.judge.due_walk import Call, Departure, Walk
from rttcheck.judge.scoreboard import NONE
from rttcheck.judge.sockets import NOBODY, Integers, Sockets

TIMESTAMP_BYTES: Final = 12
"""What the timestamp option takes of each segment, padding included (RFC 7323, appendix A)."""

_OFFSET_BITS = 41
"""Room for two terabytes a connection beside four million connections in one 64-bit key."""

_ECN = 0xC0
"""ECE and CWR."""


def dues_of(
    events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]], *, segment_bytes: int = 1_460
) -> np.ndarray:
    """What is owed beside what is shown, dtype `DUE`, in no order.

    ``events`` (dtype ``EVENT``) and ``wire`` (dtype ``WIRE``) are a run's, ``flows`` its connections;
    ``segment_bytes`` is how many bytes a segment without options may hold.
    """
    lives = Lives.of(events, wire, Sockets(flows))
    calm = _Calm(events, wire, lives)
    found = [calm.rows, _strangers(events, lives)]
    for life in np.flatnonzero(~calm.lives).tolist():
        found.append(_walked(events, wire, lives, calm.merges, life, segment_bytes))
    return np.concatenate(found)


class _Calm:
    """Lives in which sequence numbers alone say what is owed, and in which every event shows just that.

    Each segment left once and in order, each ACK that came in is of the present, none SACKs: then every ACK that
    advances ``snd_una`` owes a sample of its first segment, and no other owes any. `lives` are those for which that
    and the events agree, `rows` are theirs.
    """

    def __init__(self, events: np.ndarray, wire: np.ndarray, lives: Lives) -> None:
        sent, came, calls = lives.sent, lives.came, lives.calls
        self.merges = _merges(wire, came)
        quiet = self._quiet(wire, lives)
        segment = np.flatnonzero(sent.length > 0)
        ends = _key(sent.life[segment], sent.offset[segment] + sent.length[segment])
        acked = _key(came.life, came.offset)
        before = np.append(-1, np.maximum.accumulate(acked))[:-1]
        # In a life without its SYN the first byte that left is offset 1, and nothing below it owes anything.
        before = np.maximum(before, _key(came.life, np.where(lives.opened[came.life], 0, 1)))
        new = np.flatnonzero((acked > before) & quiet[came.life])
        quiet[came.life[new[~_among(acked[new], ends)]]] = False
        speaks = np.flatnonzero(((calls.shown & VALUES) != 0) & quiet[calls.life])
        spoken = _key(calls.life[speaks], calls.una[speaks])
        plain = calls.shown[speaks] & ~np.uint8(Part.HANDSHAKE) == PLAIN
        handshake = (calls.shown[speaks] & Part.HANDSHAKE) != 0
        at = np.minimum(np.searchsorted(acked[new], spoken), max(len(new) - 1, 0))
        good = plain & (len(new) > 0)
        if len(new):
            good &= acked[new[at]] == spoken
            good &= calls.now_ns[speaks] + 1_000 > came.time_ns[new[at]]
            good &= (handshake == (calls.una[speaks] == 1)) | ~lives.opened[calls.life[speaks]]
            good &= np.append(True, spoken[1:] > spoken[:-1])[: len(speaks)]
        quiet[calls.life[speaks[~good]]] = False
        at, speaks = at[good], speaks[good]
        unnamed = np.ones(len(new), dtype=np.bool_)
        unnamed[at] = False
        if unnamed.any():
            self._one_of_several(events, lives, quiet, new, unnamed, at, speaks, ends, sent.time_ns[segment], before)
        keep = quiet[calls.life[speaks]]
        at, speaks = at[keep], speaks[keep]
        self.lives = quiet
        self.rows = np.zeros(len(at), dtype=DUE)
        if len(at):
            self.rows["ack"] = came.row[new[at]]
            self.rows["event"] = calls.event[speaks]
            self.rows["socket"] = lives.socket[calls.life[speaks]]
            self.rows["owed"] = self.rows["shown"] = np.where(
                lives.opened[calls.life[speaks]], calls.shown[speaks], np.uint8(PLAIN)
            )

    @staticmethod
    def _quiet(wire: np.ndarray, lives: Lives) -> Booleans:
        """Lives in which nothing went out of order, in neither direction, and nothing was SACKed or reset."""
        sent, came = lives.sent, lives.came
        quiet: Booleans = lives.reset_ns == NEVER
        segment = np.flatnonzero(sent.length > 0)
        life, start = sent.life[segment], sent.offset[segment]
        end = start + sent.length[segment]
        follows = life[1:] == life[:-1]
        quiet[life[1:][follows & (start[1:] != end[:-1])]] = False
        same = ~came.begins[1:]
        seq, tsval = wire["seq"][came.row], wire["tsval"][came.row]
        old = (came.offset[1:] < came.offset[:-1]) | ((tsval[1:] - tsval[:-1]).view(np.int32) < 0)
        old |= seq[1:] != seq[:-1] + came.length[:-1].astype(np.uint32)
        quiet[came.life[1:][same & old]] = False
        quiet[came.life[wire["sack_blocks"][came.row] > 0]] = False
        return quiet

    def _one_of_several(
        self,
        events: np.ndarray,
        lives: Lives,
        quiet: Booleans,
        new: Order,
        unnamed: Booleans,
        at: Order,
        speaks: Order,
        ends: Integers,
        sent_ns: Integers,
        before: Integers,
    ) -> None:
        """ACKs that no event names: each must have become one with the next. See `Walk` for what proves it."""
        came, calls = lives.came, lives.calls
        run = np.flatnonzero(unnamed & np.append(True, ~unnamed[:-1]))
        named = np.flatnonzero(~unnamed)
        lone = np.flatnonzero(unnamed)
        # What each run ends in: the next that is named, in the same life.
        place = np.searchsorted(named, run)
        ended = place < len(named)
        ended[ended] = came.life[new[named[place[ended]]]] == came.life[new[run[ended]]]
        quiet[came.life[new[run[~ended]]]] = False
        run, head = run[ended], named[place[ended]]
        by_ack = np.argsort(at, kind="stable")
        call = speaks[by_ack[np.searchsorted(at[by_ack], head)]]
        event = calls.event[call]
        apart = np.append(0, np.cumsum(~self.merges))
        good = apart[new[head]] == apart[new[run]]
        good &= events["owned"][event] != Owned.NO
        good &= (events["flag"][event] & FLAG_ACK_MAYBE_DELAYED) == 0
        first_ns = sent_ns[np.searchsorted(ends, before[new[run]], side="right")]
        good &= events["first_rtt_us"][event] >= calls.now_ns[call] // 1_000 - first_ns // 1_000
        quiet[came.life[new[run[~good]]]] = False
        shaken = came.offset[new[lone]] <= 1
        quiet[came.life[new[lone[shaken]]]] = False


def _key(life: Rows, offset: Integers | int) -> Integers:
    key: Integers = (life.astype(np.int64) << _OFFSET_BITS) + offset
    return key


def _among(keys: Integers, ordered: Integers) -> Booleans:
    """Whether each of ``keys`` is in ``ordered``, which is."""
    if not len(ordered):
        return np.zeros(len(keys), dtype=np.bool_)
    found: Booleans = ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys
    return found


def _merges(wire: np.ndarray, came: Way) -> Booleans:
    """Whether each arrival may become one with the next while both wait in the backlog (``tcp_add_backlog()``).

    Neither SYN nor RST, the next one's data where this one's ends, and the same options to the byte.
    """
    merges = np.zeros(len(came.row), dtype=np.bool_)
    if len(merges) < 2:
        return merges
    row = came.row
    seq = wire["seq"][row]
    same = ~came.begins[1:] & (seq[1:] == seq[:-1] + came.length[:-1].astype(np.uint32))
    same &= ((came.flags[1:] | came.flags[:-1]) & layout.SYN) == 0
    same &= ((came.flags[1:] ^ came.flags[:-1]) & _ECN) == 0
    for name in ("has_ts", "tsval", "tsecr", "sack_blocks"):
        value = wire[name][row]
        same &= value[1:] == value[:-1]
    near = np.flatnonzero(same)
    near = near[wire["sack_blocks"][row[near]] > 0]
    same[near] = (wire["sack"][row[near]] == wire["sack"][row[near + 1]]).all(axis=(1, 2))
    merges[:-1] = same
    return merges


def _walked(
    events: np.ndarray, wire: np.ndarray, lives: Lives, merges: Booleans, life: int, segment_bytes: int
) -> np.ndarray:
    """One life, packet by packet."""
    sent, came, calls = (
        slice(*np.searchsorted(lives_, (life, life + 1)))
        for lives_ in (lives.sent.life, lives.came.life, lives.calls.life)
    )
    out, back = lives.sent, lives.came
    departures = [
        Departure(*fields)
        for fields in zip(
            out.time_ns[sent].tolist(), out.offset[sent].tolist(), out.length[sent].tolist(), out.flags[sent].tolist(),
            wire["ack"][out.row[sent]].tolist(), strict=True,
        )
    ]  # fmt: skip
    rows = wire[back.row[came]]
    acked = back.offset[came]
    # SACK edges lie within 2^31 of the ACK number that they come with.
    edges = (rows["sack"] - rows["ack"][:, None, None]).view(np.int32) + acked[:, None, None]
    arrivals = [
        Arrival(row, time_ns, ack, tuple((left, right) for left, right in blocks[:count]), *rest)
        for row, time_ns, ack, blocks, count, *rest in zip(
            back.row[came].tolist(), back.time_ns[came].tolist(), acked.tolist(), edges.tolist(),
            rows["sack_blocks"].tolist(), rows["seq"].tolist(), back.length[came].tolist(), back.flags[came].tolist(),
            rows["window"].tolist(), (rows["has_ts"] != 0).tolist(), rows["tsval"].tolist(), rows["tsecr"].tolist(),
            merges[came].tolist(), strict=True,
        )
    ]  # fmt: skip
    told = events[lives.calls.event[calls]]
    rto_ms = told["rto_jiffies"] * (1_000 / np.maximum(told["hz"], 1))
    seen = [
        Call(*fields)
        for fields in zip(
            lives.calls.event[calls].tolist(), lives.calls.una[calls].tolist(), lives.calls.now_ns[calls].tolist(),
            lives.calls.shown[calls].tolist(), told["flag"].tolist(), told["first_rtt_us"].tolist(),
            told["owned"].tolist(), rto_ms.tolist(), strict=True,
        )
    ]  # fmt: skip
    stamped = bool(rows["has_ts"].any())
    walk = Walk(
        departures, arrivals, seen, mss=segment_bytes - TIMESTAMP_BYTES * stamped, reset_ns=int(lives.reset_ns[life])
    )
    table = np.zeros(0, dtype=DUE)
    found = walk.go()
    if found:
        socket = int(lives.socket[life])
        table = np.array([(one.ack, one.event, socket, one.owed, one.shown, one.karn) for one in found], dtype=DUE)
    return table


def _strangers(events: np.ndarray, lives: Lives) -> np.ndarray:
    """Events of sockets that sent and received nothing."""
    rows = np.zeros(len(lives.strangers), dtype=DUE)
    rows["ack"], rows["socket"] = NONE, NOBODY
    rows["event"] = lives.strangers
    rows["shown"] = shown_by(events[lives.strangers])
    return rows
