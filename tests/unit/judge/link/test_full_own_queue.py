"""A recording of a sound kernel whose sender's own queue was full: nine packets were not sent, and TCP knew it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.judge import evidence as evidence_module
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Layer, Outcome
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.verdict import judge
from rttcheck.record.recording import Recording

FILE = Path(__file__).parents[3] / "data" / "recordings" / "full-own-queue.rttrec"


def test_a_sound_kernel_passes() -> None:
    verdict = judge(Recording.load(FILE))
    assert verdict.outcome is Outcome.PASSED, verdict.render(100)


def test_pairs_name_rows_of_the_packets_that_were_sent() -> None:
    evidence = Evidence.of(Recording.load(FILE))
    assert evidence.refused == 9
    assert evidence.wire_times is not None
    ack = evidence.wire_times.pairs.ack
    paired = ack != NONE
    assert paired.any()
    assert (evidence.sent["ack"][ack[paired]] == evidence.events["snd_una"][paired]).all()


def test_without_that_rule_the_sound_kernel_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_module, "without_refused", lambda wire, stamps, _limits: (wire, stamps))
    verdict = judge(Recording.load(FILE))
    failed = {finding.layer for finding in verdict.findings if finding.outcome is Outcome.FAILED}
    assert failed & {Layer.SAMPLE, Layer.ELIGIBILITY}
