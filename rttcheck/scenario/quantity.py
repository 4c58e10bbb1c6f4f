"""Parse rates, shares, counts, flags and choices: ``"20mbit"``, ``"1.5%"``, ``64``."""

from __future__ import annotations

import re
from fractions import Fraction

from rttcheck.errors import ScenarioError
from rttcheck_netns.netem_nla import fraction

_BITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*(\S*)\s*")


def parse_rate(value: object, *, what: str) -> int:
    """Return a rate in bits a second from ``"20mbit"``; k, m and g are powers of 1000. 0 is no limit, as in `tc`.

    Raises ScenarioError for a number without a unit, less than a byte a second, and for ``mbps``, which means megabytes
    to `tc` and megabits to people.
    """
    number, unit = _parts(value, what, example="20mbit")
    scale = _BITS.get(unit.lower().removesuffix("/s"))
    if scale is None:
        meant = f'"{number}{unit.lower().removesuffix("ps")}it"' if unit.lower().endswith("bps") else '"20mbit"'
        reason = "has no unit" if not unit else f'has the unit "{unit}", which is not one of {", ".join(_BITS)}'
        raise ScenarioError(f"{what}={value!r} {reason}: write bits a second, such as {what}={meant}")
    rate = Fraction(number) * scale
    if rate < 8 and rate != 0:
        raise ScenarioError(f"{what}={value!r} is less than a byte a second: give it 8bit or more, or leave it out")
    return int(rate)


def parse_percent(value: object, *, what: str) -> float:
    """Return a share in percent, 0 to 100, from ``"1.5%"``.

    Raises ScenarioError for a number without ``%`` (is 0.01 one percent or a hundredth of it?) and outside 0 to 100.
    """
    number, unit = _parts(value, what, example="1%")
    if unit != "%":
        raise ScenarioError(
            f'{what}={value!r} is not a share: write it with a percent sign, such as {what}="{number}%"'
        )
    percent = float(number)
    if not 0 <= percent <= 100:
        raise ScenarioError(f"{what}={value!r} is out of range: give a share from 0% to 100%")
    if percent and not fraction(percent):
        raise ScenarioError(
            f"{what}={value!r} is less than netem can tell from none, which counts shares in 32 bits: give 0.00000003% "
            "or more, or leave it out"
        )
    return percent


def parse_count(value: object, *, what: str, least: int = 0, most: int) -> int:
    """Return a whole number from ``least`` to ``most``. Raises ScenarioError for anything else, including bools."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ScenarioError(f"{what}={value!r} is not a whole number: give one from {least} to {most}")
    if not least <= value <= most:
        raise ScenarioError(f"{what}={value} is out of range: give it a whole number from {least} to {most}")
    return value


def parse_flag(value: object, *, what: str) -> bool:
    """Return True or False. Raises ScenarioError for anything else, including "yes" and 1."""
    if not isinstance(value, bool):
        raise ScenarioError(f"{what}={value!r} is neither true nor false: write one of them, without quotes")
    return value


def parse_choice(value: object, *, what: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``. Raises ScenarioError otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise ScenarioError(f"{what}={value!r} is not known: use one of {', '.join(choices)}")
    return value


def _parts(value: object, what: str, *, example: str) -> tuple[str, str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value), ""
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ScenarioError(f'{what}={value!r} is not understood: write a string such as {what}="{example}"')
    return found[1], found[2]
