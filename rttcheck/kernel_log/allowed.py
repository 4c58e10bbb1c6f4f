"""Splats that are allowed: the project's own list, and the lists that users write.

An entry states why it is there, and what makes it obsolete: a list without that only grows.
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
    """An allowed splat: a regular expression of its title, the kernels, the reason, and when the entry is obsolete."""

    pattern: str
    reason: str
    until: str
    since: str = ""
    """The first kernel it applies to, as ``6.1`` or ``6.1.20``; empty for all from the beginning."""
    before: str = ""
    """The first kernel it no longer applies to; empty for all future ones."""

    def covers(self, title: str, release: str) -> bool:
        """Return whether the entry applies to a splat of that title on the kernel ``release`` (``uname -r``)."""
        version = _version(release)
        if self.since and version < _version(self.since):
            return False
        if self.before and version >= _version(self.before):
            return False
        return re.search(self.pattern, title) is not None

    def as_dict(self) -> dict[str, str]:
        """Return the entry in JSON types."""
        return asdict(self)


ALLOWED: Final[tuple[Allowed, ...]] = ()
"""Empty, because an entry needs an observed splat: 72 recordings of the named scenarios on 5.10, 6.1, 6.12 and 7.3, in
virtual time, have none in their logs."""

_NEEDED: Final = ("pattern", "reason", "until")
_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")


def read_allowed(path: Path) -> tuple[Allowed, ...]:
    """Read a user's list: a TOML file of tables ``[[splat]]`` with the members of `Allowed`.

    Raises AllowListError for an unreadable file, an entry without a reason, or an invalid pattern.
    """
    # Imported here, because most sessions, and every guest's Python at first, have no such file.
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
    """Build entries from what `Allowed.as_dict` returned."""
    return tuple(Allowed(**entry) for entry in entries)


def _entry(table: object, where: str) -> Allowed:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise AllowListError(f"{where} must be a table of strings: write them in quotes")
    lacking = [name for name in _NEEDED if not table.get(name, "").strip()]
    unknown = sorted(set(table) - set(Allowed.__slots__))
    if lacking or unknown:
        what = f"lacks {' and '.join(lacking)}" if lacking else f"has the unknown {', '.join(unknown)}"
        raise AllowListError(f"{where} {what}: it takes {', '.join(_NEEDED)}, and optionally since and before")
    for name in ("since", "before"):
        if table.get(name) and not _VERSION.fullmatch(table[name]):
            raise AllowListError(f'{where} has {name} = "{table[name]}", which is no version: write it as in "6.1.20"')
    try:
        re.compile(table["pattern"])
    except re.error as error:
        raise AllowListError(f"{where} has a pattern that is no regular expression ({error})") from error
    return Allowed(**table)


def _version(release: str) -> tuple[int, ...]:
    """Return the numbers that a release begins with, without trailing zeros, so that 6.1 equals 6.1.0."""
    found = _VERSION.match(release)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
