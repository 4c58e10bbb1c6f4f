"""Check the names of keywords, and convert their values to plain data for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from rttcheck.errors import ScenarioError
from rttcheck.scenario.duration import format_us

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
"""Values that JSON and TOML have."""


def check_known(given: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Raise ScenarioError for the first keyword in ``given`` that is not ``known``, and suggest the closest."""
    names = sorted(known)
    for name in given:
        if name not in names:
            from difflib import get_close_matches  # imported where an error is certain: guests pay for imports

            near = get_close_matches(str(name), names, n=1, cutoff=0.5)
            remedy = f'did you mean "{near[0]}"?' if near else f"it takes {', '.join(names)}"
            raise ScenarioError(f'{where} has no keyword "{name}": {remedy}')


def as_table(value: object, *, what: str) -> dict[str, object]:
    """Return ``value`` as a table with string keys. Raises ScenarioError for anything else."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ScenarioError(f"{what}={value!r} is not a table: write it with keywords, such as {{...}}")
    return dict(value)


def plain(value: object, *, what: str) -> Plain:
    """Return ``value`` as plain data for JSON: a timedelta becomes text, a tuple a list.

    Raises ScenarioError for any other type.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, timedelta):
        return format_us(value // timedelta(microseconds=1))
    if isinstance(value, Mapping):
        return {str(key): plain(item, what=f"{what}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, what=what) for item in value]
    raise ScenarioError(
        f"{what}={value!r} cannot be stored in a recording: give it as a string, a number, a list or a table"
    )
