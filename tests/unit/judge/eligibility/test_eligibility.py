"""The eligibility findings: each fault fails one of them, with a message that names the ACK and the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rttcheck.judge import evidence as evidence_module
from rttcheck.judge.data_quality import apply_data_quality
from rttcheck.judge.eligibility.check import KARN, NONE_UNDUE, ORIGIN, TAKEN_WHEN_DUE, check_eligibility
from rttcheck.judge.eligibility.expectations import expectations_at
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.verdict import judge
from rttcheck.record.recording import Recording
from tests.support.planted import record
from tests.support.planted_ack import FLOWS, PlantedSocket
from tests.support.planted_wire import FACTS


def troubled() -> PlantedSocket:
    """A handshake, an exchange, a SACKed segment, a retransmitted one; the third sample is of the SACK."""
    planted = PlantedSocket()
    planted.opens()
    planted.sent(100, 1, 10)
    planted.came(200, 11)
    planted.reports(200, 11, first=100)
    planted.sent(1_000, 11, 10)
    planted.sent(1_010, 21, 10)
    planted.came(2_000, 11, (21, 31))
    planted.reports(2_000, 11, sack=990)
    planted.sent(2_010, 11, 10)
    planted.came(3_000, 31)
    planted.reports(3_000, 31, coarse=1_000)
    return planted


def recorded(planted: PlantedSocket, fault: Callable[[np.ndarray], None] | None = None, **changes: Any) -> Recording:
    events = planted.events
    if fault is not None:
        fault(events)
    keywords = {key: changes.pop(key) for key in ("topology", "corrupt") if key in changes}
    return dataclasses.replace(
        record(**keywords),
        events=events, wire=planted.wire, wire_facts=changes.pop("wire_facts", FACTS), flows=FLOWS, **changes,
    )  # fmt: skip


def found(recording: Recording) -> dict[str, Finding]:
    evidence = Evidence.of(recording)
    findings = apply_data_quality(check_eligibility(evidence), evidence)
    assert all(finding.layer is Layer.ELIGIBILITY for finding in findings)
    return {finding.key: finding for finding in findings}


def failed(recording: Recording) -> list[str]:
    return [check for check, finding in found(recording).items() if finding.outcome is Outcome.FAILED]


def test_a_sound_kernel_passes_all_four() -> None:
    findings = found(recorded(troubled()))
    assert list(findings) == [TAKEN_WHEN_DUE.id, NONE_UNDUE.id, ORIGIN.id, KARN.id]
    assert {finding.outcome for finding in findings.values()} == {Outcome.PASSED}
    assert [finding.samples for finding in findings.values()] == [4, 4, 4, 1]
    assert findings[TAKEN_WHEN_DUE.id].seen == "4 of 4"


def test_nothing_captured_finds_nothing() -> None:
    assert found(recorded(troubled(), wire_facts={})) == {}


def test_captures_without_packets_are_inconclusive() -> None:
    recording = dataclasses.replace(recorded(troubled()), events=troubled().events[:0], wire=troubled().wire[:0])
    assert {finding.outcome for finding in found(recording).values()} == {Outcome.INCONCLUSIVE}


def not_taken(event: int) -> Callable[[np.ndarray], None]:
    def fault(events: np.ndarray) -> None:
        for name in ("first_rtt_us", "last_rtt_us", "sack_rtt_us", "sample_us"):
            events[name][event] = -1
        events["taken"][event] = 0

    return fault


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (0, "to the client of connection 0 at 0.050 ms: it ends a handshake whose SYN or SYN-ACK was sent once"),
        (1, "at 0.190 ms: it acknowledges a segment sent once and not SACKed before"),
        (2, "at 1.990 ms: it is the first to SACK a segment sent once (RFC 2018)"),
        (3, "at 2.990 ms: all data that it acknowledges was retransmitted: expected is the echoed timestamp (RFC 7323"),
    ],
)
def test_a_sample_that_was_not_taken_is_missed_with_the_reason_why_it_is_expected(event: int, reason: str) -> None:
    recording = recorded(troubled(), not_taken(event))
    assert failed(recording) == [TAKEN_WHEN_DUE.id]
    finding = found(recording)[TAKEN_WHEN_DUE.id]
    assert finding.message.startswith("1 of 4 expected samples were not taken, the first is ACK ")
    assert reason in finding.message
    assert finding.message.endswith(f"event {event} reports no value")
    assert finding.seen == "3 of 4"


def test_an_event_that_is_not_there_is_missed() -> None:
    recording = recorded(troubled())
    recording = dataclasses.replace(recording, events=recording.events[:-1])
    assert failed(recording) == [TAKEN_WHEN_DUE.id]
    assert "no event reports it" in found(recording)[TAKEN_WHEN_DUE.id].message


def test_an_unexpected_sample_is_found_with_its_values() -> None:
    planted = troubled()
    planted.came(3_500, 31)
    planted.reports(3_500, 31, first=400, last=300)
    recording = recorded(planted)
    assert failed(recording) == [NONE_UNDUE.id]
    message = found(recording)[NONE_UNDUE.id].message
    assert "it acknowledges and SACKs nothing new: no sample is expected; event 4 reports" in message
    assert message.endswith("first-acked 403 us, last-acked 303 us")


def test_a_sample_without_an_ack_names_its_event_and_socket() -> None:
    planted = troubled()
    planted.reports(3_500, 31, sack=400)
    recording = recorded(planted)
    message = found(recording)[NONE_UNDUE.id].message
    assert "event 4 of the client of connection 0 at 3.495 ms with snd_una 1031, SACK 403 us, last-acked" in message
    assert message.endswith("no ACK came in that may have caused it")
    events = planted.events
    events["dport"][4] = 5_001
    other_socket = dataclasses.replace(recording, events=events)
    assert "event 4 of a socket without captured packets" in found(other_socket)[NONE_UNDUE.id].message


def test_the_timestamp_in_place_of_a_first_acked_segment_is_another_origin() -> None:
    def fault(events: np.ndarray) -> None:
        events["first_rtt_us"][1] = events["last_rtt_us"][1] = -1

    recording = recorded(troubled(), fault)
    assert failed(recording) == [ORIGIN.id]
    assert "event 1 reports 100 us from the echoed timestamp" in found(recording)[ORIGIN.id].message


@pytest.mark.parametrize("name", ["last_rtt_us", "flag"])
def test_a_last_acked_time_or_a_handshake_that_is_not_reported_is_another_origin(name: str) -> None:
    def fault(events: np.ndarray) -> None:
        events[name][0] = -1 if name == "last_rtt_us" else 4

    assert failed(recorded(troubled(), fault)) == [ORIGIN.id]


def test_a_time_for_a_retransmitted_segment_fails_karn_alone() -> None:
    def fault(events: np.ndarray) -> None:
        events["first_rtt_us"][3] = events["last_rtt_us"][3] = events["sample_us"][3] = 990

    recording = recorded(troubled(), fault)
    assert failed(recording) == [KARN.id]
    message = found(recording)[KARN.id].message
    assert message.startswith("1 of 1 ACKs of retransmitted segments gave a time for them, the first is ACK 1031")
    assert "event 3 reports first-acked 990 us" in message


def test_karn_fails_without_timestamps_too() -> None:
    planted = PlantedSocket(stamped=False)
    planted.opens()
    planted.sent(100, 1, 10)
    planted.sent(900, 1, 10)
    planted.came(1_000, 11)
    planted.reports(1_000, 11, first=900)
    recording = recorded(planted)
    assert failed(recording) == [KARN.id]
    assert "was retransmitted: no sample is expected" in found(recording)[KARN.id].message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lost": 2}, "but 2 events were lost"),
        ({"wire_facts": {**FACTS, "clock_step_ns": 10**9}}, "but the wall clock was set by 1000000000 ns"),
        ({"corrupt": "1%"}, "but the link corrupts packets"),
        ({"topology": "direct"}, "but netem runs on the ends' own interfaces"),
    ],
)
def test_what_may_explain_a_difference_makes_it_inconclusive(changes: dict[str, object], reason: str) -> None:
    findings = found(recorded(troubled(), not_taken(1), **changes))
    assert findings[TAKEN_WHEN_DUE.id].outcome is Outcome.INCONCLUSIVE
    assert reason in findings[TAKEN_WHEN_DUE.id].message
    assert findings[NONE_UNDUE.id].outcome is Outcome.PASSED


def test_a_verdict_works_out_the_expected_samples_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any, **keywords: Any) -> np.ndarray:
        calls.append(arguments)
        return expectations_at(*arguments, **keywords)

    monkeypatch.setattr(evidence_module, "expectations_at", counted)
    judge(recorded(troubled()))
    assert len(calls) == 1
