"""Was a sample taken when, and only when, one was due, and from where it was due: by the wire alone, without tolerance.

It owns the findings and their words. What is due is `dues_of`'s; how long a sample ought to be it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from rttcheck.judge.check import Check, Needs, Quality
from rttcheck.judge.eligibility.part import VALUES, Part
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.pairing.ends import Booleans
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import NOBODY, Integers

_EVERY: Final = Needs(every_sample=True, all_of=("flag", "first_rtt_us", "sack_rtt_us"))

GIVEN: Final = Check(
    id="eligibility.taken-when-due",
    layer=Layer.ELIGIBILITY,
    title="every ACK that is due a sample gives one",
    asserts="Every ACK that acknowledges or SACKs something new, sent once, gives a sample.",
    against="the sender's retransmit queue, redone from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=_EVERY,
    quality=Quality.END_CAPTURES,
)
DUE_ONLY: Final = Check(
    id="eligibility.none-undue",
    layer=Layer.ELIGIBILITY,
    title="no ACK gives a sample that is not due",
    asserts="No ACK that acknowledges and SACKs nothing new gives a sample.",
    against="the sender's retransmit queue, redone from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=_EVERY,
    quality=Quality.END_CAPTURES,
)
ORIGIN: Final = Check(
    id="eligibility.origin",
    layer=Layer.ELIGIBILITY,
    title="each sample comes from where it is due",
    asserts="Each sample is of the first-acked segment, else of the first SACKed one, else of the echoed timestamp.",
    against="the sender's retransmit queue, redone from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=_EVERY,
    quality=Quality.END_CAPTURES,
)
KARN: Final = Check(
    id="eligibility.karn",
    layer=Layer.ELIGIBILITY,
    title="nothing comes from segments that were sent again",
    asserts="No segment that was sent again gives a time (Karn's rule: RFC 6298, section 3).",
    against="the sender's retransmit queue, redone from the packets (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=_EVERY,
    quality=Quality.END_CAPTURES,
)

_ANY: Final = Part.FIRST | Part.SACK


def check_eligibility(evidence: Evidence) -> tuple[Finding, ...]:
    """Four findings, in no order; none where nothing was captured."""
    if evidence.dues is None:
        return ()
    checks = _Checks(evidence, evidence.dues)
    return checks.given(), checks.due_only(), checks.origin(), checks.karn()


@dataclass(slots=True)
class _Checks:
    """The checks of one run; a difference belongs to one of them only."""

    evidence: Evidence
    rows: np.ndarray

    def given(self) -> Finding:
        """Due, and no sample was taken."""
        due = self._expected
        missing = due & (self.rows["reported"] & Part.TAKEN == 0)
        return self._finding(
            GIVEN,
            due,
            missing,
            "ACKs that owe a sample gave none",
            "a sample for each ACK that acknowledges or SACKs something new (tcp_ack_update_rtt())",
        )

    def due_only(self) -> Finding:
        """Taken, and none was due."""
        spoken = self.rows["reported"] & VALUES != 0
        invented = spoken & (self.rows["expected"] == 0) & ~self._from_again
        return self._finding(
            DUE_ONLY,
            spoken,
            invented,
            "events report what no ACK expects",
            "no value where nothing new is acknowledged or SACKed (tcp_clean_rtx_queue())",
        )

    def origin(self) -> Finding:
        """Due and taken, but not from where it was due."""
        both = self._expected & (self.rows["reported"] & Part.TAKEN != 0)
        other = both & (self.rows["expected"] != self.rows["reported"]) & ~self._from_again
        return self._finding(
            ORIGIN,
            both,
            other,
            "samples come from elsewhere than is due",
            "the first-acked segment, else the first SACKed one, else the echoed timestamp (tcp_ack_update_rtt())",
        )

    def karn(self) -> Finding:
        """A value where Karn's rule forbids it."""
        return self._finding(
            KARN,
            self.rows["karn"] != 0,
            self._from_again,
            "ACKs of segments that were sent again gave a time for them",
            "no time from a segment that was sent again (Karn's rule: RFC 6298, section 3)",
        )

    @property
    def _expected(self) -> Booleans:
        expected: Booleans = self.rows["expected"] & Part.TAKEN != 0
        return expected

    @property
    def _from_again(self) -> Booleans:
        again: Booleans = self.rows["reported"] & self.rows["karn"] != 0
        return again

    def _finding(self, check: Check, looked_at: Booleans, bad: Booleans, wrong: str, expected: str) -> Finding:
        total, count = int(looked_at.sum()), int(bad.sum())
        seen = f"{total - count} of {total}"
        outcome, message = Outcome.PASSED, f"{total} looked at, {check.title}"
        if not len(self.rows):
            outcome, message = Outcome.INCONCLUSIVE, "no ACK on the wire is due a sample"
        if count:
            first = self.rows[bad][np.argmin(self._times_ns(self.rows[bad]))]
            message = f"{count} of {total} {wrong}, the first is {self._described(first)}"
            outcome = Outcome.FAILED
        return check.finding(outcome, message, expected, seen, total)

    def _times_ns(self, rows: np.ndarray) -> Integers:
        """When each came in or, without an ACK, was reported."""
        times: Integers = self.evidence.events["timestamp_ns"][rows["event"]].astype(np.int64)
        acked = rows["ack"] != NONE
        times[acked] = self.evidence.recording.wire["time_ns"][rows["ack"][acked]]
        return times

    def _described(self, row: np.void) -> str:
        wire, events = self.evidence.recording.wire, self.evidence.events
        ms = (int(self._times_ns(row.reshape(1))[0]) - int(wire["time_ns"].min(initial=2**62))) / 1e6
        socket = int(row["socket"])
        side = "client" if socket % 2 == 0 else "server"
        where = (
            f"the {side} of connection {socket // 2}" if socket != NOBODY else "a socket that the wire does not show"
        )
        if row["ack"] == NONE:
            event = events[row["event"]]
            return (
                f"event {int(row['event'])} of {where} at {ms:.3f} ms with snd_una {int(event['snd_una'])}, "
                f"{_reported(event, int(row['reported']))}: no ACK came in that it could be of"
            )
        expected, karn = int(row["expected"]), int(row["karn"])
        text = f"ACK {int(wire['ack'][row['ack']])} to {where} at {ms:.3f} ms: {_reason(expected, karn)}; "
        if row["event"] == NONE:
            return text + "no event is of it"
        return text + f"event {int(row['event'])} says {_reported(events[row['event']], int(row['reported']))}"


def _reason(expected: int, karn: int) -> str:
    """What is due and why."""
    if expected & Part.FIRST and expected & Part.HANDSHAKE:
        return "it ends a handshake whose SYN or SYN-ACK was sent once, so that the time since then is due"
    if expected & Part.FIRST:
        return "it acknowledges a segment sent once and not SACKed before, so that the time since then is due"
    if expected & Part.SACK:
        return "it is the first to SACK a segment sent once (RFC 2018), so that the time since then is due"
    if expected:
        what = "sent again" if karn else "SACKed before"
        return f"all it acknowledges was {what}, so that the timestamp it echoes is due (RFC 7323, section 4)"
    if karn:
        return "what it acknowledges or SACKs was sent again, so that nothing is due"
    return "it acknowledges and SACKs nothing new, so that nothing is due"


def _reported(event: np.void, reported: int) -> str:
    """What an event says."""
    if not reported & VALUES:
        return "there is none"
    values = [
        f"{word} {int(event[name])} us"
        for part, word, name in (
            (Part.FIRST, "first-acked", "first_rtt_us"),
            (Part.SACK, "SACK", "sack_rtt_us"),
            (Part.LAST, "last-acked", "last_rtt_us"),
        )
        if reported & part
    ]
    if reported & Part.TAKEN and not reported & _ANY:
        values.append(f"{int(event['sample_us'])} us from the echoed timestamp")
    if not reported & Part.TAKEN:
        values.append("nothing taken")
    if reported & Part.HANDSHAKE:
        values.append("handshake")
    return ", ".join(values)
