"""Verdicts with narrower probes: checks that can run find faults, and the others are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rttcheck.judge.findings import Layer, Outcome
from rttcheck.judge.needs import any_sample_compared
from rttcheck.judge.pairing.advance import advance
from rttcheck.judge.pairing.calls import Calls
from rttcheck.judge.pairing.ends import Arrivals, keys
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record.recording import Recording
from rttcheck.record.view import SOCKOPS_WITHOUT_ARGUMENTS, WHOLE
from tests.support.narrowed import seen_by_sockops, seen_by_tracepoint
from tests.support.planted import record
from tests.support.planted_wire import with_packets


def failed(verdict: Verdict) -> dict[str, Layer]:
    return {finding.key: finding.layer for finding in verdict.findings if finding.outcome is Outcome.FAILED}


def lied(change: Callable[[np.ndarray], None], recording: Recording | None = None) -> Verdict:
    """The verdict on a sockops recording whose events were changed."""
    told = seen_by_sockops(with_packets() if recording is None else recording)
    events = told.events.copy()
    change(events)
    return judge(replace(told, events=events))


def test_a_truthful_recording_of_sockops_passes_with_what_it_cannot_answer_named() -> None:
    verdict = judge(seen_by_sockops(with_packets()))
    assert verdict.outcome is Outcome.PASSED
    assert verdict.guilty is None
    blind = {finding.key for finding in verdict.blind}
    assert "eligibility.taken-when-due" in blind
    assert "arithmetic.rto" in blind
    assert "sample.not-below-wire" not in blind
    text = verdict.render(width=200)
    assert "not run" in text
    assert "once a round trip" in text


def test_what_was_not_run_never_counts_as_passed() -> None:
    verdict = judge(seen_by_sockops(with_packets()))
    for finding in verdict.blind:
        assert finding.outcome is Outcome.INCONCLUSIVE
        assert finding.message.startswith("not run: it needs ") or "has no stamps" in finding.message
        assert finding.samples == 0


def test_every_step_of_a_ping_pong_is_proven_although_not_every_sample_is_seen() -> None:
    told = seen_by_sockops(with_packets())
    steps = next(f for f in judge(told).findings if f.key.startswith("arithmetic.srtt"))
    assert (steps.outcome, steps.samples) == (Outcome.PASSED, len(told.events))


def test_a_step_after_samples_that_were_not_seen_is_not_looked_at() -> None:
    told = seen_by_sockops(with_packets(), thin=True)
    events = told.events.copy()
    events["mdev_us"][-1] += 1  # wrong, and nothing is known of the sample before
    verdict = judge(replace(told, events=events))
    steps = next(f for f in verdict.findings if f.key.startswith("arithmetic.srtt"))
    assert steps.outcome is Outcome.PASSED
    assert 0 < steps.samples < len(events)


def test_a_wrong_estimator_is_found_through_sockops() -> None:
    def change(events: np.ndarray) -> None:
        events["srtt_us"][20] += 1

    assert failed(lied(change)) == {"arithmetic.srtt": Layer.ARITHMETIC}


def test_a_wrong_minimum_is_found_through_sockops() -> None:
    def change(events: np.ndarray) -> None:
        events["min_rtt"]["v"][20:, 0] -= 5

    assert "arithmetic.min-rtt" in failed(lied(change))


@pytest.mark.parametrize("delayed", [True, False])
def test_a_minimum_is_right_whether_or_not_the_ack_may_have_been_delayed(delayed: bool) -> None:
    # Ten seconds between samples: what is in the window depends on which samples were let in.
    told = seen_by_sockops(record(delayed=delayed, pause_ns=10_000_000_000))
    minimum = next(f for f in judge(told).findings if f.key.startswith("arithmetic.min-rtt"))
    assert (minimum.outcome, minimum.samples) == (Outcome.PASSED, len(told.events))


def test_a_sample_below_the_wire_is_found_through_sockops() -> None:
    def change(events: np.ndarray) -> None:
        events["sample_us"][20] -= 50

    found = failed(lied(change))
    assert found["sample.not-below-wire"] is Layer.SAMPLE


def test_a_sample_below_the_injected_latency_is_found_without_packets_too() -> None:
    def change(events: np.ndarray) -> None:
        events["sample_us"][20] = 19_990

    assert failed(lied(change, record()))["nominal.data-not-below"] is Layer.NOMINAL


def test_a_whole_millisecond_may_be_from_a_timestamp_and_one_ms_too_short() -> None:
    def change(value: int) -> Callable[[np.ndarray], None]:
        def change(events: np.ndarray) -> None:
            events["saw_tstamp"] = 1
            events["sample_us"][20] = value

        return change

    check = "nominal.data-not-below"
    assert check not in failed(lied(change(19_000), record()))
    assert check in failed(lied(change(19_001), record()))
    assert check in failed(lied(change(18_000), record()))


def test_a_kernel_side_table_that_lies_is_found_through_sockops() -> None:
    told = seen_by_sockops(with_packets())
    tables = {unit: np.roll(table, 1) for unit, table in told.histograms.items()}
    assert set(failed(judge(replace(told, histograms=tables)))) == {
        "observer.kernel-histogram-us",
        "observer.kernel-histogram-ms",
    }


def test_tcp_info_that_lies_is_found_through_sockops() -> None:
    told = seen_by_sockops(with_packets())
    client = dict(told.flows[0]["client_info"])
    flows = ({**told.flows[0], "client_info": {**client, "rtt_us": client["rtt_us"] * 2}},)
    assert set(failed(judge(replace(told, flows=flows)))) == {"arithmetic.tcp-info"}


def test_tcp_info_after_samples_that_were_not_seen_is_compared_with_nothing() -> None:
    told = seen_by_sockops(with_packets())
    flows = tuple(
        {
            **flow,
            **{
                end: {**flow[end], "delivered": flow[end]["delivered"] + 1, "rtt_us": 1}
                for end in ("client_info", "server_info")
            },
        }
        for flow in told.flows
    )
    verdict = judge(replace(told, flows=flows))
    assert verdict.outcome is Outcome.PASSED
    assert "arithmetic.tcp-info" in {finding.key for finding in verdict.blind}


def test_without_arguments_the_last_acked_samples_are_judged() -> None:
    told = seen_by_sockops(with_packets(), SOCKOPS_WITHOUT_ARGUMENTS)
    verdict = judge(told)
    assert verdict.outcome is Outcome.PASSED
    assert "arithmetic.srtt" in {finding.key for finding in verdict.blind}
    events = told.events.copy()
    events["last_rtt_us"][20] -= 50
    found = failed(judge(replace(told, events=events)))
    assert "sample.not-below-wire" in found


def test_states_without_samples_judge_nothing() -> None:
    verdict = judge(seen_by_tracepoint(with_packets()))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert not failed(verdict)
    assert verdict.reason is not None
    assert verdict.reason.blind


def test_the_control_run_s_checks_do_not_judge_the_run() -> None:
    findings = judge(with_packets(stamped=True)).findings
    control = [finding for finding in findings if finding.control]
    assert any(finding.layer is Layer.SAMPLE and not finding.blind for finding in control)
    assert any_sample_compared(findings)
    assert not any_sample_compared(control)


def test_a_recording_carries_what_its_probe_saw(tmp_path_factory: pytest.TempPathFactory) -> None:
    told = seen_by_sockops(with_packets())
    path = tmp_path_factory.mktemp("recording") / "told.rttrec"
    again = Recording.load(told.save(path))
    assert again.view == told.view
    assert judge(again).as_dict()["not_run"] == [finding.key for finding in judge(told).blind]
    assert Recording.load(with_packets().save(path)).view == WHOLE


A, B = 0, 1
"""Two connections."""


def arrivals(*acks: tuple[int, int], sacks: tuple[int, ...] = ()) -> Arrivals:
    """ACKs as (connection, number), in order; ``sacks`` are those with SACK blocks."""
    life = np.array([life for life, _ in acks], dtype=np.int32)
    numbers = np.array([number for _, number in acks], dtype=np.int64)
    count = np.arange(len(acks))
    return Arrivals(
        row=count.astype(np.int32),
        life=life,
        time_ns=count * 1_000,
        ack=keys(life, numbers),
        sacks=np.array(sacks, np.intp),
    )


def found(came: Arrivals, life: int, una: int, at: int) -> tuple[int, int]:
    """Place of the ACK, and the offset before it, for one event."""
    lives = np.array([life], dtype=np.int32)
    number = keys(lives, una)
    calls = Calls(event=np.array([0]), life=lives, una=number, before=number, now_ns=np.array([0]))
    place, before = advance(calls, np.array([at], dtype=np.intp), came)
    return int(place[0]), int(before[0] - keys(lives, 0)[0])


TWO = ((A, 1), (A, 200), (A, 300), (A, 300), (B, 1), (B, 50))


@pytest.mark.parametrize(
    ("at", "una", "sacks", "place", "before"),
    [
        (2, 300, (), 2, 200),  # the ACK that moved it
        (1, 200, (), 1, 1),
        (0, 1, (), 0, 0),  # the SYN's
        (3, 300, (), 2, 200),  # the same number again: the first moved it
        (3, 300, (3,), 3, 300),  # but this one SACKs, and is an event of its own
        (-1, 300, (), -1, 300),  # no such ACK came
        (-1, 900, (), -1, 900),  # not yet
    ],
)
def test_an_event_begins_where_the_ack_before_its_own_ended(
    at: int, una: int, sacks: tuple[int, ...], place: int, before: int
) -> None:
    assert found(arrivals(*TWO, sacks=sacks), A, una, at) == (place, before)


@pytest.mark.parametrize(("at", "una", "before"), [(4, 1, 0), (5, 50, 1)])
def test_acks_of_another_connection_do_not_count(at: int, una: int, before: int) -> None:
    assert found(arrivals(*TWO), B, una, at) == (at, before)


def test_without_arrivals_nothing_moved() -> None:
    assert found(arrivals(), A, 300, -1) == (-1, 300)
