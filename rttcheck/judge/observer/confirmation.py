"""Evidence that the kernel held a value which the probe reports, so that the probe did not misread it.

There are two kinds. A second probe reads by another path. The kernel computes ``icsk_rto`` from ``srtt_us``, so that
timeouts that follow from the reported value prove that the kernel used it. TCP_INFO is no such evidence: it comes from
the kernel under test, and may be the faulty part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.estimator import State
from rttcheck.judge.arithmetic.rto import Bounds, timeout_jiffies
from rttcheck.judge.evidence import Booleans, Evidence
from rttcheck.judge.observer.second_probe import second_agrees

Integers = npt.NDArray[np.int64]


def confirmation(evidence: Evidence, name: str, suspect: Booleans) -> str:
    """Return what confirms the member ``name`` in the events ``suspect``; empty if nothing does."""
    if second_agrees(evidence, name, suspect):
        return f"{evidence.recording.second_facts['probe']} reports the same {name}"
    return ""


def state_confirmation(evidence: Evidence, name: str, suspect: Booleans, socket: Booleans) -> str:
    """Return what confirms a member of the socket's state, read from one place in every event of ``socket``.

    A second probe need not have seen any of the ``suspect`` calls: if it reports the same in every call of the socket
    that it saw, the place is right.
    """
    return confirmation(evidence, name, suspect) or confirmation(evidence, name, socket)


def srtt_confirmation(evidence: Evidence, suspect: Booleans, socket: Booleans, least_us: int, most_us: int) -> str:
    """Return what confirms ``srtt_us`` in the events ``suspect``, where it is outside its possible range.

    ``least_us`` and ``most_us`` bound the smoothed round trip, in microseconds.
    """
    by_second = state_confirmation(evidence, "srtt_us", suspect, socket)
    if by_second:
        return by_second
    if _timeouts_follow(evidence, suspect, least_us, most_us):
        return "the kernel computed its timeouts from it"
    return ""


def _timeouts_follow(evidence: Evidence, suspect: Booleans, least_us: int, most_us: int) -> bool:
    """Return whether each timeout follows from the reported srtt, and at least one from no srtt in the possible range.

    Source: ``tcp_ack_update_rtt()`` calls ``tcp_set_rto()`` after each sample that it takes.
    """
    if not evidence.recording.view.sees("srtt_us", "rttvar_us", "rto_jiffies"):
        return False
    events = evidence.events[suspect & (evidence.events["taken"] != 0)]
    state, hz = State.of(events), events["hz"].astype(np.int64)
    most_jiffies = Bounds.of(evidence.recording.sysctls, hz).most_jiffies
    held = events["rto_jiffies"].astype(np.int64)

    def timeouts(srtt_us: Integers) -> Integers:
        return timeout_jiffies(srtt_us, state.rttvar_us, hz, most_jiffies)

    possible = timeouts(np.clip(state.srtt_us, least_us << 3, most_us << 3))
    return bool((held == timeouts(state.srtt_us)).all() and (held != possible).any())
