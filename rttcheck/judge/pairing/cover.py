"""Operations on sorted pieces: split them at edges, and find the first interval that covers each.

Both take linear time, times the logarithm of the longest interval.
"""

from __future__ import annotations

import numpy as np

from rttcheck.judge.pairing.ends import Places, Rows
from rttcheck.judge.pairing.sockets import Integers


def earliest_cover(start: Places, stop: Places, name: Rows, pieces: int) -> Rows:
    """Return for each of ``pieces`` the least ``name`` of the intervals [start, stop) that cover it; 2^31 - 1 for none.

    Each interval is the union of two that overlap, with a power of two as length. From the longest power down, the
    value of an interval is passed to its two halves.
    """
    cover = np.full(pieces, np.iinfo(np.int32).max, dtype=np.int32)
    whole = np.flatnonzero(start < stop)
    if not len(whole):
        return cover
    start, stop, name = start[whole], stop[whole], name[whole]
    power = (np.frexp((stop - start).astype(np.float64))[1] - 1).astype(np.int8)
    for exponent in range(int(power.max()), -1, -1):
        chosen = np.flatnonzero(power == exponent)
        if len(chosen):
            np.minimum.at(cover, start[chosen], name[chosen])
            np.minimum.at(cover, stop[chosen] - (1 << exponent), name[chosen])
        if exponent:
            half = 1 << (exponent - 1)
            halves = cover.copy()
            np.minimum(halves[half:], cover[:-half], out=halves[half:])
            cover = halves
    return cover


def cut_at(edges: Integers, start: Integers, end: Integers, name: Places) -> tuple[Integers, Integers, Places]:
    """Split the pieces that contain an edge; the parts keep the piece's ``name``."""
    if not len(edges) or not len(start):
        return start, end, name
    at = np.searchsorted(start, edges, side="right") - 1
    edges = np.unique(edges[(at >= 0) & (start[at] < edges) & (edges < end[at])])
    if not len(edges):
        return start, end, name
    at = np.searchsorted(start, edges, side="right")
    starts, ends, names = np.insert(start, at, edges), np.insert(end, at - 1, edges), np.insert(name, at, name[at - 1])
    return starts, ends, names


def segment_edges(edges: Integers, start: Integers, end: Integers, longest: Integers) -> Integers:
    """Return the ``edges`` that split a piece whose rest is longer than its ``longest``.

    Edges split from left to right: the rest begins at the previous edge.
    """
    if not len(edges) or not (end - start > longest).any():
        return edges[:0]
    at = np.searchsorted(start, edges, side="right") - 1
    inside = (at >= 0) & (start[at] < edges) & (edges < end[at]) & (end[at] - start[at] > longest[at])
    edges, first = np.unique(edges[inside], return_index=True)
    at = at[inside][first]
    before = np.where(np.diff(at, prepend=-1) == 0, np.append(0, edges[:-1])[: len(edges)], start[at])
    return edges[end[at] - before > longest[at]]
