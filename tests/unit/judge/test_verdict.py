"""Faults planted in a sound recording, and the guilty layer of each verdict."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record.recording import StepTaken
from rttcheck.scenario.model import Scenario
from tests.support.planted import CLIENT, SECOND, overheads, record, socket_events, with_events


def failed(verdict: Verdict) -> set[str]:
    return {finding.key for finding in verdict.findings if finding.outcome is Outcome.FAILED}


def finding(verdict: Verdict, check: str) -> Finding:
    return next(found for found in verdict.findings if found.key.startswith(check))


def test_a_sound_recording_passes_every_check() -> None:
    verdict = judge(record())
    assert verdict.outcome is Outcome.PASSED
    assert verdict.guilty is None
    assert {found.outcome for found in verdict.findings} == {Outcome.PASSED}
    assert len(verdict.findings) == 18


def test_a_verdict_is_a_pure_function_of_the_recording() -> None:
    recording = record(client=[20_540] * 100)
    before = recording.events.copy()
    assert judge(recording) == judge(recording)
    assert (recording.events == before).all()


def test_a_sample_below_the_wire_is_a_failure() -> None:
    client = [20_040] * 99 + [19_999]
    verdict = judge(record(client=client))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.guilty is Layer.NOMINAL
    assert "1 of 200 samples are shorter than the latency on the wire" in verdict.findings[0].message
    assert "19999 us where 20000 us were injected" in verdict.findings[0].message


def test_a_sample_just_on_the_wire_is_no_failure() -> None:
    assert judge(record(client=[20_000] * 100)).outcome is Outcome.PASSED


def test_an_odd_injected_value_is_compared_with_whole_microseconds() -> None:
    """The kernel truncates both clock readings to microseconds, so that 20000.6 us may be reported as 20000."""
    assert judge(record(rtt="20000600ns", client=[20_000] * 100)).outcome is Outcome.PASSED


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_noise_does_not_explain_a_sample_below_the_wire(clock: str) -> None:
    verdict = judge(record(client=[19_000] + [25_000] * 99, control=[30, 9_000] * 50, clock=clock))
    assert "nominal.data-not-below" in failed(verdict)


def test_a_sample_above_the_control_runs_overhead_is_a_failure_in_virtual_time() -> None:
    control = [40] * 50 + [60] * 50
    assert judge(record(client=[20_140] * 100, control=control)).outcome is Outcome.PASSED
    verdict = judge(record(client=[20_140] * 50 + [20_141] + [20_140] * 48 + [20_141], control=control))
    assert failed(verdict) == {"nominal.data-not-above"}
    assert "141 us above the link's bound where 140 us are allowed" in verdict.findings[0].message


def test_one_late_sample_may_be_a_pause_of_the_processor_and_is_inconclusive() -> None:
    above = "nominal.data-not-above"
    for late_us, outcome in ((20_600, Outcome.INCONCLUSIVE), (25_000, Outcome.FAILED)):
        found = finding(judge(record(client=[20_040] * 99 + [late_us])), above)
        assert found.outcome is outcome, late_us
    assert (
        "one pause of the processor can explain this" in finding(judge(record(client=[20_040, 20_600])), above).message
    )


def test_handshake_samples_have_a_lower_bound_only() -> None:
    def slow_handshake(events: np.ndarray) -> None:
        for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
            events[name][0] += 5_000

    def quick_handshake(events: np.ndarray) -> None:
        for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
            events[name][0] = 19_990

    below = "nominal.syn-fin-not-below"
    assert finding(judge(record(change=slow_handshake)), below).outcome is Outcome.PASSED
    assert "nominal.data-not-above" not in failed(judge(record(change=slow_handshake)))
    assert below in failed(judge(record(change=quick_handshake)))


def test_a_timestamp_sample_may_be_a_millisecond_below() -> None:
    client = [20_040] * 99 + [19_000]
    verdict = judge(record(client=client, tsecr=[99]))
    assert verdict.outcome is Outcome.PASSED
    assert "1 ms less for 1 from timestamps" in finding(verdict, "nominal.data-not-below").expected
    assert "nominal.data-not-below" in failed(judge(record(client=[*client[:99], 18_999], tsecr=[99])))


def test_settings_read_back_that_differ_are_the_links_fault() -> None:
    recording = record(client=[10_040] * 100, server=[10_040] * 100)
    held = {**recording.netem, "back": {}}
    verdict = judge(dataclasses.replace(recording, netem=held))
    assert verdict.guilty is Layer.LINK
    assert "back has {}, configured was delay_ns=10000000" in verdict.findings[0].message
    assert "nominal.data-not-below" in failed(verdict)


def test_half_the_configured_delay_is_found_by_the_samples() -> None:
    verdict = judge(record(client=[10_040] * 100, server=[10_040] * 100))
    assert verdict.outcome is Outcome.FAILED
    assert "half as much: one direction is not delayed" in verdict.findings[0].message


def test_settings_that_were_not_read_back_are_inconclusive() -> None:
    verdict = judge(dataclasses.replace(record(), netem={}))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.guilty is Layer.LINK


def test_samples_shown_in_another_unit_are_the_observers_fault() -> None:
    def nanoseconds(events: np.ndarray) -> None:
        for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
            events[name] *= 1_000

    verdict = judge(record(change=nanoseconds))
    assert verdict.guilty is Layer.OBSERVER
    assert "another unit than the kernel's microseconds" in finding(verdict, "arithmetic.srtt").message
    assert "a thousand times as much: a unit is wrong" in finding(verdict, "nominal.data-not-above").message


def test_milliseconds_shown_as_microseconds_are_the_observers_fault() -> None:
    def milliseconds(events: np.ndarray) -> None:
        for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
            events[name] //= 1_000

    verdict = judge(record(change=milliseconds))
    assert verdict.guilty is Layer.OBSERVER
    assert "a thousandth: a unit is wrong" in finding(verdict, "nominal.data-not-below").message


def test_first_and_last_acked_swapped_are_the_observers_fault() -> None:
    jitter: dict[str, Any] = {"rtt": "40ms", "jitter": "8ms", "traffic": "paced", "interval": "2ms", "count": 60}
    first = [45_000 + 100 * index for index in range(60)]
    last = [value - (2_000 if index % 3 == 0 else 0) for index, value in enumerate(first)]
    recording = record(client=first, client_last=last, **jitter)
    assert judge(recording).outcome is Outcome.PASSED

    def swap(events: np.ndarray) -> None:
        first = events["first_rtt_us"].copy()
        events["first_rtt_us"] = events["last_rtt_us"]
        events["last_rtt_us"] = first

    verdict = judge(with_events(recording, swap))
    assert verdict.guilty is Layer.OBSERVER
    assert "the two are swapped" in verdict.findings[0].message
    assert "in 20 of 60 events" in verdict.findings[0].message


def test_a_last_acked_sample_that_the_kernel_did_not_use_is_the_observers_fault() -> None:
    def show_the_first_twice(events: np.ndarray) -> None:
        events["rs_rtt_us"][-3:] -= 1

    verdict = judge(record(change=show_the_first_twice))
    assert finding(verdict, "observer.first-and-last").outcome is Outcome.FAILED
    assert (
        "in 3 of 200 events rtt and rtt_min differ from what the kernel used"
        in finding(verdict, "observer.first-and-last").message
    )


def test_a_last_acked_sample_below_the_wire_is_a_failure() -> None:
    verdict = judge(record(client_last=[20_040] * 99 + [19_000], client=[20_040] * 100))
    check = finding(verdict, "nominal.analyzer")
    assert check.outcome is Outcome.FAILED
    assert "rtt_min in 1 are below the injected 20ms" in check.message


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_kernel_side_table_with_a_wrong_edge_is_the_observers_fault(unit: str) -> None:
    recording = record()
    tables = {name: table.copy() for name, table in recording.histograms.items()}
    filled = int(np.argmax(tables[unit]))
    tables[unit][filled] -= 1
    tables[unit][filled + 1 if filled < 16 else 0] += 1
    verdict = judge(dataclasses.replace(recording, histograms=tables))
    assert failed(verdict) == {f"observer.kernel-histogram-{unit}"}
    assert verdict.guilty is Layer.OBSERVER


def test_a_table_of_microseconds_labelled_milliseconds_is_named() -> None:
    recording = record()
    tables = {**recording.histograms, "ms": recording.histograms["us"]}
    verdict = judge(dataclasses.replace(recording, histograms=tables))
    assert "it counts us under the name of ms" in verdict.findings[0].message


def test_a_sample_in_another_bucket_is_a_failure() -> None:
    verdict = judge(record(client=[20_040] * 99 + [32_000]))
    check = finding(verdict, "nominal.bucket")
    assert check.outcome is Outcome.FAILED
    assert check.expected == "16 -    31ms"
    assert check.seen == "199 in 16 -    31ms, 1 in 32 -    63ms"


def test_the_bucket_is_asserted_in_the_scenarios_unit() -> None:
    recording = record(rtt="750us", unit="us")
    check = finding(judge(recording), "nominal.bucket")
    assert (check.outcome, check.expected) == (Outcome.PASSED, "512 -  1023us")


def test_jitter_may_fill_every_bucket_between_its_bounds_and_no_other() -> None:
    jitter: dict[str, Any] = {"rtt": "40ms", "jitter": "16ms", "traffic": "paced", "interval": "50ms", "count": 60}
    spread = [8_000 + 1_000 * index for index in range(60)]
    verdict = judge(record(client=spread, **jitter))
    assert verdict.outcome is Outcome.PASSED
    check = finding(verdict, "nominal.bucket")
    assert check.expected == "8 -    15ms, 16 -    31ms, 32 -    63ms, 64 -   127ms"
    assert "nominal.bucket" in failed(judge(record(client=[7_900, *spread[1:]], **jitter)))


def test_min_rtt_that_is_not_the_smallest_sample_is_wrong_arithmetic() -> None:
    def raise_minimum(events: np.ndarray) -> None:
        events["min_rtt"]["v"][-1] += 1

    verdict = judge(record(change=raise_minimum))
    assert failed(verdict) == {"arithmetic.min-rtt"}
    assert verdict.guilty is Layer.ARITHMETIC


def test_srtt_outside_its_samples_is_wrong_arithmetic() -> None:
    def raise_srtt(events: np.ndarray) -> None:
        events["srtt_us"][-1] += 1_000

    verdict = judge(record(change=raise_srtt))
    assert failed(verdict) == {"arithmetic.srtt"}
    assert verdict.guilty is Layer.ARITHMETIC


def test_no_data_sample_is_never_a_pass() -> None:
    verdict = judge(record(client=[], server=[]))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.guilty is Layer.ELIGIBILITY


def test_a_side_without_samples_is_a_failure() -> None:
    verdict = judge(record(server=[]))
    assert failed(verdict) == {"eligibility.every-side"}
    assert "1 servers have no data sample" in verdict.findings[0].message


def test_a_recording_without_connections_is_never_a_pass() -> None:
    verdict = judge(dataclasses.replace(record(), flows=()))
    assert "eligibility.every-side" in failed(verdict)


def test_no_sample_is_inconclusive_where_events_were_lost() -> None:
    verdict = judge(record(client=[], server=[], lost=300))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "and 300 events were lost" in finding(verdict, "eligibility.every-side").message


def test_lost_events_make_counts_inconclusive_and_not_values() -> None:
    recording = record(lost=3)
    short = with_events(recording, lambda _: None)
    short = dataclasses.replace(short, events=recording.events[3:])
    verdict = judge(short)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "3 events were lost" in finding(verdict, "observer.kernel-histogram").message
    assert not failed(verdict)
    below = dataclasses.replace(record(client=[19_000] * 100), lost=3)
    assert judge(below).outcome is Outcome.FAILED


def step_scenario(client: list[int], taken: tuple[StepTaken, ...] | None = None) -> Verdict:
    at_ns = int(socket_events(client[:10], handshake_us=20_070)["timestamp_ns"][-1]) + 10_000
    recording = record(traffic="paced", interval="200ms", count=20, client=client)
    keywords = {**recording.scenario, "steps": [{"after": 10, "rtt": "80ms"}]}
    after = Scenario.make(**keywords).steps[0]
    steps = (StepTaken(at_ns=at_ns, index=0),) if taken is None else taken
    netem = {"out": after.out.changed(), "back": after.back.changed()} if steps else recording.netem
    return judge(dataclasses.replace(recording, scenario=keywords, steps=steps, netem=netem))


def test_samples_before_and_after_a_step_have_their_own_bounds() -> None:
    client = [20_040] * 10 + [80_040] * 10
    assert step_scenario(client).outcome is Outcome.PASSED


def test_a_stale_round_trip_after_a_step_is_a_failure() -> None:
    verdict = step_scenario([20_040] * 10 + [80_040] * 9 + [20_040])
    assert "nominal.data-not-below" in failed(verdict)
    assert "nominal.bucket" in failed(verdict)


def test_the_new_round_trip_before_a_step_is_a_failure() -> None:
    verdict = step_scenario([20_040] * 9 + [40_000] + [80_040] * 10)
    assert failed(verdict) == {
        "nominal.data-not-above",
        "nominal.bucket",
    }


def test_a_step_that_was_not_applied_is_the_links_fault() -> None:
    verdict = step_scenario([20_040] * 20, taken=())
    assert verdict.guilty is Layer.LINK
    assert "0 of 1 steps were applied" in verdict.findings[0].message


def test_delayed_acks_leave_the_servers_samples_without_an_upper_bound() -> None:
    server = [60_000] * 100
    verdict = judge(record(quickack=False, server=server))
    assert verdict.outcome is Outcome.PASSED
    assert any("ACKs may be delayed" in note for note in verdict.notes)
    assert judge(record(quickack=True, server=server)).outcome is Outcome.FAILED
    assert judge(record(quickack=False, client=server)).outcome is Outcome.FAILED


def test_loss_has_no_upper_bound() -> None:
    verdict = judge(record(loss="3%", client=[20_040] * 50 + [400_000] * 50))
    assert verdict.outcome is Outcome.PASSED
    assert "no upper bound, as the next ACK" in finding(verdict, "nominal.data-not-above").message


def test_settings_that_netem_does_not_implement_as_named_are_noted() -> None:
    verdict = judge(record(loss="3%", loss_correlation="25%"))
    assert any(note.startswith("loss_correlation is set and not asserted") for note in verdict.notes)


def test_events_that_the_control_run_lost_are_noted() -> None:
    verdict = judge(dataclasses.replace(record(), control_lost=7))
    assert any("the control run lost 7 events" in note for note in verdict.notes)


# Real time: what may be the machine is not held against the kernel.


def test_outliers_in_real_time_pass_and_are_counted() -> None:
    client = [20_000 + overhead for overhead in overheads(97, 35, 60)] + [24_000, 29_000, 33_000]
    verdict = judge(record(client=client, clock="real"))
    assert verdict.outcome is Outcome.PASSED
    assert "3 of them outliers" in finding(verdict, "nominal.data-not-above").message
    assert "1 outliers above" in finding(verdict, "nominal.bucket").message


def test_a_constant_excess_in_real_time_is_a_failure() -> None:
    client = [20_000 + overhead for overhead in overheads(100, 4_035, 4_060)]
    verdict = judge(record(client=client, clock="real"))
    assert failed(verdict) == {"nominal.data-not-above"}
    assert "which noise does not explain" in verdict.findings[0].message


def test_one_sides_excess_in_real_time_is_not_hidden_by_the_other() -> None:
    client = [20_000 + overhead for overhead in overheads(100, 4_035, 4_060)]
    server = [20_000 + overhead for overhead in overheads(100, 35, 60)] * 10
    assert judge(record(client=client, server=server, clock="real")).outcome is Outcome.FAILED


def test_waking_up_from_idle_in_real_time_is_no_failure() -> None:
    client = [20_000 + overhead for overhead in overheads(100, 150, 160)]
    verdict = judge(record(client=client, server=client, clock="real"))
    assert verdict.outcome is Outcome.PASSED
    assert "the cost of waking up from idle" in finding(verdict, "nominal.data-not-above").message


def test_a_noisy_machine_in_real_time_is_inconclusive() -> None:
    client = [21_000 + 80 * index for index in range(100)]
    verdict = judge(record(client=client, server=client, clock="real"))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "too noisy in real time to decide" in verdict.findings[0].message


def test_too_few_samples_in_real_time_are_inconclusive() -> None:
    verdict = judge(record(count=4, client=[25_000] * 4, server=[25_000] * 4, control=[40] * 4, clock="real"))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "too few to distinguish noise from a fault, which takes 12 of each" in verdict.findings[0].message


@pytest.mark.parametrize(("number", "outcome"), [(11, Outcome.INCONCLUSIVE), (12, Outcome.FAILED)])
def test_the_named_number_of_samples_is_enough_to_fail(number: int, outcome: Outcome) -> None:
    high = [25_000 + index for index in range(number)]
    verdict = judge(record(count=number, client=high, server=high, control=[40] * number, clock="real"))
    assert finding(verdict, "nominal.data-not-above").outcome is outcome


def test_one_outlier_of_the_control_run_does_not_widen_the_buckets_in_real_time() -> None:
    control = [*overheads(99, 30, 60), 700]
    asked: dict[str, Any] = {"rtt": "520us", "unit": "us", "control": control}
    check = finding(judge(record(clock="real", **asked)), "nominal.bucket")
    assert (check.outcome, check.expected) == (Outcome.PASSED, "512 -  1023us")
    check = finding(judge(record(clock="virtual", **asked)), "nominal.bucket")
    assert check.outcome is Outcome.INCONCLUSIVE
    high = [1_030] * 100
    check = finding(judge(record(clock="real", client=high, server=high, **asked)), "nominal.bucket")
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "200 of 200 samples are in a bucket above" in check.message


@pytest.mark.parametrize(("outliers", "outcome"), [(0, Outcome.PASSED), (1, Outcome.INCONCLUSIVE)])
def test_samples_all_in_the_expected_bucket_pass_with_a_noisy_control_run(outliers: int, outcome: Outcome) -> None:
    client = [520 + overhead for overhead in overheads(100 - outliers)] + [1_030] * outliers
    asked: dict[str, Any] = {"rtt": "520us", "unit": "us", "control": overheads(100, 80, 480), "clock": "real"}
    check = finding(judge(record(client=client, **asked)), "nominal.bucket")
    assert check.outcome is outcome


def test_no_control_run_is_inconclusive() -> None:
    verdict = judge(record(control=[]))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "there is no control run" in verdict.findings[0].message


def test_an_overhead_over_the_buckets_edge_is_inconclusive() -> None:
    verdict = judge(record(rtt="31900us", control=[100] * 100, client=[31_950] * 100, server=[31_950] * 100))
    check = finding(verdict, "nominal.bucket")
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "extends over a bucket's edge" in check.message


# The text: what a person reads.


def test_a_failure_explains_itself() -> None:
    recording = record(name="far-away", client=[10_040] * 100, server=[10_040] * 100)
    command = "pytest 'tests/rtt/test_suite.py::test_far_away' --rtt-kernel debian:6.12"
    verdict = judge(recording, path=Path("/tmp/far-away.rttrec"), reproduce=command)
    text = verdict.render(width=100)
    assert "FAILED far-away: look at the nominal layer" in text
    assert "a round trip of 20ms, never less (both ways netem delay 10ms)" in text
    assert "control run of 100 samples at zero delay: 30 to 75 us, median 52 us" in text
    assert "200 data samples, 10040 to 10040 us, median 10040 us" in text
    assert "kernel 6.12.0-test, virtual clock, engine netem, probe fexit, 0 events lost" in text
    assert "recording  /tmp/far-away.rttrec" in text
    assert f"reproduce  {command}" in text
    assert "< not expected" in text
    assert text.index("why") < text.index("expected") < text.index("also")
    assert max(map(len, text.splitlines())) <= 100


def test_samples_that_nettrace_does_not_show_are_counted_apart() -> None:
    recording = record()
    events = recording.events.copy()
    of_data = np.flatnonzero(events["first_rtt_us"] == 20_035)[:7]
    events["sack_rtt_us"][of_data], events["first_rtt_us"][of_data] = 20_035, -1
    verdict = judge(dataclasses.replace(recording, events=events))
    assert verdict.seen.startswith("200 data samples, ")
    assert verdict.seen.endswith("; nettrace shows 193, those with a first-acked segment")
    assert sum(bar.seen for bar in verdict.picture.bars) == 193


def test_a_verdict_can_be_kept_as_json() -> None:
    verdict = judge(record(client=[10_040] * 100))
    kept = json.loads(json.dumps(verdict.as_dict()))
    assert (kept["outcome"], kept["guilty"]) == ("failed", "nominal")
    assert kept["findings"][0]["layer"] == "nominal"
    assert kept["figures"]["lowest_us"] == 20_000


def test_a_summary_is_one_row_of_plain_values() -> None:
    summary = judge(record()).summary()
    assert all(type(value) in (str, int, float) for value in summary.values())
    assert (summary["samples"], summary["min_us"], summary["slack_us"]) == (200, 20_035, 195)


def test_an_unknown_scenario_of_another_version_is_an_error() -> None:
    recording = record()
    with pytest.raises(ValueError, match="warp"):
        judge(dataclasses.replace(recording, scenario={**recording.scenario, "warp": 9}))


def test_events_of_no_connection_are_the_probes_fault_and_have_the_lower_bound() -> None:
    recording = record()
    stranger = socket_events([15_000], own=(CLIENT, 41_000), start_ns=300 * SECOND)
    events = np.concatenate([recording.events, stranger])
    verdict = judge(dataclasses.replace(recording, events=events))
    assert verdict.guilty is Layer.OBSERVER
    assert "observer.possible-events" in failed(verdict)
    found = finding(verdict, "nominal.data-not-below")
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.message.endswith("but the probe's data is inconsistent")
