"""Kernels with broken arithmetic, planted: each must fail, the arithmetic first, and its cause be named."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from rttcheck.judge.arithmetic.check import check_arithmetic
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.verdict import judge
from rttcheck.record.event import FLAG_SYN_ACKED
from rttcheck.record.recording import Recording
from tests.support.kernel_by_hand import Kernel
from tests.support.planted import CLIENT, record, socket_events

ESTIMATOR = "arithmetic.srtt"
TIMEOUT = "arithmetic.rto"
MINIMUM = "arithmetic.min-rtt"
INFO = "arithmetic.tcp-info"

JITTER: dict[str, Any] = {"rtt": "40ms", "jitter": "16ms", "traffic": "paced", "interval": "50ms", "count": 200}
SPREAD = [8_000 + (index * 7_919) % 64_000 for index in range(200)]
VARYING: dict[str, Any] = {**JITTER, "client": SPREAD}
WIDE: dict[str, Any] = {**JITTER, "rtt": "400ms", "jitter": "190ms", "client": [40_000 + 19 * us // 2 for us in SPREAD]}
SHORT = {"net.ipv4.tcp_min_rtt_wlen": "1"}


def finding(recording: Recording, check: str) -> Finding:
    return next(found for found in judge(recording).findings if found.key == check)


def failed(recording: Recording) -> set[str]:
    return {found.key for found in judge(recording).findings if found.outcome is Outcome.FAILED}


@pytest.mark.parametrize(
    ("keywords", "broken", "check", "cause"),
    [
        (VARYING, {"easing": 2}, ESTIMATOR, "weighs 1/4 in mdev, expected 1/8 (err >> 2)"),
        (VARYING, {"srtt_shift": 1}, ESTIMATOR, "the gain of srtt is 1/4, expected 1/8"),
        (VARYING, {"grain_us": 1_000}, ESTIMATOR, "the kernel cut the samples to whole milliseconds"),
        (VARYING, {"mdev_decays": False}, ESTIMATOR, "mdev only grows"),
        (WIDE, {"rttvar_decays": False}, ESTIMATOR, "rttvar does not decay at the end of a round trip"),
        (VARYING, {"ignored": (20,)}, ESTIMATOR, "the estimator ignored the sample"),
        ({}, {"rto_off_by": 1}, TIMEOUT, "the timeout is one jiffy too long"),
        ({}, {"rto_off_by": -1}, TIMEOUT, "the timeout is cut to jiffies and not rounded up"),
    ],
)
def test_a_broken_kernel_is_wrong_arithmetic_and_its_fault_is_named(
    keywords: dict[str, Any], broken: dict[str, Any], check: str, cause: str
) -> None:
    assert judge(record(**keywords)).outcome is Outcome.PASSED
    recording = record(**keywords, kernel=partial(Kernel, **broken))
    verdict = judge(recording)
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.ARITHMETIC, check)
    assert cause in verdict.findings[0].message
    assert failed(recording) == {check}


def expiring(**keywords: Any) -> Recording:
    """Samples that rise after a second, in a window of one."""
    client = [*range(20_300, 20_330), *[20_340 + index % 7 for index in range(70)]]
    return record(client=client, pause_ns=50_000_000, delayed=False, sysctls=SHORT, control=[400] * 100, **keywords)


def test_a_minimum_that_expires_as_the_window_says_passes() -> None:
    recording = expiring(kernel=partial(Kernel, window_s=1))
    assert finding(recording, MINIMUM).outcome is Outcome.PASSED
    assert int(recording.events["min_rtt"]["v"][-1, 0]) > 20_300


def test_a_minimum_that_never_expires_is_wrong_arithmetic() -> None:
    verdict = judge(expiring(kernel=partial(Kernel, window_ends=False)))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.ARITHMETIC, MINIMUM)
    assert "the window never ends: the minimum does not expire" in verdict.findings[0].message


def test_a_minimum_above_a_sample_is_wrong_arithmetic() -> None:
    def raise_all(events: np.ndarray) -> None:
        events["min_rtt"]["v"] += 500

    verdict = judge(record(change=raise_all))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.ARITHMETIC, MINIMUM)
    assert "min_rtt is above a sample" in verdict.findings[0].message


def test_a_candidates_time_is_part_of_the_minimum() -> None:
    def later(events: np.ndarray) -> None:
        events["min_rtt"]["t"][-1, 2] += 3

    assert failed(record(change=later)) == {MINIMUM}


@pytest.mark.parametrize("tick", [-1, 1])
def test_the_tick_next_to_the_events_is_tried_and_reported(tick: int) -> None:
    def shift(events: np.ndarray) -> None:
        events["jiffies"] = events["jiffies"].astype(np.int64) - tick

    found = finding(record(change=shift), MINIMUM)
    assert found.outcome is Outcome.PASSED
    assert "at the tick next to the event's" in found.message


def test_two_ticks_off_are_a_failure_in_virtual_time_only() -> None:
    def late(events: np.ndarray) -> None:
        events["jiffies"] += 2

    assert failed(record(change=late)) == {MINIMUM}
    assert finding(record(change=late, clock="real"), MINIMUM).outcome is Outcome.PASSED


def test_a_sample_of_nothing_is_kept_as_one_jiffy() -> None:
    def events_of(zero_kept_as: int) -> Recording:
        def change(events: np.ndarray) -> None:
            events["min_rtt"]["v"][events["rs_rtt_us"] == 0] = zero_kept_as

        return record(client=[20_040] * 99 + [0], server=[], change=change)

    assert finding(events_of(4_000), MINIMUM).outcome is Outcome.PASSED
    assert "a sample of 0 us is not kept as one jiffy" in finding(events_of(0), MINIMUM).message


@pytest.mark.parametrize("field", ["srtt_us", "mdev_us", "mdev_max_us", "rttvar_us", "rtt_seq"])
def test_one_bit_in_one_field_is_found_and_reported(field: str) -> None:
    def flip(events: np.ndarray) -> None:
        events[field][-1] ^= 1

    recording = record(change=flip)
    found = finding(recording, ESTIMATOR)
    at, seen = len(recording.events) - 1, int(recording.events[field][-1])
    assert found.outcome is Outcome.FAILED
    assert f"the first is event {at} (" in found.message
    assert f"{field} is {seen}, expected {seen ^ 1}" in found.message


@pytest.mark.parametrize("field", ["srtt_us", "rttvar_us"])
def test_a_call_without_a_sample_must_change_nothing(field: str) -> None:
    def untake(events: np.ndarray) -> None:
        for name in ("taken", "srtt_us", "mdev_us", "mdev_max_us", "rttvar_us", "rtt_seq", "min_rtt"):
            own = np.flatnonzero(events["sport"] == 40_000)
            events[name][own[-1]] = 0 if name == "taken" else events[name][own[-2]]

    def change(events: np.ndarray) -> None:
        untake(events)
        events[field][np.flatnonzero(events["sport"] == 40_000)[-1]] += 1

    assert finding(record(change=untake), ESTIMATOR).outcome is Outcome.PASSED
    found = finding(record(change=change), ESTIMATOR)
    assert found.outcome is Outcome.FAILED
    assert "a call that took no sample" in found.message


def test_what_is_set_before_the_first_sample_is_not_held_against_the_kernel() -> None:
    """A SYN-ACK that was sent twice gives no sample, and tcp_init_metrics() sets a deviation then."""

    def no_sample_yet(events: np.ndarray) -> None:
        events["taken"][:2] = 0
        for name in ("srtt_us", "mdev_us", "mdev_max_us", "rttvar_us", "rtt_seq"):
            events[name][:2] = 0
        events["min_rtt"][:2] = (0, 2**32 - 1)
        events["mdev_us"][1] = events["rttvar_us"][1] = 1_000_000

    def wrong(events: np.ndarray) -> None:
        no_sample_yet(events)
        events["srtt_us"][1] = 8

    def replayed(change: Callable[[np.ndarray], None]) -> Finding:
        fresh = socket_events([20_040, 20_040, 20_041], kernel=Kernel())
        late = socket_events([20_040, 20_041], kernel=Kernel())
        events = np.concatenate([fresh[:2], late])
        events["flag"][0] = FLAG_SYN_ACKED
        events["timestamp_ns"] += np.arange(len(events), dtype=np.uint64)  # each call has a time of its own
        change(events)
        return finding(dataclasses.replace(record(), events=events), ESTIMATOR)

    assert replayed(no_sample_yet).outcome is Outcome.PASSED
    assert replayed(wrong).outcome is Outcome.FAILED


def test_a_backoff_that_outlives_a_sample_is_wrong_arithmetic() -> None:
    def back_off(events: np.ndarray) -> None:
        events["backoff"][-1] = 1

    assert "the backoff was not reset" in finding(record(change=back_off), TIMEOUT).message


def test_bounds_that_sysctls_set_are_those_of_the_replay() -> None:
    sysctls = {"net.ipv4.tcp_rto_min_us": "48001"}
    assert judge(record(kernel=partial(Kernel, rto_min_us=52_000), sysctls=sysctls)).outcome is Outcome.PASSED
    assert ESTIMATOR in failed(record(sysctls=sysctls))


def without(recording: Recording, gone: list[int], lost: int) -> Recording:
    return dataclasses.replace(recording, events=np.delete(recording.events, gone), lost=lost)


def test_a_step_over_lost_events_is_inconclusive_and_never_failed() -> None:
    found = finding(without(record(**VARYING), [30, 31, 80], 3), ESTIMATOR)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "3 lost events may lie between" in found.message


def test_more_differences_than_lost_events_are_a_failure() -> None:
    broken = record(**VARYING, kernel=partial(Kernel, srtt_shift=1))
    assert finding(without(broken, [30], 1), ESTIMATOR).outcome is Outcome.FAILED
    unreported = without(record(**VARYING), [30, 80], 1)
    assert finding(unreported, ESTIMATOR).outcome is Outcome.FAILED


def test_a_socket_first_seen_after_its_handshake_is_inconclusive() -> None:
    found = finding(without(record(), [0], 0), ESTIMATOR)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "1 sockets were first seen after their handshake" in found.message


def test_an_address_used_again_is_another_socket() -> None:
    one = socket_events([20_040] * 5, handshake_us=20_100)
    two = socket_events([70_040] * 5, handshake_us=70_100, start_ns=int(one["timestamp_ns"][-1]) + 1)
    assert int(one["sk"][0]) == int(two["sk"][0])
    recording = dataclasses.replace(record(), events=np.concatenate([one, two]))
    assert finding(recording, ESTIMATOR).outcome is Outcome.PASSED
    assert finding(recording, MINIMUM).outcome is Outcome.PASSED
    assert "matches an event" in finding(recording, INFO).message
    in_turn = np.concatenate([one, two])[np.arange(len(one) * 2).reshape(2, -1).T.ravel()]
    assert finding(dataclasses.replace(recording, events=in_turn), ESTIMATOR).outcome is Outcome.PASSED


def with_info(change: Callable[[dict[str, Any]], None], **keywords: Any) -> Recording:
    recording = record(**keywords)
    flow = dict(recording.flows[0])
    flow["client_info"] = dict(flow["client_info"])
    change(flow["client_info"])
    return dataclasses.replace(recording, flows=(flow,))


def test_tcp_info_that_is_doubled_is_wrong_arithmetic() -> None:
    def double(info: dict[str, Any]) -> None:
        for name in ("rtt_us", "rttvar_us", "min_rtt_us"):
            info[name] *= 2

    verdict = judge(with_info(double))
    assert (verdict.guilty, verdict.findings[0].key) == (Layer.ARITHMETIC, INFO)
    assert "twice as much" in verdict.findings[0].message
    assert "the client of connection 0 has rtt_us" in verdict.findings[0].message


@pytest.mark.parametrize("name", ["rtt_us", "rttvar_us", "min_rtt_us", "rto_us"])
def test_each_field_of_tcp_info_is_compared(name: str) -> None:
    assert failed(with_info(lambda info: info.update({name: info[name] + 1}))) == {INFO}


def test_tcp_info_is_compared_with_the_sample_before_it_was_read() -> None:
    def earlier(info: dict[str, Any]) -> None:
        own = recording.events[recording.events["sport"] == 40_000]
        state = own[own["delivered"] == 90][0]
        info.update(
            delivered=90,
            rtt_us=int(state["srtt_us"]) >> 3,
            rttvar_us=int(state["mdev_us"]) >> 2,
            min_rtt_us=int(state["min_rtt"]["v"][0]),
            rto_us=int(state["rto_jiffies"]) * 4_000,
        )

    recording = record(**VARYING)
    assert finding(with_info(earlier, **VARYING), INFO).outcome is Outcome.PASSED
    assert failed(with_info(lambda info: info.update(delivered=90), **VARYING)) == {INFO}


def test_the_timeout_in_tcp_info_is_left_open_after_retransmissions() -> None:
    def timed_out(info: dict[str, Any]) -> None:
        info.update(total_retrans=1, rto_us=info["rto_us"] * 2)

    found = finding(with_info(timed_out), INFO)
    assert found.outcome is Outcome.PASSED
    assert "the timeout in 1 of them" in found.message


def test_no_tcp_info_is_inconclusive() -> None:
    assert finding(with_info(lambda info: info.clear()), INFO).samples == 1
    bare = dataclasses.replace(record(), flows=({"client": [CLIENT, 40_000], "server": ["10.0.2.2", 5_000]},))
    assert finding(bare, INFO).outcome is Outcome.INCONCLUSIVE


def test_a_million_events_are_recomputed_within_seconds() -> None:
    recording = record(**VARYING)
    own = recording.events[recording.events["sport"] == 40_000]
    events = np.tile(own, 1_000_000 // len(own))
    events["generation"] = np.arange(len(events)) // len(own)
    evidence = dataclasses.replace(Evidence.of(recording), events=events)
    begun = time.process_time()
    found = check_arithmetic(evidence)
    assert time.process_time() - begun < 10
    assert [one.outcome for one in found] == [Outcome.PASSED] * 3


def test_without_sack_tcp_info_is_that_of_the_call_before_delivered_was_raised() -> None:
    def late(events: np.ndarray) -> None:
        for port in (5_000, 40_000):
            mine = events["sport"] == port
            events["delivered"][mine] = np.arange(int(mine.sum()))

    def shown(sack: str) -> Finding:
        recording = record(change=late, sysctls={"net.ipv4.tcp_sack": sack})
        flow = dict(recording.flows[0])
        for name in ("client_info", "server_info"):
            # Read when the last call had been made: it holds one less than it left.
            flow[name] = {**flow[name], "delivered": flow[name]["delivered"] + 1}
        events = np.concatenate([recording.events, recording.events[-2:]])
        events["timestamp_ns"][-2:] += 1_000_000
        events["delivered"][-2:] += 1
        events["srtt_us"][-2:] += 80
        return finding(dataclasses.replace(recording, events=events, flows=(flow,)), INFO)

    assert shown("0").outcome is Outcome.PASSED
    assert shown("1").outcome is Outcome.FAILED
