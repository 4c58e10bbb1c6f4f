"""Kernels whose samples are true and whose estimators, timeouts or TCP_INFO do not follow from them."""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.judge.arithmetic.estimator import Formula, Sample, State
from rttcheck.judge.arithmetic.rto import timeout_jiffies
from rttcheck.judge.arithmetic.windowed_minimum import NOTHING_US, Candidates, Feed, Rule
from rttcheck.judge.findings import Layer
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault
from tests.faults.kernel import Integers, Kernel, Rows


class _FedLast(Kernel):
    def fed(self, events: np.ndarray) -> Integers:
        return events["rs_rtt_us"].astype(np.int64)


class _MinimumFedFirst(Kernel):
    def fed_to_minimum(self, events: np.ndarray) -> Integers:
        return events["sample_us"].astype(np.int64)


class _Forgetful(Kernel):
    """Leaves the estimator alone where ``snd_una`` is a multiple of seven: in about one call of seven."""

    def smoothed(self, before: State, sample: Sample, least_us: Integers) -> State:
        due = super().smoothed(before, sample, least_us)
        ignored = (sample.snd_una % 7 == 0) & (before.srtt_us != 0)
        fields = {name: np.where(ignored, getattr(before, name), getattr(due, name)) for name in State.__slots__}
        return State(**fields)


class _SluggishMinimum(Kernel):
    """Takes no sample for the minimum that is less than a jiffy below it."""

    def minimum(self, before: Candidates, feed: Feed, now: Integers, window: Integers) -> Candidates:
        due = super().minimum(before, feed, now, window)
        least = before.us[:, 0]
        keep = ((least != NOTHING_US) & (feed.us < least) & (least - feed.us < 4_000))[:, None]
        return Candidates(t=np.where(keep, before.t, due.t), us=np.where(keep, before.us, due.us))


class _TimeoutCut(Kernel):
    def timeout(self, state: State, hz: Integers, most_jiffies: Integers) -> Integers:
        cut: Integers = ((state.srtt_us >> 3) + state.rttvar_us) * hz // 1_000_000
        return np.minimum(cut, most_jiffies)


class _TimeoutOfDeviation(Kernel):
    def timeout(self, state: State, hz: Integers, most_jiffies: Integers) -> Integers:
        return timeout_jiffies(state.srtt_us, state.mdev_us, hz, most_jiffies)


class _BackoffKept(Kernel):
    def backoff(self, rows: np.ndarray) -> Integers:
        return np.ones(len(rows), dtype=np.int64)


class _MovedWithoutSample(Kernel):
    def untaken(self, events: np.ndarray, rows: Rows) -> None:
        events["mdev_us"][rows] -= events["mdev_us"][rows] >> 2


class _InfoDoubled(Kernel):
    def info(self, state: np.void) -> dict[str, int | None]:
        shown = super().info(state)
        return {name: value * 2 if value and name != "rto_us" else value for name, value in shown.items()}


class _InfoOfRttvar(Kernel):
    def info(self, state: np.void) -> dict[str, int | None]:
        return {**super().info(state), "rttvar_us": int(state["rttvar_us"]) >> 2}


class _InfoInMilliseconds(Kernel):
    def info(self, state: np.void) -> dict[str, int | None]:
        return {**super().info(state), "min_rtt_us": int(state["min_rtt"]["v"][0]) // 1_000}


class _InfoInJiffies(Kernel):
    def info(self, state: np.void) -> dict[str, int | None]:
        return {**super().info(state), "rto_us": int(state["rto_jiffies"])}


def _fault(name: str, what: str, kernel: Kernel, *scenarios: str, says: str = "") -> Fault:
    def plant(recording: Recording) -> Recording:
        return kernel.relive(recording)

    return Fault(name=name, layer=Layer.ARITHMETIC, what=what, scenarios=scenarios, apply=plant, says=says)


FAULTS: Final = (
    _fault("wrong gain", "srtt gives a new sample 1/4 of the weight, not 1/8", Kernel(formula=Formula(srtt_gain=2)),
           "ping-pong", "loss", says="the gain of srtt is 1/4"),
    _fault("gain too small", "srtt gives a new sample 1/16 of the weight", Kernel(formula=Formula(srtt_gain=4)),
           "ping-pong", "jitter", says="the gain of srtt is 1/16"),
    _fault("milliseconds in the estimator", "the estimator cuts samples to milliseconds, what is shown is not cut",
           Kernel(formula=Formula(grain_us=1_000)), "ping-pong", "loss", says="whole milliseconds"),
    _fault("mdev never falls", "small deviations do not make mdev smaller", Kernel(formula=Formula(mdev_falls=False)),
           "ping-pong", "loss", says="mdev only grows"),
    _fault("mdev's gain doubled", "mdev gives a new deviation 1/2 of the weight", Kernel(formula=Formula(mdev_gain=1)),
           "ping-pong", "jitter", says="the gain of mdev is 1/2"),
    _fault("a fall of the round trip in full", "a larger deviation below srtt weighs as much as one above",
           Kernel(formula=Formula(mdev_easing=0)), "jitter", says="below srtt"),
    _fault("rttvar without decay", "rttvar stays when a round trip ends", Kernel(formula=Formula(rttvar_decay=None)),
           "edge", says="rttvar does not decay"),
    _fault("estimator fed the last", "the estimator is given ca_rtt_us and not seq_rtt_us", _FedLast(),
           "jitter", "loss", says="last-acked"),
    _fault("sample ignored by the estimator", "one call in seven leaves srtt as it was", _Forgetful(),
           "ping-pong", "loss", says="ignored the sample"),
    _fault("state moved without a sample", "calls without a sample let mdev decay", _MovedWithoutSample(),
           "jitter"),
    _fault("minimum never expiring", "the window of min_rtt has no end",
           Kernel(rule=Rule(ends=False)), "expiry", says="expire"),
    _fault("minimum that only falls", "min_rtt drops every sample above it", Kernel(rule=Rule(drops_higher=True)),
           "expiry", says="expire"),
    _fault("delayed ACKs in the minimum", "samples of ACKs that may be delayed are not kept out of min_rtt",
           Kernel(rule=Rule(drops_delayed=False)), "delayed", says="may have been delayed"),
    _fault("minimum fed the first", "min_rtt is given seq_rtt_us and not ca_rtt_us", _MinimumFedFirst(),
           "jitter", says="first-acked"),
    _fault("min_rtt above a sample", "min_rtt takes a lower sample only when it is a jiffy lower", _SluggishMinimum(),
           "ping-pong", "loss", says="min"),
    _fault("timeout cut to jiffies", "icsk_rto is cut to whole jiffies, not rounded up", _TimeoutCut(),
           "ping-pong", "loss", says="cut to jiffies"),
    _fault("timeout from mdev", "icsk_rto adds mdev to srtt and not rttvar", _TimeoutOfDeviation(),
           "ping-pong", "loss"),
    _fault("backoff kept", "a sample does not reset icsk_backoff", _BackoffKept(), "ping-pong", says="icsk_backoff"),
    _fault("TCP_INFO doubled", "tcp_get_info() shifts by one bit too few: rtt, rttvar and min_rtt are twice as much",
           _InfoDoubled(), "ping-pong", "loss", says="twice as much"),
    _fault("rttvar under another name", "TCP_INFO's rttvar shows rttvar_us and not mdev_us", _InfoOfRttvar(),
           "ping-pong", "loss", says="rttvar_us"),
    _fault("TCP_INFO's minimum in milliseconds", "TCP_INFO's min_rtt is divided by 1000", _InfoInMilliseconds(),
           "expiry", says="min_rtt_us"),
    _fault("TCP_INFO's timeout in jiffies", "TCP_INFO's rto is not converted to microseconds", _InfoInJiffies(),
           "ping-pong", says="rto_us"),
)  # fmt: skip
