"""The random decisions of one direction, drawn packet by packet: loss, duplicates, reordering, delay deviations.

Implements netem's models over random streams. Each setting has its own stream, ``random()`` of Python's Mersenne
Twister seeded with the text ``"SEED/setting"``, the one sequence that Python keeps from release to release: the same
seed and settings give the same answers in the same order on every machine, and the settings do not influence each
other's streams.

The models are those of net/sched/sch_netem.c (6.12), in its integers: ``get_crandom()``, ``loss_4state()``,
``loss_gilb_ell()``, ``tabledist()``.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..distribution import SCALE
from ..netem import GilbertElliott, Loss, Netem, StateLoss

_U32 = (1 << 32) - 1

Draw = Callable[[], int]
Event = Callable[[], bool]


def lost(netem: Netem, seed: int) -> Event | None:
    """Return a function that decides whether the next packet is lost; None where none ever is."""
    if netem.loss is None:
        return None
    return _lost(netem.loss, seed)


def duplicated(netem: Netem, seed: int) -> Event | None:
    """Return a function that decides whether the next packet is duplicated; None where none ever is."""
    return _event("duplicate", netem.duplicate, netem.duplicate_correlation, seed)


def reordered(netem: Netem, seed: int) -> Event | None:
    """Return a function that decides whether the next packet that may overtake does; None where none ever does."""
    return _event("reorder", netem.reorder, netem.reorder_correlation, seed)


def deviation(netem: Netem, seed: int) -> Draw | None:
    """Return a function that draws the next packet's delay deviation in ns, as ``tabledist()``; None without jitter.

    The uniform one is drawn over exactly its range, without the kernel's bias towards its lower end (a 32-bit number
    modulo twice the jitter).
    """
    sigma = netem.jitter_ns
    if not sigma:
        return None
    random = Random(f"{seed}/jitter").random
    if netem.distribution is None:
        return lambda: int(random() * 2 * sigma) - sigma
    # A table is short, so each entry is scaled once.
    values = [_scaled(sigma, entry) for entry in netem.distribution.table]
    size = len(values)
    return lambda: values[int(random() * size)]


def _scaled(sigma: int, entry: int) -> int:
    """Return an entry in nanoseconds, with the kernel's rounding: half away from zero."""
    product = (sigma % SCALE) * entry
    rounded = (product + SCALE // 2) // SCALE if product >= 0 else -((-product + SCALE // 2) // SCALE)
    return rounded + (sigma // SCALE) * entry


def _fraction(percent: float) -> int:
    return round(percent / 100 * _U32)


def _stream(setting: str, correlation: float, seed: int) -> Draw:
    """Return a stream of 32-bit numbers, each with ``correlation`` percent of the last, as in ``get_crandom()``."""
    random = Random(f"{seed}/{setting}").random

    def fresh() -> int:
        return int(random() * (1 << 32))

    if not correlation:
        return fresh
    rho = _fraction(correlation) + 1
    last = fresh()

    def correlated() -> int:
        nonlocal last
        last = (fresh() * ((1 << 32) - rho) + last * rho) >> 32
        return last

    return correlated


def _event(setting: str, percent: float, correlation: float, seed: int) -> Event | None:
    if not percent:
        return None
    chance, draw = _fraction(percent), _stream(setting, correlation, seed)
    return lambda: chance >= draw()


def _lost(loss: Loss, seed: int) -> Event | None:
    if isinstance(loss, StateLoss):
        return _four_states(loss, seed)
    if isinstance(loss, GilbertElliott):
        return _gilbert_elliott(loss, seed)
    return _event("loss", loss.percent, loss.correlation, seed)


def _four_states(loss: StateLoss, seed: int) -> Event:
    assert loss.p31 is not None
    p13, p31, p32, p23, p14 = (_fraction(p) for p in (loss.p13, loss.p31, loss.p32, loss.p23, loss.p14))
    draw, state = _stream("loss", 0, seed), 1

    def event() -> bool:
        nonlocal state
        drawn = draw()
        if state == 1:
            state = 4 if drawn < p14 else 3 if drawn < p13 + p14 else 1
            return state != 1
        if state == 2:
            state = 3 if drawn < p23 else 2
            return state == 3
        if state == 3:
            state = 2 if drawn < p32 else 1 if drawn < p31 + p32 else 3
            return state == 3
        state = 1
        return False

    return event


def _gilbert_elliott(loss: GilbertElliott, seed: int) -> Event:
    assert loss.r is not None
    p, r, h, k1 = (_fraction(chance) for chance in (loss.p, loss.r, loss.h, loss.k1))
    draw, bad = _stream("loss", 0, seed), False

    def event() -> bool:
        nonlocal bad
        moves = draw()
        if bad:
            bad = moves >= r
            return draw() > h
        bad = moves < p
        return draw() < k1

    return event
