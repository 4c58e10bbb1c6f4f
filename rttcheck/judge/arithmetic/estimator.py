"""``tcp_rtt_estimator()`` recomputed in integers, one step per sample, on whole arrays.

Formulas that a faulty kernel might use instead are values of `Formula` too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.steps import Steps, blocks

Integers = npt.NDArray[np.int64]

_U32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """The estimator's state, one row per event; each column is the kernel's field of that name."""

    srtt_us: Integers
    """Eight times the smoothed round trip; 0 before the first sample."""
    mdev_us: Integers
    """Four times the mean deviation."""
    mdev_max_us: Integers
    """The largest ``mdev_us`` of this round trip."""
    rttvar_us: Integers
    rtt_seq: Integers
    """The round trip ends when ``snd_una`` goes beyond it."""

    @classmethod
    def of(cls, events: np.ndarray) -> State:
        """Return the state after each event."""
        return cls(**{name: events[name].astype(np.int64) for name in FIELDS})

    def row(self, index: int) -> dict[str, int]:
        """Return one event's state, for a message."""
        return {name: int(getattr(self, name)[index]) for name in FIELDS}

    def at(self, where: npt.NDArray[np.intp] | slice) -> State:
        """Return the rows ``where``."""
        return State(**{name: getattr(self, name)[where] for name in FIELDS})

    def before(self, steps: Steps) -> State:
        """Return the state before each event: that of the socket's previous event, without srtt before its first.

        Rows of which nothing is known before (not `Steps.known`) hold no meaning.
        """
        found = self.at(np.maximum(steps.previous, 0))
        found.srtt_us[steps.opening] = 0
        return found

    def differs(self, other: State) -> npt.NDArray[np.bool_]:
        """Return in which rows any field differs."""
        different: npt.NDArray[np.bool_] = self.srtt_us != other.srtt_us
        for name in FIELDS[1:]:
            different |= getattr(self, name) != getattr(other, name)
        return different


FIELDS: tuple[str, ...] = tuple(field.name for field in fields(State))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """The input of a call, one row per event."""

    us: Integers
    snd_una: Integers
    """After the ACK: ``tcp_ack()`` moves it before it takes the sample."""
    snd_nxt: Integers
    """Constant during the call, in which nothing is sent."""

    @classmethod
    def of(cls, events: np.ndarray) -> Sample:
        """Return the sample that each event reports as the estimator's input."""
        return cls(
            us=events["sample_us"].astype(np.int64),
            snd_una=events["snd_una"].astype(np.int64),
            snd_nxt=events["snd_nxt"].astype(np.int64),
        )

    def at(self, where: npt.NDArray[np.intp] | slice) -> Sample:
        """Return the rows ``where``."""
        return Sample(us=self.us[where], snd_una=self.snd_una[where], snd_nxt=self.snd_nxt[where])


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """The constants of the estimator; kernels and faults differ in these values only."""

    srtt_gain: int = 3
    """A sample weighs 1 / 2**this in srtt."""
    mdev_gain: int = 2
    """A deviation weighs 1 / 2**this in mdev."""
    mdev_easing: int = 3
    """A deviation above the mean, from a sample below srtt, weighs another factor 1 / 2**this (alpha * beta)."""
    mdev_falls: bool = True
    rttvar_decay: int | None = 2
    """At the end of a round trip rttvar loses 1 / 2**this of its excess over the round trip's largest mdev."""
    grain_us: int = 1
    """A sample is rounded down to a multiple of this."""


FORMULAS: tuple[tuple[tuple[int, int], Formula], ...] = (((5, 10), Formula()),)
"""The formula from each kernel version on; 5.10 to 7.3 have the same."""


def formula_of(release: str) -> Formula:
    """Return the formula of a kernel by its ``uname -r``; the oldest one for older kernels or without a number."""
    numbers = release.split("-", 1)[0].split("+", 1)[0].split(".")[:2]
    version = tuple(int(number) for number in numbers if number.isdecimal())
    known = [formula for since, formula in FORMULAS if since <= version]
    return known[-1] if known else FORMULAS[0][1]


def faults(formula: Formula) -> tuple[tuple[str, Formula], ...]:
    """Return wrong formulas with a description of each fault; ``formula`` is the right one."""
    return (
        ("the kernel cut the samples to whole milliseconds", replace(formula, grain_us=1_000)),
        ("the gain of srtt is 1/4, expected 1/8", replace(formula, srtt_gain=2)),
        ("the gain of srtt is 1/16, expected 1/8", replace(formula, srtt_gain=4)),
        ("a larger deviation below srtt weighs 1/4 in mdev, expected 1/8 (err >> 2)", replace(formula, mdev_easing=2)),
        ("a larger deviation below srtt weighs 1 in mdev, expected 1/8", replace(formula, mdev_easing=0)),
        ("the gain of mdev is 1/8, expected 1/4", replace(formula, mdev_gain=3)),
        ("the gain of mdev is 1/2, expected 1/4", replace(formula, mdev_gain=1)),
        ("mdev only grows: it does not decay with small deviations", replace(formula, mdev_falls=False)),
        ("rttvar does not decay at the end of a round trip", replace(formula, rttvar_decay=None)),
        ("rttvar decays by 1/2, expected 1/4", replace(formula, rttvar_decay=1)),
    )


def after_sample(before: State, sample: Sample, least_us: Integers, formula: Formula) -> State:
    """Return the state after one sample per row; ``least_us`` is the smallest timeout, ``tcp_rto_min_us()``.

    Source: ``tcp_rtt_estimator()`` of net/ipv4/tcp_input.c, 5.10 to 7.3; it differs from RFC 6298 section 2.
    """
    parts = [
        _after_sample(before.at(rows), sample.at(rows), least_us[rows], formula) for rows in blocks(len(sample.us))
    ]
    return State(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS})


def _after_sample(before: State, sample: Sample, least_us: Integers, formula: Formula) -> State:
    took_us = sample.us - sample.us % formula.grain_us if formula.grain_us > 1 else sample.us
    error = took_us - (before.srtt_us >> 3)
    srtt = before.srtt_us + _scaled(error, 3 - formula.srtt_gain)
    change = np.abs(error) - (before.mdev_us >> 2)
    eased = (error < 0) & (change > 0)
    change = np.where(eased, change >> formula.mdev_easing, change)
    # mdev is kept times four and srtt times eight: with the kernel's gains of 1/4 and 1/8 scale and gain cancel.
    change = _scaled(change, 2 - formula.mdev_gain)
    if not formula.mdev_falls:
        change = np.maximum(change, 0)
    mdev = (before.mdev_us + change) & _U32
    larger = mdev > before.mdev_max_us
    mdev_max = np.where(larger, mdev, before.mdev_max_us)
    rttvar = np.where(larger, np.maximum(mdev_max, before.rttvar_us), before.rttvar_us)
    ended = is_after(sample.snd_una, before.rtt_seq)
    if formula.rttvar_decay is not None:
        excess = np.maximum(rttvar - mdev_max, 0) >> formula.rttvar_decay
        rttvar = np.where(ended, rttvar - excess, rttvar)
    mdev_max = np.where(ended, least_us, mdev_max)
    first = before.srtt_us == 0
    first_mdev = (took_us << 1) & _U32
    first_rttvar = np.maximum(first_mdev, least_us)
    return State(
        srtt_us=np.maximum(np.where(first, took_us << 3, srtt) & _U32, 1),
        mdev_us=np.where(first, first_mdev, mdev),
        mdev_max_us=np.where(first, first_rttvar, mdev_max),
        rttvar_us=np.where(first, first_rttvar, rttvar),
        rtt_seq=np.where(first | ended, sample.snd_nxt, before.rtt_seq),
    )


def is_after(one: Integers, other: Integers) -> npt.NDArray[np.bool_]:
    """Return where a sequence number lies after the other, modulo 2**32 (``after()``; RFC 9293 section 3.4)."""
    later: npt.NDArray[np.bool_] = ((other - one) & _U32) > 0x7FFF_FFFF
    return later


def _scaled(values: Integers, shift: int) -> Integers:
    """Shift left, or right where ``shift`` is negative."""
    return values << shift if shift >= 0 else values >> -shift
