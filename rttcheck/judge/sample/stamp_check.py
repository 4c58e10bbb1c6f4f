"""Is each sample the ACK's time less its segment's stamp, to the microsecond.

It owns the exact comparison of samples with the stamps that their segments carried. No run, no tolerance and no other
measurement has a part in it.

``__tcp_transmit_skb()`` writes one time into the segment that TCP keeps and into the packet that it sends
(``skb_mstamp_ns``). When the ACK comes, ``tcp_mstamp_refresh()`` reads the clock into ``tcp_mstamp``, and a sample is
the difference of both, each cut to microseconds (``tcp_stamp_us_delta()``, ``tcp_skb_timestamp_us()``), never below 0.
A sample from timestamps is the difference of both, each cut to milliseconds, and at least one
(``tcp_rtt_tsopt_us()``). All of this is the same from 5.10 to 7.3.

A passive handshake reads the clock anew and does not keep it (``tcp_synack_rtt_meas()``): it lies between the ACK's
arrival and the probe's own time.
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
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, MILLISECOND_NS, Account, Booleans, Integers
from rttcheck.record.event import FLAG_SYN_ACKED, Hook, Owned
from rttcheck.record.packet import ACK, SYN

STAMPED: Final = Check(
    id="sample.exact",
    layer=Layer.SAMPLE,
    title="samples are the ACK's time less their segment's stamp",
    asserts=(
        "Each sample is the time of its ACK (tcp_mstamp) less the time stamp that its segment carried when it left."
    ),
    against="the stamp read off the leaving packet, and the kernel's own clock at the ACK",
    tolerance="none: both are cut to microseconds, to milliseconds for samples from timestamps",
    needs=VALUES,
    quality=Quality.PACKETS_AND_EVENTS,
)
ONE_SEGMENT: Final = Check(
    id="sample.one-segment",
    layer=Layer.SAMPLE,
    title="first-acked and last-acked of one segment are the same",
    asserts="An ACK of exactly one segment shows one time, first-acked and last-acked alike.",
    against="each other: it is the same segment",
    tolerance="none",
    needs=Needs(all_of=("first_rtt_us", "last_rtt_us")),
    quality=Quality.PACKETS_AND_EVENTS,
)

_REACH: Final = 1 << 31
"""Sequence numbers that are less than this apart are in order (RFC 9293, section 3.4)."""

_WRAP: Final = 1 << 32

_EXPECTED = "tcp_mstamp less the stamp that the segment carried when it left, both cut to microseconds: exact"


def check_stamps(observation: Observation) -> tuple[Finding, ...]:
    """Compare every value of a run with its stamp, and both values of each ACK of one segment."""
    return (_stamped(observation), _one_segment(observation))


def _stamped(observation: Observation) -> Finding:
    accounts = (*observation.wire_times.exact, observation.wire_times.coarse)
    total = sum(len(account.event) for account in accounts)
    excess_us, unknown, bad = [], 0, []
    for account in accounts:
        stamp_ns, known = observation.stamps_of(account)
        unknown += int((~known).sum())
        excess = np.where(known, _excess_us(observation, account, stamp_ns), 0)
        excess[coalesced(observation, account, np.flatnonzero(excess))] = 0
        excess_us.append(excess[known])
        if excess.any():
            bad.append((account, excess, stamp_ns))
    compared = total - unknown
    seen = f"{compared} of {total} values, {sum(int((one == 0).sum()) for one in excess_us)} of them exact"
    if not observation.stamped:
        message = f"{NOT_RUN}the recording has no stamps of packets"
        return STAMPED.finding(Outcome.INCONCLUSIVE, message, _EXPECTED, "nothing", 0, blind=True)
    if bad:
        counts = ", ".join(f"{int((each != 0).sum())} of {len(each)} values of {one.name}" for one, each, _ in bad)
        account, excess, stamp_ns = bad[0]
        at = int(np.abs(excess).argmax())
        middle = float(np.median(excess[excess != 0]))
        message = (
            f"{observation.where}{counts} are not what the kernel's own clock and the stamp on the packet say, the "
            f"worst {account.render(at)}: the stamp says {int(account.value_us[at] - excess[at])} us, so that the "
            f"kernel is {_by(int(excess[at]))}; the median of them is {_by(middle)}"
        )
        return STAMPED.finding(Outcome.FAILED, message, _EXPECTED, seen, compared)
    if 2 * compared < total or not total:
        message = f"{observation.where}{unknown} of {total} values have no stamp that was read"
        return STAMPED.finding(Outcome.INCONCLUSIVE, message, _EXPECTED, seen, compared)
    return STAMPED.finding(Outcome.PASSED, f"{observation.where}{seen}", _EXPECTED, seen, compared)


def _by(excess_us: float) -> str:
    return f"{abs(excess_us):.0f} us {'above' if excess_us > 0 else 'below'} it"


def _excess_us(observation: Observation, account: Account, stamp_ns: Integers) -> Integers:
    """Return how far each value lies above (or, negative, below) what clock and stamp allow, microseconds."""
    events = observation.events
    kept_us = events["tcp_mstamp_us"][account.event].astype(np.int64)
    called_us = events["timestamp_ns"][account.event].astype(np.int64) // MICROSECOND_NS
    passive = (kept_us == 0) | _answers_syn(observation, account)
    first_us = np.where(passive, account.arrived_ns // MICROSECOND_NS, kept_us)
    last_us = np.where(passive, called_us, kept_us)
    if account.grain_ns == MILLISECOND_NS:
        low, high = (
            np.maximum(now_us // 1_000 - stamp_ns // MILLISECOND_NS, 1) * 1_000 for now_us in (first_us, last_us)
        )
    else:
        low, high = (np.maximum(now_us - stamp_ns // MICROSECOND_NS, 0) for now_us in (first_us, last_us))
    excess: Integers = np.where(account.value_us < low, account.value_us - low, np.maximum(account.value_us - high, 0))
    return excess


def coalesced(observation: Observation, account: Account, rows: Places) -> Places:
    """Return which ``rows`` of the account are exact for another segment that the same call acknowledged.

    ACKs that wait in the backlog for the thread that owns the socket become one (``tcp_add_backlog()``), so that the
    first segment that the call acknowledges is one of those before. A probe that sees each call tells where the call
    before ended. ``sockops`` does not: there any segment since the last event counts.
    """
    events, wire = observation.events, observation.wire
    chosen = rows[
        (events["hook"][account.event[rows]] == Hook.SOCKOPS) & (events["owned"][account.event[rows]] == Owned.YES)
    ]
    left = np.flatnonzero((wire["outgoing"] != 0) & (wire["payload"] > 0) & (observation.stamp_ns != UNKNOWN))
    found = []
    for row in chosen.tolist():
        event = events[account.event[row]]
        mine = left[(wire["point"][left] == account.point[row]) & (wire["sport"][left] == event["sport"])]
        mine = mine[wire["dport"][mine] == event["dport"]]
        before = events[: account.event[row]]
        before = before[(before["sk"] == event["sk"]) & (before["generation"] == event["generation"])]
        una, begin = int(event["snd_una"]), wire["seq"][mine].astype(np.int64)
        since = int(before["snd_una"][-1]) if len(before) else una - _REACH
        acked = (una - begin - wire["payload"][mine].astype(np.int64)) % _WRAP < _REACH
        fresh = (begin - since) % _WRAP < _REACH
        stamp_us = observation.stamp_ns[mine[acked & fresh]] // MICROSECOND_NS
        if (int(event["tcp_mstamp_us"]) - stamp_us == account.value_us[row]).any():
            found.append(row)
    return np.array(found, dtype=np.intp)


def _answers_syn(observation: Observation, account: Account) -> Booleans:
    """Return which values are samples of a SYN-ACK."""
    opening = (observation.events["flag"][account.event] & FLAG_SYN_ACKED) != 0
    answers: Booleans = opening & ((observation.wire["flags"][account.segment] & (SYN | ACK)) == (SYN | ACK))
    return answers


def _one_segment(observation: Observation) -> Finding:
    """An ACK of one segment that was never sent again has one time: both values are that segment's.

    Source: ``tcp_clean_rtx_queue()``: ``first_ackt`` and ``last_ackt`` are the same segment's stamp.
    """
    events, pairs = observation.events, observation.wire_times.pairs
    alike = (pairs.first != NONE) & (pairs.first == pairs.last)
    alike &= (events["first_rtt_us"] >= 0) & (events["last_rtt_us"] >= 0) & (events["sack_rtt_us"] < 0)
    apart = alike & (events["first_rtt_us"] != events["last_rtt_us"])
    total = int(alike.sum())
    expected = "one time, as there is one segment"
    seen = f"{int(apart.sum())} of {total} ACKs of one segment show two times"
    if not apart.any():
        return ONE_SEGMENT.finding(Outcome.PASSED, f"{total} ACKs of one segment", expected, seen, total)
    at = int(np.flatnonzero(apart)[0])
    message = (
        f"{observation.where}{seen}, the first is event {at}: {int(events['first_rtt_us'][at])} us first-acked and "
        f"{int(events['last_rtt_us'][at])} us last-acked, of the same segment"
    )
    return ONE_SEGMENT.finding(Outcome.FAILED, message, expected, seen, total)
