"""What a backend's view is, and that a recording keeps it."""

from __future__ import annotations

import json

import pytest

from rttcheck.collect.probe.backend import BACKENDS
from rttcheck.record.event import EVENT
from rttcheck.record.view import (
    SOCKOPS,
    SOCKOPS_WITHOUT_ARGUMENTS,
    TRACEPOINT,
    WHOLE,
    Coverage,
    View,
    widest,
)

VIEWS = (WHOLE, SOCKOPS, SOCKOPS_WITHOUT_ARGUMENTS, TRACEPOINT)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_survives_json(view: View) -> None:
    assert View.of(json.loads(json.dumps(view.as_dict()))) == view


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_not_seen_are_members_of_events(view: View) -> None:
    assert view.unseen <= set(EVENT.names or ())


def test_a_recording_without_a_view_is_of_a_probe_that_saw_all() -> None:
    assert View.of({}) == WHOLE


@pytest.mark.parametrize("held", [{"unseen": ["rtt"]}, {"coverage": "now and then"}])
def test_a_view_of_another_version_is_an_error_and_no_guess(held: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"rtt|now and then"):
        View.of(held)


def test_samples_are_seen_by_all_but_the_tracepoint_and_a_sockops_without_arguments() -> None:
    assert [view.samples for view in VIEWS] == [True, True, False, False]
    assert [view.every_sample for view in VIEWS] == [True, False, False, False]


def test_the_widest_view_is_the_one_that_sees_the_most() -> None:
    assert widest((TRACEPOINT, SOCKOPS_WITHOUT_ARGUMENTS, SOCKOPS)) == SOCKOPS
    assert widest(()) is None


def test_the_table_goes_from_the_widest_view_to_the_narrowest() -> None:
    ranks = [list(Coverage).index(backend.view.coverage) for backend in BACKENDS]
    assert ranks == sorted(ranks)


def test_the_description_lists_what_is_missing() -> None:
    assert WHOLE.render() == "every sample"
    assert SOCKOPS.render() == "once a round trip (not seen: first-acked, last-acked, SACK, the timeout)"
