"""Splats that do not count: the project's own list, and the lists that users write.

It owns the entries, which kernels they are of, and the format of a user's file. What a splat is, it does not know. An
entry says why, and what makes it obsolete: a list without that only grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rttcheck.errors import AllowListError


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A splat that does not count: a ``pattern`` of its title (a regular expression), the kernels that it is of, why,
    and when the entry can go."""

    pattern: str
    reason: str
    until: str
    since: str = ""
    """The first kernel of them, as ``6.1`` or ``6.1.20``; empty for all from the beginning."""
    before: str = ""
    """The first kernel that is none of them any more; empty for all to come."""

    def covers(self, title: str, release: str) -> bool:
        """Whether a splat of that title on the kernel ``release`` (``uname -r``) is meant."""
        version = _version(release)
        if self.since and version < _version(self.since):
            return False
        if self.before and version >= _version(self.before):
            return False
        return re.search(self.pattern, title) is not None

    def as_dict(self) -> dict[str, str]:
        """As JSON can hold it."""
        return asdict(self)


ALLOWED: Final[tuple[Allowed, ...]] = ()
"""None, for what comes in here was seen: 72 recordings of the named scenarios on 5.10, 6.1, 6.12 and 7.3, in virtual
time, have no splat in their logs."""

_NEEDED: Final = ("pattern", "reason", "until")
_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")


def read_allowed(path: Path) -> tuple[Allowed, ...]:
    """A user's list: a TOML file of tables ``[[splat]]`` with the members of `Allowed`.

    Raises AllowListError for a file that is none, an entry without a reason, or a pattern that is no expression.
    """
    # Here, because most sessions, and every guest's Python at first, have no such file.
    import tomllib

    try:
        tables = tomllib.loads(path.read_text()).get("splat", [])
    except OSError as error:
        raise AllowListError(f"the list of allowed splats {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise AllowListError(f"the list of allowed splats {path} is no TOML file ({error})") from error
    if not isinstance(tables, list) or not tables:
        raise AllowListError(
            f'the list of allowed splats {path} has no entry: write [[splat]], pattern = "…", reason = "…", until = "…"'
        )
    return tuple(_entry(table, f"entry {number} of {path}") for number, table in enumerate(tables, start=1))


def of_dicts(entries: Iterable[Mapping[str, str]]) -> tuple[Allowed, ...]:
    """What `Allowed.as_dict` made."""
    return tuple(Allowed(**entry) for entry in entries)


def _entry(table: object, where: str) -> Allowed:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise AllowListError(f"{where} is to be a table of texts: write them in quotes")
    lacking = [name for name in _NEEDED if not table.get(name, "").strip()]
    unknown = sorted(set(table) - set(Allowed.__slots__))
    if lacking or unknown:
        what = f"lacks {' and '.join(lacking)}" if lacking else f"has {', '.join(unknown)}, which nobody knows"
        raise AllowListError(f"{where} {what}: it takes {', '.join(_NEEDED)}, and may have since and before")
    for name in ("since", "before"):
        if table.get(name) and not _VERSION.fullmatch(table[name]):
            raise AllowListError(f'{where} has {name} = "{table[name]}", which is no version: write it as in "6.1.20"')
    try:
        re.compile(table["pattern"])
    except re.error as error:
        raise AllowListError(f"{where} has a pattern that is no regular expression ({error})") from error
    return Allowed(**table)


def _version(release: str) -> tuple[int, ...]:
    """The numbers that a release begins with; trailing zeros do not count, so that 6.1 is 6.1.0."""
    found = _VERSION.match(release)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
