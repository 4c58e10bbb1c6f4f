"""Check that TCP_INFO holds the estimators' values: on both sides of each connection, at the end of its traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.rto import us_of_jiffies
from rttcheck.judge.arithmetic.windowed_minimum import NOTHING_US
from rttcheck.judge.check import Check, Needs
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.samples import Side

Places = npt.NDArray[np.intp]

NOT_DELIVERED: Final = -1
"""No event has this many delivered segments."""

_NAMES = {Side.CLIENT: "client", Side.SERVER: "server"}


TCP_INFO: Final = Check(
    id="arithmetic.tcp-info",
    layer=Layer.ARITHMETIC,
    title="TCP_INFO holds the estimators' values",
    asserts=(
        "rtt, rttvar, min_rtt and rto of TCP_INFO are those of the estimators after the last sample before it was read."
    ),
    against="the events' state (tcp_get_info())",
    tolerance="none",
    needs=Needs(all_of=("srtt_us",)),
)


def check_socket_info(evidence: Evidence) -> Finding:
    """Compare ``rtt``, ``rttvar``, ``min_rtt`` and ``rto`` with the state after the last sample before the read.

    ``delivered`` identifies that sample: every newly acknowledged segment raises it before its sample is taken, so
    that no clocks are compared. Calls that acknowledge nothing new share it; the state after any of them is accepted.
    Without SACK it is raised after the sample (``tcp_remove_reno_sacks()``): an event holds less than its call leaves.
    Source: ``tcp_get_info()``, the same from 5.10 to 7.3.
    """
    events, view = evidence.events, evidence.recording.view
    wrong: list[str] = []
    factors: list[float] = []
    read = compared = timeouts = 0
    late = late_segments(evidence)
    for index, flow in enumerate(evidence.recording.flows):
        for side, name in _NAMES.items():
            info = flow.get(f"{name}_info")
            if not isinstance(info, Mapping) or "delivered" not in info:
                continue
            read += 1
            own = evidence.events_of(index, side)
            # Two successive connections with the same addresses cannot be distinguished.
            if not len(own) or (events["generation"][own] != events["generation"][own[0]]).any():
                continue
            states = events[in_force(events, own, int(info["delivered"]) - late, exactly=not view.every_sample)]
            # Before the first sample tcp_init_metrics() sets a deviation, at a time that no event reports.
            if not states["srtt_us"].any():
                continue
            compared += 1
            reported = _reported(info, timeout=view.sees("rto_jiffies"))
            held = [_held(state, reported) for state in states]
            timeouts += "rto_us" in reported
            if reported not in held:
                differing = {key: value for key, value in held[-1].items() if reported[key] != value}
                wrong.append(
                    f"TCP_INFO of the {name} of connection {index} has "
                    + ", ".join(f"{key} {reported[key]}, expected {value}" for key, value in differing.items())
                )
                factors += [(reported[key] or 0) / (value or 1) for key, value in differing.items() if key != "rto_us"]
    outcome = Outcome.PASSED
    message = f"{compared} of {read} sockets, the timeout in {timeouts} of them (the others retransmitted)"
    if wrong and evidence.lost:
        outcome, message = Outcome.INCONCLUSIVE, f"{len(wrong)} sockets differ, and {evidence.lost} events were lost"
    elif wrong:
        outcome, message = Outcome.FAILED, f"in {len(wrong)} of {compared} sockets; {wrong[0]}"
        if factors and min(factors) > 1.99 and max(factors) < 2.01:
            message += ": twice as much"
    elif not compared:
        outcome = Outcome.INCONCLUSIVE
        message = f"none of {read} TCP_INFO matches an event" if read else "no TCP_INFO was read"
    return TCP_INFO.finding(
        outcome,
        message,
        expected="rtt srtt_us >> 3, rttvar mdev_us >> 2, min_rtt the best candidate, rto icsk_rto (tcp_get_info())",
        seen=f"{len(wrong)} of {compared} sockets differ",
        samples=compared,
        blind=not compared and bool(read) and not view.every_sample,
    )


def late_segments(evidence: Evidence) -> int:
    """Return how many segments ``delivered`` counts after their sample: one without SACK, see `check_socket_info`."""
    return int(evidence.recording.sysctls.get("net.ipv4.tcp_sack") == "0")


def in_force(events: np.ndarray, own: Places, delivered: int, *, exactly: bool) -> Places:
    """Return those of a socket's events ``own`` after which TCP_INFO may have been read with ``delivered`` segments.

    ``exactly`` for probes that miss samples: segments delivered after an event may have given an unreported sample.
    """
    held = events["delivered"][own].astype(np.int64)
    if not exactly:
        past = held[held <= delivered]
        # The events after which nothing more was delivered until then.
        delivered = int(past[-1]) if len(past) else NOT_DELIVERED
    here: Places = own[held == delivered]
    return here


def _reported(info: Mapping[str, Any], *, timeout: bool) -> dict[str, int | None]:
    keys = ["rtt_us", "rttvar_us", "min_rtt_us"]
    # A timeout doubles icsk_rto without a call that the probe sees; it also retransmits.
    if timeout and info.get("total_retrans") == 0 and info.get("backoff") == 0:
        keys.append("rto_us")
    return {key: info[key] for key in keys if key in info}


def _held(state: np.void, keys: Mapping[str, int | None]) -> dict[str, int | None]:
    least = int(state["min_rtt"]["v"][0])
    held = {
        "rtt_us": int(state["srtt_us"]) >> 3,
        "rttvar_us": int(state["mdev_us"]) >> 2,
        "min_rtt_us": None if least == NOTHING_US else least,
        "rto_us": int(us_of_jiffies(int(state["rto_jiffies"]), int(state["hz"]) or 1)),
    }
    return {key: held[key] for key in keys}
