"""Counts of a link's random models: against all possible outcomes, and against the kernel's code written by hand."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest

from rttcheck.judge.link.chain import (
    LARGEST_GAP,
    Chain,
    PacketRun,
    ahead_chain,
    doubling_chain,
    loss_chain,
    usual_events,
    vanishing_chain,
)
from rttcheck.judge.machine.chance import usual_counts
from rttcheck_netns.netem import GilbertElliott, Netem, RandomLoss, StateLoss
from tests.support.planted_link import netem_by_hand

MS = 1_000_000


def distribution(chain: Chain, number: int) -> list[float]:
    """The chance of each count of events, over all paths."""
    states = range(len(chain.quiet))
    chances = [0.0] * (number + 1)
    for events in product((0, 1), repeat=number):
        row = np.zeros(len(states))
        row[0] = 1.0
        for event in events:
            row = row @ (chain.event if event else chain.quiet)
        chances[sum(events)] += float(row.sum())
    return chances


CHAINS = {
    "gilbert-elliott": loss_chain(Netem(loss=GilbertElliott(p=20, r=40, h=10, k1=5))),
    "four states": loss_chain(Netem(loss=StateLoss(p13=20, p31=50, p32=20, p23=30, p14=10))),
    "gap": ahead_chain(Netem(delay_ns=1, reorder=40, gap=3)),
    "each for itself": loss_chain(Netem(loss=RandomLoss(15))),
}


@pytest.mark.parametrize("name", CHAINS)
def test_moments_are_those_of_all_paths(name: str) -> None:
    chain = CHAINS[name]
    assert chain is not None
    chances = distribution(chain, 9)
    assert sum(chances) == pytest.approx(1)
    tilts = np.array([-2.0, -0.1, 0.0, 0.3, 1.5])
    truth = [np.log(sum(chance * np.exp(tilt * k) for k, chance in enumerate(chances))) for tilt in tilts]
    assert chain.log_moment(9, tilts) == pytest.approx(truth)
    assert chain.log_none(9) == pytest.approx(np.log(chances[0]))


@pytest.mark.parametrize("name", CHAINS)
def test_counts_that_are_not_usual_are_rarer_than_the_chance(name: str) -> None:
    chain = CHAINS[name]
    assert chain is not None
    chances = distribution(chain, 12)
    least, most = usual_events([PacketRun(chain=chain, packets=12)], 0.02)
    assert sum(chances[most + 1 :]) < 0.02
    assert sum(chances[:least]) < 0.02
    assert most < 12


def test_unseen_packets_widen_both_sides() -> None:
    chain = CHAINS["gilbert-elliott"]
    assert chain is not None
    least, most = usual_events([PacketRun(chain=chain, packets=600)], 1e-6)
    wider = usual_events([PacketRun(chain=chain, packets=600, unseen=5)], 1e-6)
    assert wider[0] < least
    assert most < wider[1] <= most + 5
    independent = CHAINS["each for itself"]
    assert independent is not None
    assert usual_events([PacketRun(chain=independent, packets=600, unseen=5)], 1e-6) == usual_counts(600, 0.15, 1e-6)


def test_different_runs_are_counted_together() -> None:
    one, other = Chain.independent(0.1), Chain.independent(0.5)
    least, most = usual_events([PacketRun(chain=one, packets=10), PacketRun(chain=other, packets=10)], 0.01)
    chances = np.convolve(distribution(one, 10), distribution(other, 10))
    assert chances[most + 1 :].sum() < 0.01
    assert chances[:least].sum() < 0.01
    assert 0 < least < 6 < most < 15


def mean_of(netem: Netem, dice: int, number: int = 40_000) -> tuple[float, float]:
    """Shares of packets that vanish and that are doubled, of the kernel by hand."""
    fates = netem_by_hand(netem, [(place * 10 * MS, 100) for place in range(number)], random.Random(dice))
    return sum(not fate for fate in fates) / number, sum(len(fate) == 2 for fate in fates) / number


@pytest.mark.parametrize(
    "netem",
    [
        Netem(loss=RandomLoss(7)),
        Netem(loss=GilbertElliott(p=3, r=25, h=20, k1=1)),
        Netem(duplicate=12),
        Netem(loss=RandomLoss(20), duplicate=30),
    ],
    ids=["random", "gilbert-elliott", "double", "both"],
)
def test_shares_are_those_of_the_kernel_by_hand(netem: Netem) -> None:
    vanishing, doubling = vanishing_chain(netem), doubling_chain(netem)
    assert vanishing is not None
    assert doubling is not None
    lost, doubled = mean_of(netem, 2)
    assert lost == pytest.approx(vanishing.mean, abs=0.008)
    assert doubled == pytest.approx(doubling.mean, abs=0.008)


def test_four_states_are_those_of_the_kernel_by_hand() -> None:
    """``loss_4state()``, line by line."""
    loss = StateLoss(p13=10, p31=40, p32=30, p23=20, p14=5)
    dice, state, lost, number = random.Random(3), 1, 0, 60_000
    for _ in range(number):
        word = dice.random() * 100
        if state == 1:
            state = 4 if word < 5 else 3 if word < 10 + 5 else 1
            lost += state != 1
        elif state == 2:
            state = 3 if word < 20 else 2
            lost += state == 3
        elif state == 3:
            state = 2 if word < 30 else 1 if word < 40 + 30 else 3
            lost += state == 3
        else:
            state = 1
    assert lost / number == pytest.approx(loss_chain(Netem(loss=loss)).mean, abs=0.006)


def test_chances_whose_sum_is_more_than_one_wrap_as_the_kernels_do() -> None:
    """p31 + p32 = 130 % is 30 % in 32 bits, which is below p32: nothing is left for the way back into the gap."""
    chain = loss_chain(Netem(loss=StateLoss(p13=10, p31=90, p32=40)))
    assert chain.quiet[2].tolist() == pytest.approx([0, 0.4, 0, 0])
    assert chain.event[2].tolist() == pytest.approx([0, 0, 0.6, 0])


@pytest.mark.parametrize(("percent", "gap"), [(30.0, 1), (50.0, 4), (100.0, 3)])
def test_packets_sent_ahead_are_those_of_the_kernel_by_hand(percent: float, gap: int) -> None:
    netem = Netem(delay_ns=5 * MS, reorder=percent, gap=gap)
    fates = netem_by_hand(netem, [(place * 10 * MS, 100) for place in range(20_000)], random.Random(5))
    ahead = sum(fate == (place * 10 * MS,) for place, fate in enumerate(fates)) / len(fates)
    chain = ahead_chain(netem)
    assert chain is not None
    assert ahead == pytest.approx(chain.mean, abs=0.01)


def test_settings_without_a_model_give_none() -> None:
    assert ahead_chain(Netem(delay_ns=1, reorder=5, gap=LARGEST_GAP + 1)) is None
    memory = Netem(loss=GilbertElliott(p=1), duplicate=1)
    assert vanishing_chain(memory) is None
    assert doubling_chain(memory) is None


def test_a_million_packets_are_bounded_closely() -> None:
    chain = loss_chain(Netem(loss=GilbertElliott(p=1, r=30)))
    least, most = usual_events([PacketRun(chain=chain, packets=1_000_000)], 1e-6)
    mean = 1_000_000 * chain.mean
    assert mean * 0.92 < least < mean < most < mean * 1.08
