"""The arrays' arithmetic against a kernel written by hand, one sample at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rttcheck.judge.arithmetic import estimator, windowed_minimum
from rttcheck.judge.arithmetic.estimator import FIELDS, Formula, Sample, State, formula_of, is_after
from rttcheck.judge.arithmetic.rto import LEAST, MOST, Bounds, jiffies_of_us, timeout_jiffies, us_of_jiffies
from rttcheck.judge.arithmetic.windowed_minimum import NOTHING_US, Candidates, Feed
from rttcheck.record.event import EVENT, FLAG_ACK_MAYBE_DELAYED
from tests.support.kernel_by_hand import Kernel


@dataclass
class Call:
    """The input of one call: the sample, how far the ACK and the sending have come, and the ticks since the last."""

    us: int
    last_us: int
    acked: int
    sent: int
    ticks: int
    delayed: bool


calls = st.lists(
    st.builds(
        Call,
        us=st.one_of(st.integers(0, 3_000_000), st.integers(19_000, 21_000)),
        last_us=st.one_of(st.integers(0, 3_000_000), st.integers(0, 5)),
        acked=st.integers(0, 3_000),
        sent=st.integers(0, 6_000),
        ticks=st.one_of(st.integers(0, 20), st.integers(0, 100_000)),
        delayed=st.booleans(),
    ),
    min_size=1,
    max_size=40,
)
kernels = st.builds(
    Kernel,
    hz=st.sampled_from([100, 250, 1000]),
    rto_min_us=st.sampled_from([10_000, 50_000, 200_000]),
    window_s=st.sampled_from([0, 1, 10, 300]),
)


def events_of(kernel: Kernel, made: list[Call], *, start: int, isn: int) -> np.ndarray:
    events = np.zeros(len(made), dtype=EVENT)
    una = nxt = isn
    now = start
    for event, call in zip(events, made, strict=True):
        una += call.acked
        nxt = max(nxt, una) + call.sent
        now += call.ticks
        event["sample_us"], event["rs_rtt_us"] = call.us, call.last_us
        event["snd_una"], event["snd_nxt"], event["jiffies"] = una % 2**32, nxt % 2**32, now % 2**32
        event["flag"] = FLAG_ACK_MAYBE_DELAYED if call.delayed else 0
        event["hz"], event["taken"] = kernel.hz, 1
        kernel.ack(event)
    return events


starts = st.sampled_from([0, 5_000, 2**32 - 300, 2**31 - 10])


@settings(max_examples=300, deadline=None)
@given(kernel=kernels, made=calls, start=starts, isn=starts)
def test_every_step_is_the_one_that_a_kernel_by_hand_makes(
    kernel: Kernel, made: list[Call], start: int, isn: int
) -> None:
    events = events_of(kernel, made, start=start, isn=isn)
    state, hz = State.of(events), events["hz"].astype(np.int64)
    before = State(**{name: np.concatenate([[0], getattr(state, name)[:-1]]) for name in FIELDS})
    least_us = np.full(len(events), kernel.rto_min_us)
    due = estimator.after_sample(before, Sample.of(events), least_us, Formula())
    assert [due.row(at) for at in range(len(events))] == [state.row(at) for at in range(len(events))]
    assert not state.differs(due).any()
    timeouts = timeout_jiffies(state.srtt_us, state.rttvar_us, hz, kernel.rto_max_s * hz)
    assert timeouts.tolist() == events["rto_jiffies"].tolist()

    held = Candidates.of(events)
    empty = np.array([[0, 0, 0]])
    start_of = Candidates(t=np.concatenate([empty, held.t[:-1]]), us=np.concatenate([empty + NOTHING_US, held.us[:-1]]))
    minimum = windowed_minimum.after_sample(
        start_of, Feed.of(events), events["jiffies"].astype(np.int64), kernel.window_s * hz
    )
    assert (minimum.us.tolist(), minimum.t.tolist()) == (held.us.tolist(), held.t.tolist())
    assert not held.differs(minimum).any()


def step(us: int, before: dict[str, int], *, snd_una: int = 0, snd_nxt: int = 0, formula: Formula) -> dict[str, int]:
    def one(value: int) -> np.ndarray:
        return np.array([value], dtype=np.int64)

    return estimator.after_sample(
        State(**{name: one(before[name]) for name in FIELDS}),
        Sample(us=one(us), snd_una=one(snd_una), snd_nxt=one(snd_nxt)),
        one(200_000),
        formula,
    ).row(0)


def test_the_first_sample_sets_all() -> None:
    empty = dict.fromkeys(FIELDS, 0)
    first = step(150_000, empty, snd_nxt=77, formula=Formula())
    assert first == {
        "srtt_us": 1_200_000,
        "mdev_us": 300_000,
        "mdev_max_us": 300_000,
        "rttvar_us": 300_000,
        "rtt_seq": 77,
    }
    assert step(0, empty, formula=Formula())["srtt_us"] == 1


def test_the_end_of_a_round_trip_lets_rttvar_decay_by_a_quarter() -> None:
    held = {"srtt_us": 160_000, "mdev_us": 40_000, "mdev_max_us": 200_000, "rttvar_us": 600_000, "rtt_seq": 100}
    inside = step(20_000, held, snd_una=100, snd_nxt=500, formula=Formula())
    beyond = step(20_000, held, snd_una=101, snd_nxt=500, formula=Formula())
    assert (inside["rttvar_us"], inside["rtt_seq"]) == (600_000, 100)
    assert (beyond["rttvar_us"], beyond["rtt_seq"], beyond["mdev_max_us"]) == (500_000, 500, 200_000)


def test_every_fault_makes_another_step_than_the_kernel() -> None:
    held = {"srtt_us": 800_000, "mdev_us": 4_000, "mdev_max_us": 200_000, "rttvar_us": 900_000, "rtt_seq": 100}
    low, right = (100_777 - 50_000), Formula()
    for text, fault in estimator.faults(right):
        assert any(
            step(us, held, snd_una=200, formula=fault) != step(us, held, snd_una=200, formula=right)
            for us in (low, 100_400)
        ), text
    assert len({text for text, _ in estimator.faults(right)}) == len(estimator.faults(right))


@pytest.mark.parametrize("release", ["5.10.0-46-amd64", "6.12.117+deb13-amd64", "7.3.4", "4.19.0", "unheard-of", ""])
def test_every_kernel_has_a_formula(release: str) -> None:
    assert formula_of(release) == Formula()


def test_sequence_numbers_are_compared_across_the_wrap() -> None:
    one, other = np.array([5, 2**32 - 5, 7, 7]), np.array([2**32 - 5, 5, 7, 6])
    assert is_after(one, other).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("us", "hz", "jiffies"), [(0, 250, 0), (1, 250, 1), (4_000, 250, 1), (4_001, 250, 2), (1_000, 1000, 1), (1, 300, 1)]
)
def test_microseconds_are_rounded_up_to_jiffies(us: int, hz: int, jiffies: int) -> None:
    assert int(jiffies_of_us(us, hz)) == jiffies


def test_jiffies_are_cut_to_microseconds() -> None:
    assert (int(us_of_jiffies(1, 300)), int(us_of_jiffies(61, 250))) == (3_333, 244_000)


def test_the_bounds_are_the_sysctls_where_the_kernel_has_them() -> None:
    hz = np.array([250])
    absent = Bounds.of({LEAST.sysctl: "absent"}, hz)
    assert (absent.least_us.tolist(), absent.most_jiffies.tolist()) == ([200_000], [30_000])
    held = Bounds.of({LEAST.sysctl: "30001", MOST.sysctl: "60000"}, hz)
    assert (held.least_us.tolist(), held.most_jiffies.tolist()) == ([32_000], [15_000])


def test_a_timeout_has_an_upper_bound() -> None:
    srtt, rttvar = np.array([8 * 100_000_000]), np.array([100_000_000])
    assert timeout_jiffies(srtt, rttvar, np.array([250]), np.array([30_000])).tolist() == [30_000]


def test_two_candidates_that_outlived_the_window_leave_together() -> None:
    before = Candidates(t=np.array([[0, 10, 900]]), us=np.array([[100, 200, 300]]))
    feed = Feed(us=np.array([400]), maybe_delayed=np.array([False]), hz=np.array([250]))
    after = windowed_minimum.after_sample(before, feed, np.array([1_500]), np.array([1_000]))
    assert (after.us.tolist(), after.t.tolist()) == ([[300, 400, 400]], [[900, 1_500, 1_500]])
    one = windowed_minimum.after_sample(before, feed, np.array([1_005]), np.array([1_000]))
    assert (one.us.tolist(), one.t.tolist()) == ([[200, 300, 400]], [[10, 900, 1_005]])
