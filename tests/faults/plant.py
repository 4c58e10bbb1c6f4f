"""Where a planted fault shows: in the run and its control run alike, and in what a second probe saw of the same kernel.

It owns the way from a plant, which changes one run, to the recording that a machine with that fault would have made. A
kernel does not know which of its runs is the control run, and a probe does not either.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rttcheck.judge.arithmetic.estimator import is_after
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.record.event import EVENT, FLAG_SYN_ACKED, Hook
from rttcheck.record.recording import Recording
from rttcheck.record.view import View
from rttcheck.scenario.model import Scenario
from tests.faults.fault import Culprit, Fault, Plant
from tests.faults.kernel import tables_of

_TIMES = ("first_rtt_us", "sack_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us")
_STATE = {Hook.SOCKOPS: FLAG_SYN_ACKED}
"""What of ``flag`` a hook tells that is not told the whole."""


def planted(fault: Fault, recording: Recording) -> Recording:
    """The recording that would have been made with the fault."""
    made = in_both_runs(fault.apply, recording)
    # A second probe looks at the same kernel, and has not the first one's faults.
    return replace(made, second=seen_by_second(made)) if fault.culprit is Culprit.STACK else made


def in_both_runs(plant: Plant, recording: Recording) -> Recording:
    """Plant in the run, and in the control run as if it were one."""
    run, control = plant(recording), plant(control_as_run(recording))
    return replace(
        run,
        control=control.events,
        control_wire=control.wire,
        control_stamps=control.stamps,
        control_writes=control.writes,
        control_flows=control.flows,
        control_runs=(len(control.events),) if recording.control_runs else (),
    )


def control_as_run(recording: Recording) -> Recording:
    """The control run as a recording of its own, which has no control run, no second probe and no TCP_INFO."""
    assert len(recording.control_runs) <= 1, "in virtual time there is one control run"
    return replace(
        recording,
        scenario=Scenario.make(**recording.scenario).control().keywords(),
        events=recording.control,
        histograms=tables_of(recording.control),
        lost=recording.control_lost,
        wire=recording.control_wire,
        stamps=recording.control_stamps,
        writes=recording.control_writes,
        flows=recording.control_flows,
        second=np.zeros(0, dtype=EVENT),
        second_facts={},
        steps=(),
        netem={},
    )


def seen_by_second(recording: Recording) -> np.ndarray:
    """What the recording's second probe shows of the calls that the first one saw."""
    if not recording.second_facts:
        return recording.second
    view = View.of(recording.second_facts["view"])
    events = recording.events
    shown: np.ndarray = events.copy() if view.every_sample else events[_begins_round_trip(events)]
    hook = Hook[str(recording.second_facts["probe"]).upper()]
    for name in view.unseen:
        shown[name] = shown[name] & _STATE.get(hook, 0) if name == "flag" else -1 if name in _TIMES else 0
    shown["hook"] = hook
    return shown


def _begins_round_trip(events: np.ndarray) -> np.ndarray:
    """Return which samples are a socket's first or past ``rtt_seq``: at these ``tcp_rtt_estimator()`` calls back."""
    steps = Steps.of(events)
    before = events[np.maximum(steps.previous, 0)]
    ended = is_after(events["snd_una"].astype(np.int64), before["rtt_seq"].astype(np.int64))
    begins: np.ndarray = steps.taken & ((steps.previous < 0) | ended | (before["srtt_us"] == 0))
    return begins
