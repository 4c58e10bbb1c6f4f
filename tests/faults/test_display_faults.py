"""Tools that print other than what they saw: each is found out, and one that prints what it saw is not."""

from __future__ import annotations

import pytest

from rttcheck.judge.findings import Layer, Outcome
from rttcheck.nettrace.analyzer import Filter
from rttcheck.nettrace.display import UNFILTERED, check_display
from rttcheck.record.histogram import Unit
from tests.faults.display_faults import FAULTS, DisplayFault, lines, table
from tests.faults.truth import KEYWORDS, truth


@pytest.mark.parametrize("scenario", KEYWORDS)
@pytest.mark.parametrize("limits", [UNFILTERED, Filter(first_us=38_000), Filter(last_us=40_030)])
def test_lines_of_what_the_filter_lets_through_pass(scenario: str, limits: Filter) -> None:
    events = truth(scenario).events
    found = check_display(lines(events, limits), events, limits)
    assert {finding.outcome for finding in found} == {Outcome.PASSED}


@pytest.mark.parametrize("scenario", KEYWORDS)
@pytest.mark.parametrize("unit", Unit)
def test_a_table_of_the_events_passes(scenario: str, unit: Unit) -> None:
    events = truth(scenario).events
    found = check_display(table(events, unit), events)
    assert {finding.outcome for finding in found} == {Outcome.PASSED}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_the_display_fails_and_is_named(fault: DisplayFault) -> None:
    first = fault.judge(truth(fault.scenario))[0]
    assert (first.outcome, first.layer) == (Outcome.FAILED, Layer.OBSERVER)
    assert fault.says in first.message


def test_output_that_was_cut_short_or_says_that_it_lost_events_proves_nothing() -> None:
    events = truth("ping-pong").events
    whole = lines(events)
    for text in (whole[: whole.index("end trace")], whole.replace("lost event: 0", "lost event: 3")):
        assert check_display(text, events)[-1].outcome is Outcome.INCONCLUSIVE
