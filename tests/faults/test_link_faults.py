"""Links that do other than they were told: the link is named first; told what it does, it is innocent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rttcheck.judge.findings import Layer, Outcome
from rttcheck.judge.verdict import judge
from rttcheck.record.recording import Recording
from tests.faults.catalogue import Judged
from tests.faults.link_faults import FAULTS, LinkFault

each_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@each_fault
def test_a_link_that_does_other_than_it_was_told_fails_and_comes_first(
    recorded: Mapping[str, Recording], fault: LinkFault
) -> None:
    judged = Judged.of(fault.pretend(recorded[fault.name]))
    assert (judged.outcome, judged.guilty) == (Outcome.FAILED, Layer.LINK), judged.first


@each_fault
def test_the_same_link_is_innocent_when_it_was_told_to_do_so(
    recorded: Mapping[str, Recording], fault: LinkFault
) -> None:
    verdict = judge(recorded[fault.name])
    blamed = [each for each in verdict.findings if each.layer is Layer.LINK and each.outcome is not Outcome.PASSED]
    assert blamed == []
