"""Parse and format times with units: ``"20ms"``, ``"150us"``, ``timedelta(milliseconds=20)``."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

from rttcheck.errors import ScenarioError

_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000}

_TIME = re.compile(r"\s*([+-]?)(\d+(?:\.\d*)?|\.\d+)\s*([^\W\d_]*)\s*")


def parse_ns(value: object, *, what: str) -> int:
    """Return a time in whole nanoseconds; ``what`` is its keyword, for messages.

    Takes a string with a unit (ns, us, ms, s, min) or a timedelta. Raises ScenarioError for a number without a unit,
    for a negative time, for an unknown unit and for anything else that is not a time.
    """
    if isinstance(value, timedelta):
        microseconds = value // timedelta(microseconds=1)
        if microseconds < 0:
            raise ScenarioError(f"{what} is {value}, and a time cannot be negative: give it 0 or more")
        return microseconds * 1_000
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ScenarioError(f'{what}={value} has no unit: write {what}="{value}ms" if milliseconds are meant')
    if not isinstance(value, str):
        raise ScenarioError(f'{what}={value!r} is not a time: write a string with a unit, such as {what}="40ms"')
    found = _TIME.fullmatch(value)
    if found is None:
        raise ScenarioError(f'{what}="{value}" is not a time: write a number and a unit, such as {what}="40ms"')
    sign, number, unit = found.groups()
    if not unit:
        raise ScenarioError(f'{what}="{value}" has no unit: write {what}="{number}ms" if milliseconds are meant')
    if unit not in _NS:
        known = ", ".join(sorted({"ns", "us", "ms", "s", "min"}, key=_NS.__getitem__))
        raise ScenarioError(f'{what}="{value}" has the unknown unit "{unit}": use one of {known}')
    nanoseconds = Fraction(number) * _NS[unit]
    if sign == "-" and nanoseconds:
        raise ScenarioError(f'{what}="{value}" is negative, and a time cannot be: give it 0 or more')
    if nanoseconds.denominator != 1:
        raise ScenarioError(f'{what}="{value}" is not a whole number of nanoseconds: write fewer decimals')
    return nanoseconds.numerator


def parse_us(value: object, *, what: str) -> int:
    """Return a time in whole microseconds. Raises ScenarioError as `parse_ns` does, and for a part of a microsecond."""
    nanoseconds = parse_ns(value, what=what)
    if nanoseconds % 1_000:
        raise ScenarioError(f"{what}={value!r} is not a whole number of microseconds: write fewer decimals")
    return nanoseconds // 1_000


def format_ns(nanoseconds: int) -> str:
    """Return the shortest exact text of a time, which `parse_ns` reads back: ``20ms``, ``1.5ms``, ``250ns``."""
    for unit in ("s", "ms", "us"):
        if abs(nanoseconds) >= _NS[unit]:
            whole, rest = divmod(abs(nanoseconds), _NS[unit])
            digits = str(rest).zfill(len(str(_NS[unit])) - 1).rstrip("0")
            return f"{'-' if nanoseconds < 0 else ''}{whole}{'.' + digits if digits else ''}{unit}"
    return f"{nanoseconds}ns" if nanoseconds else "0ms"


def format_us(microseconds: int) -> str:
    """Return a time in microseconds as text, like `format_ns`."""
    return format_ns(microseconds * 1_000)
