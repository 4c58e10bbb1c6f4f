"""The delay that netem drew for each packet, recomputed from the seed that the kernel reports (Linux 6.6 and later).

This is netem's random number generator and the match of draws with packets. With it a random delay is as exact as a
constant one: an error smaller than the jitter is seen in each packet, which statistics cannot do.

Sources: ``prandom_seed_state()`` (include/linux/prandom.h), ``prandom_u32_state()`` (lib/random32.c), ``tabledist()``
and ``netem_enqueue()`` (net/sched/sch_netem.c, 6.12): without loss, duplication, corruption and reordering each packet
that is enqueued takes one number. So do non-TCP packets, whose arrival times are unknown: a few of the draws are
theirs, and their places are found by which draws fit.
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
"""A draw fits a packet that left this close to its time: with 8 ms of jitter one in 27 fits by chance."""

_MOST_FITS: Final = 0.2
"""With a jitter so narrow that more draws than this share fit by chance, draws cannot be distinguished."""

ENOUGH: Final = 0.8
"""The share of packets that must fit their draws: late packets do not fit, and few wrong draws do."""

_RUN: Final = 3
_TIGHT_NS: Final = 30_000

_BLOCK: Final = 20
_SAME: Final = 0.99

_LEAST: Final = 20
_MOST_PACKETS: Final = 50_000
_MOST_OTHERS: Final = 32


def seed_of(held: str) -> int | None:
    """Return the seed in the text of a recording's ``netem["held"]``; None where the kernel has none."""
    found = re.search(r"\bseed=(\d+)\)$", held)
    return int(found.group(1)) if found else None


def draws(seed: int, number: int) -> Integers:
    """Return the first random numbers of a netem with this seed."""
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


def drawn_ns(netem: Netem, numbers: Integers) -> Integers:
    """Return the delay that ``tabledist()`` computes from each random number, with C's division; at least 0."""
    mean, jitter = netem.delay_ns, netem.jitter_ns
    if netem.distribution is None:
        return np.maximum(numbers % (2 * jitter) + mean - jitter, 0)
    table = np.array(netem.distribution.table, dtype=np.int64)
    entry = table[numbers % len(table)]
    scaled = jitter % SCALE * entry
    rounded = np.where(scaled >= 0, scaled + SCALE // 2, scaled - SCALE // 2)
    divided = np.sign(rounded) * (np.abs(rounded) // SCALE)
    drawn: Integers = np.maximum(divided + jitter // SCALE * entry + mean, 0)
    return drawn


def replayable(netem: Netem) -> bool:
    """Return whether each packet takes exactly one random number, for its delay."""
    other = netem.loss or netem.duplicate or netem.corrupt or netem.reorder or netem.rate_bytes or netem.slot
    return bool(netem.jitter_ns) and not netem.delay_correlation and not other and 2 * netem.jitter_ns <= _WORD


def seed_is_usable(netem: Netem, held: str, count: int, others: int) -> bool:
    """Return whether the seed in ``held`` determines the delays of ``count`` packets; arguments as `due_by_seed`."""
    seed = seed_of(held)
    if seed is None or not replayable(netem) or not _LEAST <= count <= _MOST_PACKETS or others > _MOST_OTHERS:
        return False
    delays = drawn_ns(netem, draws(seed, count + others))
    alike = np.median(np.abs(delays[:, None] - delays[None, :64]) <= FITS_NS, axis=0).mean()
    return bool(alike <= _MOST_FITS)


def due_by_seed(netem: Netem, held: str, entered_ns: Integers, left_ns: Integers, others: int) -> Integers:
    """Return when each packet was due by its draw; 0 where that is unknown.

    ``entered_ns`` is when packets came in, in this order, ``left_ns`` when each left (0: it did not, or unknown),
    ``others`` the most other packets that took a number among them.
    """
    count = len(entered_ns)
    unknown = np.zeros(count, dtype=np.int64)
    seed = seed_of(held)
    if seed is None or not seed_is_usable(netem, held, count, others):
        return unknown
    delays = drawn_ns(netem, draws(seed, count + others))
    due = np.stack([entered_ns + delays[skipped : skipped + count] for skipped in range(others + 1)])
    seen = left_ns > 0
    fits = seen & (np.abs(left_ns - due) <= FITS_NS)
    # A close fit (`_TIGHT_NS`) counts twice: a neighbour's number may fit by chance, and the last packet has
    # no others after it to decide.
    skipped = _most_fits(fits.astype(np.int64) + (fits & (np.abs(left_ns - due) <= _TIGHT_NS)))
    places = np.arange(count)
    if fits[skipped, places].sum() < ENOUGH * seen.sum():
        return unknown
    taken = due[skipped, places]
    return np.where(_unsure(seen, left_ns - taken, fits[skipped, places], np.flatnonzero(np.diff(skipped))), 0, taken)


def _unsure(seen: Booleans, late_ns: Integers, fits: Booleans, moved: npt.NDArray[np.intp]) -> Booleans:
    """Return which packets are near a number of another packet, so that their own numbers are ambiguous.

    A packet may fit its neighbour's number by chance. The match is certain again where `_RUN` packets in a row are as
    late as the median, within `_TIGHT_NS`; a packet with unknown leaving time does not count.
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
    """Return the median difference of times and draws, ns; None where the delays do not follow the draws.

    Delays that are shifted or stretched still correlate with the draws: `_BLOCK` packets in a row whose times and draws
    have a correlation of `_SAME` or more were delayed by these draws, which does not happen by chance. Arguments as
    `due_by_seed`.
    """
    count, seed = len(entered_ns), seed_of(held)
    if seed is None or not seed_is_usable(netem, held, count, others):
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
    """Return how many numbers other packets took before each packet: non-decreasing, with the best fit overall."""
    rows, count = fits.shape
    best = np.zeros(rows, dtype=np.int64)
    came = np.zeros((count, rows), dtype=np.intp)
    for place in range(count):
        # The best of as many or fewer; the fewest of equals.
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
