"""netem's random models of loss, duplication and reordering as Markov chains, and the event counts that they allow.

Each model's probabilities per packet use the kernel's own integers. Packets are counted in `counts`.

Sources: ``netem_enqueue()``, ``loss_event()``, ``loss_4state()`` and ``loss_gilb_ell()`` in net/sched/sch_netem.c, 5.10
to 7.3. Correlations (``get_crandom()``) are not modelled: they do not do what their names say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.machine.chance import usual_counts
from rttcheck_netns.netem import GilbertElliott, Netem, RandomLoss, StateLoss

Floats = npt.NDArray[np.float64]

LARGEST_GAP: Final = 64
"""Chains with more states take too long to compute; a larger gap is not judged."""

_RANDOM_VALUES: Final = 1 << 32
_TILTS = np.concatenate((np.geomspace(1e-4, 0.05, 24, endpoint=False), np.geomspace(0.05, 25, 120)))


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A Markov chain with one step per packet: matrices of the probabilities of a step without and with an event.

    It starts in the first state.
    """

    quiet: Floats
    event: Floats

    @classmethod
    def independent(cls, share: float) -> Chain:
        """Return a chain in which packets are independent, with probability ``share`` of an event."""
        return cls(np.array([[1.0 - share]]), np.array([[share]]))

    @property
    def share(self) -> float | None:
        """The probability of an event where packets are independent, else None."""
        return float(self.event[0, 0]) if len(self.event) == 1 else None

    @property
    def mean(self) -> float:
        """The long-run share of packets with an event."""
        step = self.quiet + self.event
        states = len(step)
        # The stationary distribution; where there are several, the one that the first state leads to.
        settled = np.linalg.matrix_power((step + np.eye(states)) / 2, 1 << 40)[0]
        return float(settled @ self.event.sum(axis=1))

    def log_none(self, number: int) -> float:
        """Return the logarithm of the probability that none of ``number`` packets has an event."""
        return float(Chain(self.quiet, np.zeros_like(self.event)).log_moment(number, np.zeros(1))[0])

    def log_moment(self, number: int, tilts: Floats) -> Floats:
        """Return the logarithm of the mean of ``exp(tilt * events)`` in ``number`` packets, for each tilt."""
        power = self.quiet[None] + np.exp(tilts)[:, None, None] * self.event[None]
        row = np.zeros((len(tilts), 1, len(self.quiet)))
        row[:, 0, 0] = 1.0
        scale, power_scale = np.zeros(len(tilts)), np.zeros(len(tilts))
        left = number
        while left:
            if left & 1:
                row, scale = row @ power, scale + power_scale
                row, scale = _normal(row, scale)
            left >>= 1
            if left:
                power, power_scale = power @ power, 2 * power_scale
                power, power_scale = _normal(power, power_scale)
        moments: Floats = scale + np.log(np.maximum(row.sum(axis=(1, 2)), 1e-300))
        return moments


def _normal(matrices: Floats, scale: Floats) -> tuple[Floats, Floats]:
    largest = np.maximum(matrices.max(axis=(1, 2)), 1e-300)
    return matrices / largest[:, None, None], scale + np.log(largest)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRun:
    """Consecutive packets under one setting; up to ``unseen`` uncaptured ones may have taken steps of the chain too."""

    chain: Chain
    packets: int
    unseen: int = 0


def usual_events(runs: Sequence[PacketRun], chance: float) -> tuple[int, int]:
    """Return the fewest and the most events in all runs that are not rarer than ``chance`` on their side.

    Exact (binomial) where packets are independent with one probability; otherwise Chernoff's bound with the chain's own
    moments, which holds for any number of packets. Events of the unseen packets are allowed on both sides.
    """
    runs = [run for run in runs if run.packets]
    total = sum(run.packets for run in runs)
    shares = {run.chain.share for run in runs}
    if len(shares) <= 1 and None not in shares:
        return usual_counts(total, next(iter(shares), 0.0) or 0.0, chance)
    # Independent packets are not affected by unseen ones.
    hidden = sum(run.unseen for run in runs if run.chain.share is None)
    edges = []
    for tilts in (_TILTS, -_TILTS):
        moments = np.zeros(len(tilts))
        for run in runs:
            steps = run.packets + (run.unseen if run.chain.share is None else 0)
            moments += run.chain.log_moment(steps, tilts)
        edges.append((moments - log(chance)) / tilts)
    most = float(edges[0].min()) if len(edges[0]) else inf
    least = float(edges[1].max()) - hidden
    return max(0, int(np.ceil(least - 1e-9))), min(total, int(np.floor(most + 1e-9)))


def loss_chain(netem: Netem) -> Chain:
    """Return the chain of lost packets: ``loss_event()``."""
    loss = netem.loss
    if loss is None:
        return Chain.independent(0.0)
    if isinstance(loss, RandomLoss):
        return Chain.independent(_share(_number(loss.percent)))
    return _four_states(loss) if isinstance(loss, StateLoss) else _gilbert_elliott(loss)


def vanishing_chain(netem: Netem) -> Chain | None:
    """Return the chain of packets that never leave; None where loss is stateful and packets are duplicated as well.

    A packet that is drawn for both duplication and loss passes once; its copy is drawn for loss again.
    """
    loss = loss_chain(netem)
    if not netem.duplicate:
        return loss
    if loss.share is None:
        return None
    return Chain.independent((1 - _share(_number(netem.duplicate))) * loss.share)


def doubling_chain(netem: Netem) -> Chain | None:
    """Return the chain of packets that leave twice; None where loss is stateful and packets are duplicated as well."""
    if not netem.duplicate:
        return Chain.independent(0.0)
    loss = loss_chain(netem)
    if loss.share is None:
        return None
    return Chain.independent(_share(_number(netem.duplicate)) * (1 - loss.share) ** 2)


def ahead_chain(netem: Netem) -> Chain | None:
    """Return the chain of packets that are sent ahead, at most each ``gap``-th; None beyond `LARGEST_GAP`.

    Source: ``netem_enqueue()``: not while ``counter < gap - 1``, then with probability ``reorder``, which resets it.
    """
    if not netem.reorder:
        return Chain.independent(0.0)
    gap = max(netem.gap, 1)
    if gap > LARGEST_GAP:
        return None
    share = _share(_number(netem.reorder))
    quiet, event = np.zeros((gap, gap)), np.zeros((gap, gap))
    for counter in range(gap - 1):
        quiet[counter, counter + 1] = 1.0
    quiet[gap - 1, gap - 1] = 1 - share
    event[gap - 1, 0] = share
    return Chain(quiet, event)


def _number(percent: float) -> int:
    """Return a probability as the kernel's integer: 100 % is 2^32 - 1."""
    return round(percent / 100 * (_RANDOM_VALUES - 1))


def _share(number: int) -> float:
    """Return the probability of ``number >= random``; 0 for 0, which the kernel checks first."""
    return (number + 1) / _RANDOM_VALUES if number else 0.0


def _four_states(loss: StateLoss) -> Chain:
    """Return the chain of ``loss_4state()``.

    States: received in a gap, received in a burst, lost in a burst, lost alone. A packet is lost by the step into a
    lost state or by staying in it; the step out of a burst of losses delivers. Sums of two probabilities are 32 bits
    wide and wrap, as in the kernel.
    """
    p13, p31, p32, p23, p14 = (_number(one or 0) for one in (loss.p13, loss.p31, loss.p32, loss.p23, loss.p14))
    quiet, event = np.zeros((4, 4)), np.zeros((4, 4))
    gap, burst, lost, alone = range(4)
    into_burst = max((p13 + p14) % _RANDOM_VALUES - p14, 0)
    event[gap, alone], event[gap, lost] = p14, into_burst
    quiet[gap, gap] = _RANDOM_VALUES - p14 - into_burst
    event[burst, lost], quiet[burst, burst] = p23, _RANDOM_VALUES - p23
    into_gap = max((p31 + p32) % _RANDOM_VALUES - p32, 0)
    quiet[lost, burst], quiet[lost, gap] = p32, into_gap
    event[lost, lost] = _RANDOM_VALUES - p32 - into_gap
    quiet[alone, gap] = _RANDOM_VALUES
    return Chain(quiet / _RANDOM_VALUES, event / _RANDOM_VALUES)


def _gilbert_elliott(loss: GilbertElliott) -> Chain:
    """Return the chain of ``loss_gilb_ell()``: it draws the next state first, then loss by the state before."""
    p, r, k1 = (_number(one or 0) / _RANDOM_VALUES for one in (loss.p, loss.r, loss.k1))
    move = np.array([[1 - p, p], [r, 1 - r]])
    losing = np.array([k1, (_RANDOM_VALUES - 1 - _number(loss.h)) / _RANDOM_VALUES])
    return Chain(move * (1 - losing)[:, None], move * losing[:, None])
