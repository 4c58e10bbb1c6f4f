"""What clears the probe of having misread a member of its events: other evidence that the kernel had that value.

It owns the two kinds of evidence and the words for them. A second probe reads by another path. The kernel itself makes
``icsk_rto`` of ``srtt_us``, so that timeouts that follow from the shown value prove that the kernel used it. TCP_INFO
is neither: it is a statement of the kernel under test, and can be the part that is wrong.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.estimator import State
from rttcheck.judge.arithmetic.rto import Bounds, timeout_jiffies
from rttcheck.judge.evidence import Booleans, Evidence
from rttcheck.judge.observer.second_probe import second_agrees

Integers = npt.NDArray[np.int64]


def cleared(evidence: Evidence, name: str, suspect: Booleans) -> str:
    """Say why the probe did not misread the member ``name`` in the events ``suspect``; empty where nothing says so."""
    if second_agrees(evidence, name, suspect):
        return f"{evidence.recording.second_facts['probe']} shows the same {name}"
    return ""


def cleared_state(evidence: Evidence, name: str, suspect: Booleans, socket: Booleans) -> str:
    """Say the same of a member of the socket's state, which is read from one place in every event of ``socket``.

    A second probe need not have seen one of the ``suspect`` calls. One that sees a sample once a round trip, and shows
    the same in every call of the socket that it saw, shows that the place is the right one.
    """
    return cleared(evidence, name, suspect) or cleared(evidence, name, socket)


def cleared_srtt(evidence: Evidence, suspect: Booleans, socket: Booleans, least_us: int, most_us: int) -> str:
    """Say the same of ``srtt_us``, which ought to lie in a range in the events ``suspect``.

    ``least_us`` and ``most_us`` bound the smoothed round trip that was possible, in microseconds.
    """
    by_second = cleared_state(evidence, "srtt_us", suspect, socket)
    if by_second:
        return by_second
    if _timeouts_follow(evidence, suspect, least_us, most_us):
        return "the kernel's own timeouts were made of it"
    return ""


def _timeouts_follow(evidence: Evidence, suspect: Booleans, least_us: int, most_us: int) -> bool:
    """Tell whether each timeout follows from the shown srtt, and one at least from no srtt of the possible range.

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
