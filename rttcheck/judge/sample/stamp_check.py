"""Check that each sample is the ACK's time minus its segment's stamp, to the microsecond: exact, without tolerance.

``__tcp_transmit_skb()`` writes one time into the segment that TCP keeps and into the packet that it sends
(``skb_mstamp_ns``). When the ACK comes, ``tcp_mstamp_refresh()`` reads the clock into ``tcp_mstamp``, and a sample is
their difference, each rounded down to microseconds (``tcp_stamp_us_delta()``, ``tcp_skb_timestamp_us()``), at least 0.
A sample from timestamps is their difference, each rounded down to milliseconds, and at least one
(``tcp_rtt_tsopt_us()``). All of this is the same from 5.10 to 7.3.

A passive handshake reads the clock again and does not keep the value (``tcp_synack_rtt_meas()``): it is between the
ACK's arrival and the probe's own time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.judge.check import VALUES, Check, Needs, Quality
from rttcheck.judge.findings import NOT_RUN, Finding, Layer, Outcome
from rttcheck.judge.observation import Observation
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.stamps import UNKNOWN
from rttcheck.judge.pairing.transit import Places
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, MILLISECOND_NS, Booleans, Integers, TimedValues
from rttcheck.record.event import FLAG_SYN_ACKED, Hook, Owned
from rttcheck.record.packet import ACK, SYN

STAMPED: Final = Check(
    id="sample.exact",
    layer=Layer.SAMPLE,
    title="samples are the ACK's time minus their segment's stamp",
    asserts=("Each sample is the time of its ACK (tcp_mstamp) minus the stamp that its segment carried when it left."),
    against="the stamp read from the leaving packet, and the kernel's own clock at the ACK",
    tolerance="none: both are rounded down to microseconds, to milliseconds for samples from timestamps",
    needs=VALUES,
    quality=Quality.PACKETS_AND_EVENTS,
)
ONE_SEGMENT: Final = Check(
    id="sample.one-segment",
    layer=Layer.SAMPLE,
    title="first-acked and last-acked time of one segment are equal",
    asserts="An ACK of exactly one segment gives equal first-acked and last-acked times.",
    against="each other: it is the same segment",
    tolerance="none",
    needs=Needs(all_of=("first_rtt_us", "last_rtt_us")),
    quality=Quality.PACKETS_AND_EVENTS,
)

_REACH: Final = 1 << 31
"""Sequence numbers that are less than this apart are in order (RFC 9293, section 3.4)."""

_WRAP: Final = 1 << 32

_EXPECTED = "tcp_mstamp minus the stamp that the segment carried when it left, both rounded down to microseconds: exact"


def check_stamps(observation: Observation) -> tuple[Finding, ...]:
    """Compare every value of a run with its stamp, and both values of each ACK of one segment."""
    return (_stamped(observation), _one_segment(observation))


def _stamped(observation: Observation) -> Finding:
    columns = (*observation.wire_times.exact, observation.wire_times.coarse)
    total = sum(len(timed.event) for timed in columns)
    excess_us, unknown, bad = [], 0, []
    for timed in columns:
        stamp_ns, known = observation.stamps_of(timed)
        unknown += int((~known).sum())
        excess = np.where(known, _excess_us(observation, timed, stamp_ns), 0)
        excess[coalesced(observation, timed, np.flatnonzero(excess))] = 0
        excess_us.append(excess[known])
        if excess.any():
            bad.append((timed, excess, stamp_ns))
    compared = total - unknown
    seen = f"{compared} of {total} values, {sum(int((one == 0).sum()) for one in excess_us)} of them exact"
    if not observation.stamped:
        message = f"{NOT_RUN}the recording has no stamps of packets"
        return STAMPED.finding(Outcome.INCONCLUSIVE, message, _EXPECTED, "nothing", 0, blind=True)
    if bad:
        counts = ", ".join(f"{int((each != 0).sum())} of {len(each)} values of {one.name}" for one, each, _ in bad)
        timed, excess, stamp_ns = bad[0]
        at = int(np.abs(excess).argmax())
        middle = float(np.median(excess[excess != 0]))
        message = (
            f"{observation.where}{counts} differ from the kernel's own clock minus the stamp on the packet, the "
            f"worst {timed.render(at)}: the stamp gives {int(timed.value_us[at] - excess[at])} us, the "
            f"kernel is {_by(int(excess[at]))}; the median is {_by(middle)}"
        )
        return STAMPED.finding(Outcome.FAILED, message, _EXPECTED, seen, compared)
    if 2 * compared < total or not total:
        message = f"{observation.where}{unknown} of {total} values have no recorded stamp"
        return STAMPED.finding(Outcome.INCONCLUSIVE, message, _EXPECTED, seen, compared)
    return STAMPED.finding(Outcome.PASSED, f"{observation.where}{seen}", _EXPECTED, seen, compared)


def _by(excess_us: float) -> str:
    return f"{abs(excess_us):.0f} us {'above' if excess_us > 0 else 'below'} it"


def _excess_us(observation: Observation, timed: TimedValues, stamp_ns: Integers) -> Integers:
    """Return how far each value is above (negative: below) the range that clock and stamps allow, microseconds."""
    events = observation.events
    kept_us = events["tcp_mstamp_us"][timed.event].astype(np.int64)
    called_us = events["timestamp_ns"][timed.event].astype(np.int64) // MICROSECOND_NS
    passive = (kept_us == 0) | _answers_syn(observation, timed)
    first_us = np.where(passive, timed.arrived_ns // MICROSECOND_NS, kept_us)
    last_us = np.where(passive, called_us, kept_us)
    if timed.grain_ns == MILLISECOND_NS:
        low, high = (
            np.maximum(now_us // 1_000 - stamp_ns // MILLISECOND_NS, 1) * 1_000 for now_us in (first_us, last_us)
        )
    else:
        low, high = (np.maximum(now_us - stamp_ns // MICROSECOND_NS, 0) for now_us in (first_us, last_us))
    excess: Integers = np.where(timed.value_us < low, timed.value_us - low, np.maximum(timed.value_us - high, 0))
    return excess


def coalesced(observation: Observation, timed: TimedValues, rows: Places) -> Places:
    """Return which ``rows`` are exact for another segment that the same call acknowledged.

    ACKs that wait in the backlog for the thread that owns the socket are merged (``tcp_add_backlog()``): the first
    segment that the call acknowledges may be an earlier one. A probe that sees each call shows where the previous call
    ended. ``sockops`` does not: there any segment since the last event is accepted.
    """
    events, wire = observation.events, observation.wire
    if not len(rows):
        return rows
    chosen = rows[
        (events["hook"][timed.event[rows]] == Hook.SOCKOPS) & (events["owned"][timed.event[rows]] == Owned.YES)
    ]
    left = np.flatnonzero((wire["outgoing"] != 0) & (wire["payload"] > 0) & (observation.stamp_ns != UNKNOWN))
    found = []
    for row in chosen.tolist():
        event = events[timed.event[row]]
        mine = left[(wire["point"][left] == timed.point[row]) & (wire["sport"][left] == event["sport"])]
        mine = mine[wire["dport"][mine] == event["dport"]]
        before = events[: timed.event[row]]
        before = before[(before["sk"] == event["sk"]) & (before["generation"] == event["generation"])]
        una, begin = int(event["snd_una"]), wire["seq"][mine].astype(np.int64)
        since = int(before["snd_una"][-1]) if len(before) else una - _REACH
        acked = (una - begin - wire["payload"][mine].astype(np.int64)) % _WRAP < _REACH
        fresh = (begin - since) % _WRAP < _REACH
        stamp_us = observation.stamp_ns[mine[acked & fresh]] // MICROSECOND_NS
        if (int(event["tcp_mstamp_us"]) - stamp_us == timed.value_us[row]).any():
            found.append(row)
    return np.array(found, dtype=np.intp)


def _answers_syn(observation: Observation, timed: TimedValues) -> Booleans:
    """Return which values are samples of a SYN-ACK."""
    opening = (observation.events["flag"][timed.event] & FLAG_SYN_ACKED) != 0
    answers: Booleans = opening & ((observation.wire["flags"][timed.segment] & (SYN | ACK)) == (SYN | ACK))
    return answers


def _one_segment(observation: Observation) -> Finding:
    """Compare both values of each ACK of one segment that was never retransmitted: they are that segment's.

    Source: ``tcp_clean_rtx_queue()``: ``first_ackt`` and ``last_ackt`` are the same segment's stamp.
    """
    events, pairs = observation.events, observation.wire_times.pairs
    alike = (pairs.first != NONE) & (pairs.first == pairs.last)
    alike &= (events["first_rtt_us"] >= 0) & (events["last_rtt_us"] >= 0) & (events["sack_rtt_us"] < 0)
    apart = alike & (events["first_rtt_us"] != events["last_rtt_us"])
    total = int(alike.sum())
    expected = "equal times, as there is one segment"
    seen = f"{int(apart.sum())} of {total} ACKs of one segment have two times"
    if not apart.any():
        return ONE_SEGMENT.finding(Outcome.PASSED, f"{total} ACKs of one segment", expected, seen, total)
    at = int(np.flatnonzero(apart)[0])
    message = (
        f"{observation.where}{seen}, the first is event {at}: {int(events['first_rtt_us'][at])} us first-acked and "
        f"{int(events['last_rtt_us'][at])} us last-acked, of the same segment"
    )
    return ONE_SEGMENT.finding(Outcome.FAILED, message, expected, seen, total)
