"""When the probe is at fault for its values, and what confirms them: a second probe, the kernel's own timeouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rttcheck.judge.arithmetic.rto import jiffies_of_us
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record.event import Hook
from rttcheck.record.recording import Recording
from rttcheck.record.view import SOCKOPS, TRACEPOINT, View
from tests.support.narrowed import as_sockops, hide
from tests.support.planted import record
from tests.support.planted_wire import with_packets

POSSIBLE = "observer.possible-events"
STATE = "observer.possible-state"
USED = "observer.sample-used"
ESTIMATOR = "arithmetic.srtt"
MINIMUM = "arithmetic.min-rtt"

Change = Callable[[np.ndarray], None]


def finding(verdict: Verdict, check: str) -> Finding:
    return next(found for found in verdict.findings if found.key == check)


def outcome(verdict: Verdict, check: str) -> str:
    return finding(verdict, check).outcome.value


def shown(recording: Recording, change: Change) -> Recording:
    """The recording with other events, TCP_INFO as it was: a probe that misreads, or a kernel that states another."""
    events = recording.events.copy()
    change(events)
    return replace(recording, events=events)


def beside(recording: Recording, seen: np.ndarray, probe: str = "sockops", view: View = SOCKOPS) -> Recording:
    """The recording with a second probe, which saw ``seen``."""
    second = seen.copy()
    second["timestamp_ns"] += 400
    return replace(recording, second=second, second_facts={"probe": probe, "view": view.as_dict(), "lost": 0})


def halve_srtt(events: np.ndarray) -> None:
    events["srtt_us"] //= 2


def make_timeouts(events: np.ndarray) -> None:
    """Set ``icsk_rto`` as the kernel computes it from the reported srtt."""
    timeouts_us = (events["srtt_us"] >> 3).astype(np.int64) + events["rttvar_us"]
    events["rto_jiffies"] = jiffies_of_us(timeouts_us, events["hz"].astype(np.int64))


def halve_minimum(events: np.ndarray) -> None:
    events["min_rtt"]["v"] //= 2


def longer(events: np.ndarray) -> None:
    """Report each sample 3 ms above its wire time, with unchanged steps of the estimator."""
    for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
        events[name] += 3_000


LIES = pytest.mark.parametrize(
    ("change", "check"), [(halve_srtt, ESTIMATOR), (halve_minimum, MINIMUM)], ids=["srtt", "min_rtt"]
)


@LIES
def test_a_state_that_only_tcp_info_contradicts_is_the_probes_where_nothing_else_looked(
    change: Change, check: str
) -> None:
    verdict = judge(shown(with_packets(), change))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.OBSERVER, STATE)
    assert "TCP_INFO reports" in verdict.findings[0].message
    assert outcome(verdict, check) == "inconclusive"


@LIES
def test_a_state_that_two_probes_show_alike_is_the_kernels(change: Change, check: str) -> None:
    """TCP_INFO is in range and both probes are not: the kernel holds one thing and states another."""
    recording = shown(with_packets(), change)
    verdict = judge(beside(recording, as_sockops(recording.events)))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.ARITHMETIC, check)
    assert outcome(verdict, STATE) == "passed"
    assert "sockops reports the same" in finding(verdict, STATE).message
    assert {found.layer for found in verdict.findings if found.outcome is Outcome.FAILED} == {Layer.ARITHMETIC}


@LIES
def test_a_state_that_the_second_probe_does_not_show_is_the_first_ones(change: Change, check: str) -> None:
    truth = with_packets()
    verdict = judge(beside(shown(truth, change), as_sockops(truth.events)))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.OBSERVER, STATE)
    assert outcome(verdict, check) == "inconclusive"


def halve_last(events: np.ndarray) -> None:
    """The last srtt of each socket."""
    for port in np.unique(events["sport"]):
        events["srtt_us"][np.flatnonzero(events["sport"] == port)[-1]] //= 2


def test_a_second_probe_that_saw_other_calls_of_the_socket_shows_that_its_state_is_read_right() -> None:
    """It sees one sample a round trip: the impossible states need not be among them."""
    recording = shown(with_packets(), halve_last)
    verdict = judge(beside(recording, as_sockops(recording.events)[:-4]))
    assert outcome(verdict, STATE) == "passed"
    assert verdict.guilty is Layer.ARITHMETIC


def test_a_second_probe_that_saw_nothing_of_the_socket_clears_nobody() -> None:
    recording = shown(with_packets(), halve_last)
    seen = as_sockops(recording.events)
    ports = np.unique(recording.events["sport"])
    verdict = judge(beside(recording, seen[seen["sport"] == ports[0]]))
    assert outcome(verdict, STATE) == "failed"
    assert finding(verdict, STATE).seen.startswith("1 of ")


def test_the_tracepoint_clears_a_state_too() -> None:
    recording = shown(with_packets(), halve_srtt)
    found = hide(recording.events, TRACEPOINT, Hook.TRACEPOINT)
    verdict = judge(beside(recording, found, "tracepoint", TRACEPOINT))
    assert verdict.guilty is Layer.ARITHMETIC
    assert "tracepoint reports the same srtt_us" in finding(verdict, STATE).message


def test_an_srtt_that_the_kernel_made_its_timeouts_of_is_the_kernels() -> None:
    def change(events: np.ndarray) -> None:
        halve_srtt(events)
        make_timeouts(events)

    truth = with_packets(rtt="40ms")
    verdict = judge(shown(truth, change))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.ARITHMETIC, ESTIMATOR)
    assert "the kernel computed its timeouts from it" in finding(verdict, STATE).message
    assert judge(shown(truth, halve_srtt)).guilty is Layer.OBSERVER


def test_timeouts_that_any_possible_srtt_would_make_clear_nobody() -> None:
    """500 us more or less make no tick: the timeout fits the reported srtt and the true one."""
    truth = with_packets(rtt="1ms")
    verdict = judge(shown(truth, halve_srtt))
    assert outcome(verdict, "arithmetic.rto") == "passed"
    assert outcome(verdict, STATE) == "failed"


def test_timeouts_that_do_not_follow_from_the_shown_srtt_clear_nobody() -> None:
    """Samples rise from 20 to 60 ms: the true timeout follows neither from an srtt of 15 ms nor from one of 20."""

    def quarter(events: np.ndarray) -> None:
        events["srtt_us"] //= 4

    rising = [20_040] * 50 + [60_040] * 50
    verdict = judge(shown(record(client=rising, server=rising), quarter))
    assert outcome(verdict, STATE) == "failed"


def test_tcp_info_of_another_moment_contradicts_no_state() -> None:
    recording = shown(with_packets(), halve_srtt)
    flow = dict(recording.flows[0])
    for name in ("client_info", "server_info"):
        flow[name] = {**flow[name], "delivered": flow[name]["delivered"] + 7}
    verdict = judge(replace(recording, flows=(flow,)))
    assert verdict.guilty is Layer.ARITHMETIC
    assert outcome(verdict, STATE) == "passed"


def test_a_state_that_is_not_believed_leaves_samples_to_be_judged() -> None:
    """Samples are held against packets: no srtt is needed for that."""
    verdict = judge(shown(with_packets(fault=longer), halve_srtt))
    assert outcome(verdict, STATE) == "failed"
    assert verdict.guilty is Layer.SAMPLE
    assert outcome(verdict, ESTIMATOR) == "inconclusive"


def test_a_sample_that_the_estimator_was_not_fed_is_the_probes() -> None:
    verdict = judge(shown(with_packets(), longer))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.OBSERVER, USED)


def test_a_sample_that_two_probes_show_alike_is_the_kernels_even_if_it_used_another() -> None:
    recording = shown(with_packets(), longer)
    verdict = judge(beside(recording, as_sockops(recording.events)))
    assert verdict.guilty is Layer.SAMPLE
    assert outcome(verdict, USED) == "passed"
    assert "sockops reports the same sample_us" in finding(verdict, USED).message
    assert outcome(verdict, ESTIMATOR) == "failed"


def test_a_sample_that_the_second_probe_does_not_show_is_the_first_ones() -> None:
    truth = with_packets()
    verdict = judge(beside(shown(truth, longer), as_sockops(truth.events)))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.OBSERVER, USED)


def milliseconds(events: np.ndarray) -> None:
    events["srtt_us"] //= 1_000


@pytest.mark.parametrize("second", [True, False])
def test_an_srtt_in_milliseconds_is_the_kernels_where_both_probes_show_it(second: bool) -> None:
    recording = record(change=milliseconds)
    if second:
        recording = beside(recording, as_sockops(recording.events))
    verdict = judge(recording)
    assert finding(verdict, ESTIMATOR).layer is (Layer.ARITHMETIC if second else Layer.OBSERVER)
    assert "another unit" in finding(verdict, ESTIMATOR).message


def test_a_time_below_zero_may_be_a_kernels_error() -> None:
    def negative(events: np.ndarray) -> None:
        events["first_rtt_us"][20] = -250_000

    verdict = judge(shown(with_packets(), negative))
    assert outcome(verdict, POSSIBLE) == "passed"
    assert verdict.outcome is Outcome.FAILED
    assert verdict.guilty is not Layer.OBSERVER


def test_an_address_in_place_of_a_time_is_the_probes() -> None:
    def address(events: np.ndarray) -> None:
        events["last_rtt_us"][20] = -0x3FFF_FFF8_4000

    verdict = judge(shown(with_packets(), address))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.OBSERVER, POSSIBLE)
    assert "a number in place of a time" in verdict.findings[0].message
