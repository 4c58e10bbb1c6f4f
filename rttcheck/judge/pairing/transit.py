"""Match the packets that entered the link with those that left it, one direction at a time.

Left over are lost packets, duplicates, and packets that left without entering. The link's settings are not used.

A router changes nothing in a TCP header (RFC 1812, section 5.3.1: what it changes is in the IP header), so that a
packet is identified by all of it: addresses, ports, sequence and ACK number, flags, window, timestamps, SACK blocks,
and payload length. Packets that are equal in all of this, such as a segment sent twice without timestamps, cannot be
distinguished: such a packet has an earliest and a latest time at which it may have entered, and checks use the one in
the link's favour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.ends import packets_of
from rttcheck.record.packet import Point

Integers = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]
Rows = npt.NDArray[np.int32]
Numbers = TypeVar("Numbers", npt.NDArray[np.intp], npt.NDArray[np.int32])
Booleans = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

WAYS: Final = {"out": (Point.LINK_NEAR, Point.LINK_FAR), "back": (Point.LINK_FAR, Point.LINK_NEAR)}
"""Where packets of each direction enter and leave the link; names as in a recording's ``netem``."""

UNMATCHED: Final = -1

_MIX: Final = np.random.Generator(np.random.PCG64(1)).integers(0, 1 << 64, 64, dtype=np.uint64) | np.uint64(1)
"""Odd factors, one for each word of a row."""

_STEP: Final = np.uint64(0x2545F4914F6CDD1D)

_SPARSE: Final = 4
"""Slots for each packet, so that few packets share one."""

_AT_ONCE = 4_096
"""Rows that fit into a processor's cache."""

_WHEN_AND_WHERE = ("time_ns", "point", "outgoing", "reserved")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transit:
    """One direction through the link. ``entered`` and ``left`` are rows of the table of packets, in order of time.

    Times are CLOCK_MONOTONIC nanoseconds. For packets that left, ``earliest`` and ``latest`` are the places in
    ``entered`` of the first and the last that each may be; `UNMATCHED` for one that did not enter, and for the
    second and later pieces of a split packet. Nearly always the two are equal.
    """

    entered: Rows
    entered_ns: Integers
    left: Rows
    left_ns: Integers
    earliest: Places
    latest: Places
    gone: Places
    """Places in ``entered`` of packets that never left; of equal packets, the last."""
    extra: Places
    """Places in ``left`` of duplicates: packets that left once more than they entered; of equal packets, the last."""
    hidden: int
    """How many more of each there may be: of equal packets, one lost and one duplicated cancel out."""
    pieces: int
    """Packets that left in pieces (larger than the MTU, from segmentation offload)."""
    strangers: int
    """Packets that left without entering."""

    @classmethod
    def of(cls, wire: np.ndarray, way: str) -> Transit:
        """Match the packets (dtype ``WIRE``) of one of `WAYS`. Linear in their number but for one sort."""
        near, far = WAYS[way]
        entered = _passing(wire, near, outgoing=0)
        left = _passing(wire, far, outgoing=1)
        entered_ns, left_ns = wire["time_ns"][entered], wire["time_ns"][left]
        names_in, names_out = identities(wire, entered), identities(wire, left)
        earliest = _unlike(names_in, names_out)
        # The others: lost ones, duplicates, equal ones, and some that only share a slot.
        alone = np.zeros(len(entered), dtype=np.bool_)
        alone[earliest[earliest != UNMATCHED]] = True
        others_in, others_out = np.flatnonzero(~alone), np.flatnonzero(earliest == UNMATCHED)
        group, sizes_in, sizes_out = _groups(
            np.concatenate((names_in[others_in], names_out[others_out])), len(others_in)
        )
        del names_in, names_out
        ours, theirs = group[: len(others_in)], group[len(others_in) :]
        ranked, starts = _ranked(ours, len(sizes_in))
        rank_out = _ranks(theirs, len(sizes_in))
        known = sizes_in[theirs] > 0
        first = np.full(len(others_out), UNMATCHED, dtype=np.intp)
        last = first.copy()
        last[known] = first[known] = ranked[starts[theirs[known]]]
        # Equal packets: in order where each left before the next entered, else any that had entered by then.
        came_ns, went_ns = entered_ns[others_in], left_ns[others_out]
        several = np.flatnonzero(known & (sizes_in[theirs] > 1))
        apart = _apart(several, theirs, rank_out, ranked, starts, sizes_in, sizes_out, came_ns, went_ns)
        first[several[apart]] = ranked[starts[theirs[several[apart]]] + rank_out[several[apart]]]
        last[several[apart]] = first[several[apart]]
        for place in several[~apart].tolist():
            start = starts[theirs[place]]
            alike = ranked[start : start + sizes_in[theirs[place]]]
            by_then = int(np.searchsorted(came_ns[alike], went_ns[place], side="right"))
            last[place] = alike[max(by_then - 1, 0)]
        earliest[others_out[known]] = others_in[first[known]]
        # Mostly no two packets are equal: then it is the same array.
        latest = earliest
        if not np.array_equal(first, last):
            latest = earliest.copy()
            latest[others_out[known]] = others_in[last[known]]
        # Each packet leaves at most twice: at least half of those that left, rounded up, got through.
        most_lost = sizes_in - (sizes_out + 1) // 2
        hidden = np.maximum(most_lost - np.maximum(sizes_in - sizes_out, 0), 0)
        rank_in = np.empty(len(others_in), dtype=np.intp)
        rank_in[ranked] = np.arange(len(others_in)) - np.repeat(starts, sizes_in)
        gone = others_in[rank_in >= sizes_out[ours]]
        pieces, found, part = _pieces(wire, entered, left, gone, others_out[~known])
        if len(found):
            earliest[found] = latest[found] = pieces
        gone = gone[~np.isin(gone, pieces)] if len(pieces) else gone
        return cls(
            entered=entered,
            entered_ns=entered_ns,
            left=left,
            left_ns=left_ns,
            earliest=earliest,
            latest=latest,
            gone=gone,
            extra=others_out[known & (rank_out >= sizes_in[theirs])],
            hidden=int(hidden.sum()),
            pieces=len(pieces),
            strangers=int((~known).sum()) - part,
        )

    @property
    def matched(self) -> Places:
        """Return the places in ``left`` of the packets that entered."""
        return np.flatnonzero(self.earliest != UNMATCHED)

    @property
    def longest_ns(self) -> Integers:
        """Return the longest time that each packet of `matched` may have taken."""
        return self.left_ns[self.matched] - self.entered_ns[self.earliest[self.matched]]

    @property
    def shortest_ns(self) -> Integers:
        """Return the shortest time that each packet of `matched` may have taken."""
        return self.left_ns[self.matched] - self.entered_ns[self.latest[self.matched]]


def identities(wire: np.ndarray, places: npt.NDArray[np.integer], *, apart: tuple[str, ...] = _WHEN_AND_WHERE) -> Words:
    """Return a 64-bit number for each packet, the same for packets that are equal in all fields except ``apart``.

    Two packets that differ get the same number once in 1.8e19 pairs.
    """
    mask = np.full(wire.dtype.itemsize, 0xFF, dtype=np.uint8)
    for name, (layout, offset, *_) in (wire.dtype.fields or {}).items():
        if name in apart:
            mask[offset : offset + layout.itemsize] = 0
    mask = mask.view(np.uint64)
    columns = np.flatnonzero(mask).tolist()
    names = np.empty(len(places), dtype=np.uint64)
    for start in range(0, len(places), _AT_ONCE):
        words = packets_of(wire, places[start : start + _AT_ONCE]).view(np.uint64).reshape(-1, len(mask))
        mixed = np.zeros(len(words), dtype=np.uint64)
        for column in columns:
            word = words[:, column] & mask[column]
            # A word of zeros adds nothing: of most packets the SACK blocks.
            if word.any():
                mixed += _mixed(word, _MIX[column % len(_MIX)])
        names[start : start + _AT_ONCE] = _mixed(mixed, _STEP)
    return names


def _mixed(words: Words, factor: np.uint64) -> Words:
    """Mix each word, not linearly: equal differences in two fields must not cancel out."""
    words *= factor
    words ^= words >> np.uint64(32)
    words *= _STEP
    return words


def _passing(wire: np.ndarray, point: Point, *, outgoing: int) -> Rows:
    rows = np.flatnonzero((wire["point"] == point) & (wire["outgoing"] == outgoing))
    # As in `Ends`, there are fewer than 2^31 rows.
    return by_time(wire, rows.astype(np.int32))


def by_time(table: np.ndarray, rows: Numbers) -> Numbers:
    """Return ``rows`` of a table in order of time; those of the same time stay in their order."""
    times = table["time_ns"][rows]
    if len(rows) and (times[1:] < times[:-1]).any():
        rows = rows[np.argsort(times, kind="stable")]
    return rows


def _unlike(entered: Words, left: Words) -> Places:
    """Return for each name in ``left`` its place in ``entered``, if each of the two has it once; else `UNMATCHED`.

    Names are put into slots by their upper bits. A name that shares its slot with another one in ``entered`` counts as
    if it was there twice: sorting those few is quicker than sorting all.
    """
    found = np.full(len(left), UNMATCHED, dtype=np.intp)
    if not len(entered) or not len(left):
        return found
    bits = (_SPARSE * len(entered)).bit_length()
    shift, places = np.uint64(64 - bits), np.arange(len(entered), dtype=np.int32)
    holder = np.full(1 << bits, UNMATCHED, dtype=np.int32)
    slot = (entered >> shift).astype(np.int64)
    holder[slot] = places
    # Of several in a slot the last one is held.
    shared = slot[holder[slot] != places]
    holder[shared] = UNMATCHED
    del slot
    place = holder[(left >> shift).astype(np.int64)]
    del holder
    hit = np.flatnonzero(place != UNMATCHED)
    place = place[hit]
    same = entered[place] == left[hit]
    hit, place = hit[same], place[same]
    once = np.bincount(place, minlength=len(entered)) == 1
    once = once[place]
    found[hit[once]] = place[once]
    return found


def _groups(names: Words, entered: int) -> tuple[Places, Integers, Integers]:
    """Return a group for each name, and how many of each entered and left."""
    order = np.argsort(names, kind="stable")
    sorted_names = names[order]
    fresh = np.ones(len(names), dtype=np.bool_)
    fresh[1:] = sorted_names[1:] != sorted_names[:-1]
    group = np.empty(len(names), dtype=np.intp)
    group[order] = np.cumsum(fresh) - 1
    count = int(fresh.sum())
    came = np.bincount(group[:entered], minlength=count).astype(np.int64)
    went = np.bincount(group[entered:], minlength=count).astype(np.int64)
    return group, came, went


def _ranked(group: Places, groups: int) -> tuple[Places, Places]:
    """Return places sorted by group, in order within each, and where each group starts among them."""
    counts = np.bincount(group, minlength=groups)
    starts = np.cumsum(counts) - counts
    if counts.max(initial=0) > 1:
        return np.argsort(group, kind="stable"), starts
    order = np.empty(len(group), dtype=np.intp)
    order[starts[group]] = np.arange(len(group))
    return order, starts


def _ranks(group: Places, groups: int) -> Places:
    """Return the rank of each within its group."""
    order, starts = _ranked(group, groups)
    ranks = np.empty(len(group), dtype=np.intp)
    ranks[order] = np.arange(len(group)) - starts[group[order]]
    return ranks


def _apart(
    several: Places, group: Places, rank: Places, ranked: Places, starts: Places, sizes_in: Integers,
    sizes_out: Integers, entered_ns: Integers, left_ns: Integers,
) -> Booleans:  # fmt: skip
    """Return which of ``several`` are in a group whose packets left one by one before the next entered."""
    ours, own = group[several], rank[several]
    even = sizes_in[ours] == sizes_out[ours]
    next_one = np.minimum(starts[ours] + own + 1, len(ranked) - 1)
    last = own + 1 >= sizes_in[ours]
    overlap = ~even | (~last & (entered_ns[ranked[next_one]] <= left_ns[several]))
    mixed = np.zeros(len(sizes_in), dtype=np.bool_)
    mixed[ours[overlap]] = True
    result: Booleans = ~mixed[ours]
    return result


def _pieces(wire: np.ndarray, entered: Rows, left: Rows, gone: Places, strange: Places) -> tuple[Places, Places, int]:
    """Return packets of ``gone`` that left in pieces, the first piece of each (place in ``left``), and how many pieces.

    Pieces continue the sequence numbers and share all other fields but flags and length (``tcp_gso_segment()``).
    """
    nothing = np.zeros(0, dtype=np.intp)
    large = gone[wire["payload"][entered[gone]] > 0]
    small = strange[wire["payload"][left[strange]] > 0]
    if not len(large) or not len(small):
        return nothing, nothing, 0
    rows = np.concatenate((entered[large], left[small]))
    seq, payload = wire["seq"][rows].astype(np.int64), wire["payload"][rows].astype(np.int64)
    names = identities(wire, rows, apart=(*_WHEN_AND_WHERE, "seq", "payload", "flags"))
    wholes: dict[int, list[int]] = {}
    for place in range(len(large)):
        wholes.setdefault(int(names[place]), []).append(place)
    cut: dict[int, int] = {}
    parts = 0
    for place in range(len(large), len(rows)):
        for whole in wholes.get(int(names[place]), ()):
            offset = (int(seq[place]) - int(seq[whole])) % 2**32
            if offset + int(payload[place]) <= int(payload[whole]):
                cut.setdefault(whole, place)
                parts += 1
                break
    found = np.array([small[place - len(large)] for place in cut.values()], dtype=np.intp)
    return large[np.array(list(cut), dtype=np.intp)], found, parts
