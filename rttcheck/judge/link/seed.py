"""The very delay that netem drew for each packet, from the seed that the kernel says it drew with (Linux 6.6 and on).

It owns netem's generator of numbers and the question which draw was whose. With it a random delay is as exact as a
constant one: a netem that is late or early by less than its jitter is seen in each packet, which no statistics can.

Sources: ``prandom_seed_state()`` (include/linux/prandom.h), ``prandom_u32_state()`` (lib/random32.c), ``tabledist()``
and ``netem_enqueue()`` (net/sched/sch_netem.c, 6.12): without loss, doubling, corruption and reordering each packet
that is handed over takes one number. So do packets that are no TCP, of which nobody knows when they came: some few of
all draws are theirs, and where they lie is found by which draws fit.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck_netns.distribution import SCALE
from rttcheck_netns.netem import Netem

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_WORD: Final = 0xFFFF_FFFF

FITS_NS: Final = 300_000
"""A draw fits a packet that left so near the time that it gives: by chance one in 27 does with 8 ms of jitter."""

_MOST_FITS: Final = 0.2
"""A jitter so narrow that more draws would fit by chance tells no draw from another."""

ENOUGH: Final = 0.8
"""The share of packets that their draws have to fit: late ones do not, and of wrong draws few do."""

_RUN: Final = 3
_TIGHT_NS: Final = 30_000

_BLOCK: Final = 20
_SAME: Final = 0.99

_LEAST: Final = 20
_MOST_PACKETS: Final = 50_000
_MOST_OTHERS: Final = 32


def seed_of(held: str) -> int | None:
    """The seed in the words of a recording's ``netem["held"]``; None where the kernel has none."""
    found = re.search(r"\bseed=(\d+)\)$", held)
    return int(found.group(1)) if found else None


def draws(seed: int, number: int) -> Integers:
    """The first numbers of a netem with this seed."""
    start = (seed >> 32 ^ seed << 10 ^ seed) & _WORD
    a, b, c, d = (start + least if start < least else start for least in (2, 8, 16, 128))
    a, b, c, d = a & _WORD, b & _WORD, c & _WORD, d & _WORD
    found = np.empty(number, dtype=np.int64)
    for place in range(number):
        a = ((a & 0xFFFFFFFE) << 18 & _WORD) ^ (((a << 6 & _WORD) ^ a) >> 13)
        b = ((b & 0xFFFFFFF8) << 2 & _WORD) ^ (((b << 2 & _WORD) ^ b) >> 27)
        c = ((c & 0xFFFFFFF0) << 7 & _WORD) ^ (((c << 13 & _WORD) ^ c) >> 21)
        d = ((d & 0xFFFFFF80) << 13 & _WORD) ^ (((d << 3 & _WORD) ^ d) >> 12)
        found[place] = a ^ b ^ c ^ d
    return found


def drawn_ns(netem: Netem, words: Integers) -> Integers:
    """What ``tabledist()`` makes of each number, with C's division; never less than nothing, which leaves at once."""
    mean, jitter = netem.delay_ns, netem.jitter_ns
    if netem.distribution is None:
        return np.maximum(words % (2 * jitter) + mean - jitter, 0)
    table = np.array(netem.distribution.table, dtype=np.int64)
    entry = table[words % len(table)]
    scaled = jitter % SCALE * entry
    rounded = np.where(scaled >= 0, scaled + SCALE // 2, scaled - SCALE // 2)
    divided = np.sign(rounded) * (np.abs(rounded) // SCALE)
    drawn: Integers = np.maximum(divided + jitter // SCALE * entry + mean, 0)
    return drawn


def replayable(netem: Netem) -> bool:
    """Whether each packet takes one number, for its delay."""
    other = netem.loss or netem.duplicate or netem.corrupt or netem.reorder or netem.rate_bytes or netem.slot
    return bool(netem.jitter_ns) and not netem.delay_correlation and not other and 2 * netem.jitter_ns <= _WORD


def tells(netem: Netem, held: str, count: int, others: int) -> bool:
    """Return whether the seed in ``held`` tells the delay of each of ``count`` packets; arguments as `due_by_seed`."""
    seed = seed_of(held)
    if seed is None or not replayable(netem) or not _LEAST <= count <= _MOST_PACKETS or others > _MOST_OTHERS:
        return False
    delays = drawn_ns(netem, draws(seed, count + others))
    alike = np.median(np.abs(delays[:, None] - delays[None, :64]) <= FITS_NS, axis=0).mean()
    return bool(alike <= _MOST_FITS)


def due_by_seed(netem: Netem, held: str, entered_ns: Integers, left_ns: Integers, others: int) -> Integers:
    """When each packet was due, by what was drawn for it; 0 where it is not known.

    ``entered_ns`` is when packets came in, in this order, ``left_ns`` when each left (0: it did not, or nobody knows),
    ``others`` how many more packets took a number among them at the most.
    """
    count = len(entered_ns)
    unknown = np.zeros(count, dtype=np.int64)
    seed = seed_of(held)
    if seed is None or not tells(netem, held, count, others):
        return unknown
    delays = drawn_ns(netem, draws(seed, count + others))
    due = np.stack([entered_ns + delays[skipped : skipped + count] for skipped in range(others + 1)])
    seen = left_ns > 0
    fits = seen & (np.abs(left_ns - due) <= FITS_NS)
    # A number that fits to microseconds counts twice: by chance a neighbour's fits, and the last packet has no others
    # behind it that would tell.
    skipped = _most_fits(fits.astype(np.int64) + (fits & (np.abs(left_ns - due) <= _TIGHT_NS)))
    places = np.arange(count)
    if fits[skipped, places].sum() < ENOUGH * seen.sum():
        return unknown
    taken = due[skipped, places]
    return np.where(_unsure(seen, left_ns - taken, fits[skipped, places], np.flatnonzero(np.diff(skipped))), 0, taken)


def _unsure(seen: Booleans, late_ns: Integers, fits: Booleans, moved: npt.NDArray[np.intp]) -> Booleans:
    """Beside a number that somebody else took it is not sure whose is whose: return which packets these are.

    By chance a packet fits the number of its neighbour. Packets are sure again where `_RUN` in a row are as late as
    most are, to `_TIGHT_NS`; one of which nobody knows when it left is no such.
    """
    count = len(seen)
    tight = seen & fits & (np.abs(late_ns - np.median(late_ns[fits])) <= _TIGHT_NS)
    runs = np.flatnonzero(np.convolve(tight, np.ones(_RUN), "valid") == _RUN)
    unsure = np.zeros(count, dtype=np.bool_)
    for place in moved.tolist():
        # The last run that ends before the place, and the first that begins after it.
        before, after = np.searchsorted(runs, place - _RUN - 1), np.searchsorted(runs, place + 3)
        first = int(runs[before - 1]) + _RUN if before else 0
        last = int(runs[after]) if after < len(runs) else count
        unsure[min(first, max(place - 3, 0)) : max(last, place + 5)] = True
    return unsure


def off_by_ns(netem: Netem, held: str, entered_ns: Integers, left_ns: Integers, others: int) -> int | None:
    """Return by how much half of the packets are off what was drawn for them; None where the draws are not theirs.

    Delays that are shifted or stretched still rise and fall with the draws: `_BLOCK` packets in a row of which times
    and draws have a correlation of `_SAME` or more were delayed by these draws. By chance that does not happen. The
    arguments are those of `due_by_seed`.
    """
    count, seed = len(entered_ns), seed_of(held)
    if seed is None or not tells(netem, held, count, others):
        return None
    delays, took = drawn_ns(netem, draws(seed, count + others)), left_ns - entered_ns
    off: list[Integers] = []
    for place in range(0, count - _BLOCK + 1, _BLOCK):
        block = np.flatnonzero(left_ns[place : place + _BLOCK] > 0) + place
        for skipped in range(others + 1):
            drawn = delays[block + skipped]
            if len(block) > _BLOCK // 2 and np.corrcoef(took[block], drawn)[0, 1] >= _SAME:
                off.append(took[block] - drawn)
    return int(np.median(np.concatenate(off))) if off else None


def _most_fits(fits: Integers) -> npt.NDArray[np.intp]:
    """How many numbers were somebody else's before each packet: never fewer than before, and so that most fit."""
    rows, count = fits.shape
    best = np.zeros(rows, dtype=np.int64)
    came = np.zeros((count, rows), dtype=np.intp)
    for place in range(count):
        # The best of as many or fewer; the fewer where they are alike.
        leader = np.zeros(rows, dtype=np.intp)
        for row in range(1, rows):
            leader[row] = row if best[row] > best[leader[row - 1]] else leader[row - 1]
        came[place] = leader
        best = best[leader] + fits[:, place]
    row = int(best.argmax())
    path = np.empty(count, dtype=np.intp)
    for place in range(count - 1, -1, -1):
        path[place] = row
        row = int(came[place, row])
    return path
