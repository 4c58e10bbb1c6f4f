"""Check that samples were taken when expected, only then, and from the expected source: by the packets, exactly.

`expectations_of` finds which samples are expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from rttcheck.judge.check import CALLS, Check, Quality
from rttcheck.judge.eligibility.part import ANY_VALUE, Part
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.pairing.ends import Booleans
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import UNKNOWN_SOCKET, Integers

TAKEN_WHEN_DUE: Final = Check(
    id="eligibility.taken-when-due",
    layer=Layer.ELIGIBILITY,
    title="every expected sample is taken",
    asserts="Each ACK that acknowledges or SACKs new data that was sent once gives a sample.",
    against="the sender's retransmit queue, replayed from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=CALLS,
    quality=Quality.END_CAPTURES,
)
NONE_UNDUE: Final = Check(
    id="eligibility.none-undue",
    layer=Layer.ELIGIBILITY,
    title="no unexpected sample is taken",
    asserts="An ACK that acknowledges and SACKs nothing new gives no sample.",
    against="the sender's retransmit queue, replayed from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=CALLS,
    quality=Quality.END_CAPTURES,
)
ORIGIN: Final = Check(
    id="eligibility.origin",
    layer=Layer.ELIGIBILITY,
    title="each sample has the expected source",
    asserts="Each sample is from the first-acked segment, else the first SACKed one, else the echoed timestamp.",
    against="the sender's retransmit queue, replayed from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=CALLS,
    quality=Quality.END_CAPTURES,
)
KARN: Final = Check(
    id="eligibility.karn",
    layer=Layer.ELIGIBILITY,
    title="retransmitted segments give no sample",
    asserts="No retransmitted segment gives a time (Karn's rule: RFC 6298, section 3).",
    against="the sender's retransmit queue, replayed from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=CALLS,
    quality=Quality.END_CAPTURES,
)

_SEGMENT: Final = Part.FIRST | Part.SACK


def check_eligibility(evidence: Evidence) -> tuple[Finding, ...]:
    """Return four findings, in no order; none where nothing was captured."""
    if evidence.expectations is None:
        return ()
    checks = _Checks(evidence, evidence.expectations)
    return checks.taken_when_due(), checks.none_undue(), checks.origin(), checks.karn()


@dataclass(slots=True)
class _Checks:
    """The checks of one run; each difference fails one of them only."""

    evidence: Evidence
    rows: np.ndarray

    def taken_when_due(self) -> Finding:
        """Find expected samples that were not taken."""
        expected = self._expected
        missing = expected & (self.rows["reported"] & Part.TAKEN == 0)
        return self._finding(
            TAKEN_WHEN_DUE,
            expected,
            missing,
            "expected samples were not taken",
            "a sample for each ACK that acknowledges or SACKs new data (tcp_ack_update_rtt())",
        )

    def none_undue(self) -> Finding:
        """Find reported values where none is expected."""
        reporting = self.rows["reported"] & ANY_VALUE != 0
        unexpected = reporting & (self.rows["expected"] == 0) & ~self._from_retransmitted
        return self._finding(
            NONE_UNDUE,
            reporting,
            unexpected,
            "events report values that no ACK gives",
            "no value where no new data is acknowledged or SACKed (tcp_clean_rtx_queue())",
        )

    def origin(self) -> Finding:
        """Find expected and taken samples with another source than expected."""
        both = self._expected & (self.rows["reported"] & Part.TAKEN != 0)
        other = both & (self.rows["expected"] != self.rows["reported"]) & ~self._from_retransmitted
        return self._finding(
            ORIGIN,
            both,
            other,
            "samples have another source than expected",
            "the first-acked segment, else the first SACKed one, else the echoed timestamp (tcp_ack_update_rtt())",
        )

    def karn(self) -> Finding:
        """Find values that Karn's rule forbids."""
        return self._finding(
            KARN,
            self.rows["karn"] != 0,
            self._from_retransmitted,
            "ACKs of retransmitted segments gave a time for them",
            "no time from a retransmitted segment (Karn's rule: RFC 6298, section 3)",
        )

    @property
    def _expected(self) -> Booleans:
        expected: Booleans = self.rows["expected"] & Part.TAKEN != 0
        return expected

    @property
    def _from_retransmitted(self) -> Booleans:
        again: Booleans = self.rows["reported"] & self.rows["karn"] != 0
        return again

    def _finding(self, check: Check, looked_at: Booleans, bad: Booleans, wrong: str, expected: str) -> Finding:
        total, count = int(looked_at.sum()), int(bad.sum())
        seen = f"{total - count} of {total}"
        outcome, message = Outcome.PASSED, f"{total} checked: {check.title}"
        if not len(self.rows):
            outcome, message = Outcome.INCONCLUSIVE, "no captured ACK gives a sample"
        if count:
            first = self.rows[bad][np.argmin(self._times_ns(self.rows[bad]))]
            message = f"{count} of {total} {wrong}, the first is {self._described(first)}"
            outcome = Outcome.FAILED
        return check.finding(outcome, message, expected, seen, total)

    def _times_ns(self, rows: np.ndarray) -> Integers:
        """Return when each row's ACK came in or, without an ACK, when its event was reported, CLOCK_MONOTONIC ns."""
        times: Integers = self.evidence.events["timestamp_ns"][rows["event"]].astype(np.int64)
        acked = rows["ack"] != NONE
        times[acked] = self.evidence.sent["time_ns"][rows["ack"][acked]]
        return times

    def _described(self, row: np.void) -> str:
        wire, events = self.evidence.sent, self.evidence.events
        ms = (int(self._times_ns(row.reshape(1))[0]) - int(wire["time_ns"].min(initial=2**62))) / 1e6
        socket = int(row["socket"])
        side = "client" if socket % 2 == 0 else "server"
        where = (
            f"the {side} of connection {socket // 2}"
            if socket != UNKNOWN_SOCKET
            else "a socket without captured packets"
        )
        if row["ack"] == NONE:
            event = events[row["event"]]
            return (
                f"event {int(row['event'])} of {where} at {ms:.3f} ms with snd_una {int(event['snd_una'])}, "
                f"{_reported(event, int(row['reported']))}: no ACK came in that may have caused it"
            )
        expected, karn = int(row["expected"]), int(row["karn"])
        text = f"ACK {int(wire['ack'][row['ack']])} to {where} at {ms:.3f} ms: {_reason(expected, karn)}; "
        if row["event"] == NONE:
            return text + "no event reports it"
        return text + f"event {int(row['event'])} reports {_reported(events[row['event']], int(row['reported']))}"


def _reason(expected: int, karn: int) -> str:
    """Describe the expected source, and why."""
    if expected & Part.FIRST and expected & Part.HANDSHAKE:
        return "it ends a handshake whose SYN or SYN-ACK was sent once: expected is the time since then"
    if expected & Part.FIRST:
        return "it acknowledges a segment sent once and not SACKed before: expected is the time since then"
    if expected & Part.SACK:
        return "it is the first to SACK a segment sent once (RFC 2018): expected is the time since then"
    if expected:
        what = "retransmitted" if karn else "SACKed before"
        return f"all data that it acknowledges was {what}: expected is the echoed timestamp (RFC 7323, section 4)"
    if karn:
        return "the data that it acknowledges or SACKs was retransmitted: no sample is expected"
    return "it acknowledges and SACKs nothing new: no sample is expected"


def _reported(event: np.void, reported: int) -> str:
    """Describe the values of an event."""
    if not reported & ANY_VALUE:
        return "no value"
    values = [
        f"{label} {int(event[name])} us"
        for part, label, name in (
            (Part.FIRST, "first-acked", "first_rtt_us"),
            (Part.SACK, "SACK", "sack_rtt_us"),
            (Part.LAST, "last-acked", "last_rtt_us"),
        )
        if reported & part
    ]
    if reported & Part.TAKEN and not reported & _SEGMENT:
        values.append(f"{int(event['sample_us'])} us from the echoed timestamp")
    if not reported & Part.TAKEN:
        values.append("no sample taken")
    if reported & Part.HANDSHAKE:
        values.append("handshake")
    return ", ".join(values)
