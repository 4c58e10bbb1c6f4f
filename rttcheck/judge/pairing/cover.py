"""Intervals over a sorted line of pieces: cutting pieces at edges, and the first interval of all that covers each.

It owns the two operations in linear time (but for the logarithm of the longest interval). It does not know what pieces
and intervals are.
"""

from __future__ import annotations

import numpy as np

from rttcheck.judge.pairing.ends import Places, Rows
from rttcheck.judge.pairing.sockets import Integers


def earliest_cover(start: Places, stop: Places, name: Rows, pieces: int) -> Rows:
    """For each of ``pieces`` the least ``name`` of the intervals [start, stop) that cover it; 2^31 - 1 for none.

    Each interval is two that overlap and are a power of two long; from the longest power on down, what covers a piece
    is passed to its two halves.
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
    """The pieces with those cut in two in which an edge lies; all parts of one keep its ``name``."""
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
    """Those of ``edges`` that cut a piece longer than its ``longest`` while the rest of it still is.

    Edges cut from left to right: the rest is what lies beyond the edge before.
    """
    if not len(edges) or not (end - start > longest).any():
        return edges[:0]
    at = np.searchsorted(start, edges, side="right") - 1
    inside = (at >= 0) & (start[at] < edges) & (edges < end[at]) & (end[at] - start[at] > longest[at])
    edges, first = np.unique(edges[inside], return_index=True)
    at = at[inside][first]
    before = np.where(np.diff(at, prepend=-1) == 0, np.append(0, edges[:-1])[: len(edges)], start[at])
    return edges[end[at] - before > longest[at]]
