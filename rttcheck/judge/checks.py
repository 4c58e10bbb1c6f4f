"""The list of all checks; each check is declared beside its code."""

from __future__ import annotations

from typing import Final

from rttcheck.judge import coverage, kernel
from rttcheck.judge.arithmetic import check as arithmetic
from rttcheck.judge.arithmetic import minimum_check, socket_info
from rttcheck.judge.check import Check
from rttcheck.judge.eligibility import check as eligibility
from rttcheck.judge.link import account_check, counts, delays, late, pace
from rttcheck.judge.link import check as link
from rttcheck.judge.nominal import check as nominal
from rttcheck.judge.observer import agreement, consistency, second_probe
from rttcheck.judge.sample import cause_check, overhead_check, stamp_check, wire_check

CHECKS: Final[tuple[Check, ...]] = (
    kernel.QUIET,
    coverage.SETTINGS,
    coverage.STEPS,
    pace.PACE,
    link.NEVER_EARLY,
    late.NEVER_LATE,
    late.TIMERS,
    delays.MEAN,
    delays.SCATTER,
    delays.DISTRIBUTION,
    delays.STEADY,
    link.SEED,
    counts.LOSS,
    counts.DUPLICATES,
    counts.REORDERED,
    counts.ORDER,
    link.RELAY_EARLY,
    account_check.RELAY_ACCOUNT,
    coverage.EVERY_SIDE,
    eligibility.TAKEN_WHEN_DUE,
    eligibility.NONE_UNDUE,
    eligibility.ORIGIN,
    eligibility.KARN,
    wire_check.WHOLE,
    wire_check.PAIRED,
    wire_check.NOT_BELOW,
    stamp_check.STAMPED,
    stamp_check.ONE_SEGMENT,
    cause_check.CAUSED,
    overhead_check.LEAD,
    overhead_check.LAG,
    arithmetic.SRTT,
    arithmetic.RTO,
    minimum_check.MIN_RTT,
    socket_info.TCP_INFO,
    coverage.EVENTS_LOST,
    consistency.POSSIBLE,
    consistency.USED,
    consistency.STATE,
    consistency.UNSEEN,
    agreement.FIRST_AND_LAST,
    *agreement.HISTOGRAMS.values(),
    second_probe.SAME_SAMPLES,
    second_probe.SAME_VALUES,
    second_probe.SAME_STATE,
    nominal.DATA_NOT_BELOW,
    nominal.SYN_FIN_NOT_BELOW,
    nominal.ANALYZER,
    nominal.NOT_ABOVE,
    nominal.BUCKET,
)
"""In the order of `Layer`, from the wire to the reader."""

BY_ID: Final = {check.id: check for check in CHECKS}
