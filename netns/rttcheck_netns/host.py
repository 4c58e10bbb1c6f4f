"""One node of a lab: its namespace, its interfaces and its addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .namespace import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One node: its namespace, its interfaces, and its addresses (those of its first interface).

    ``indexes`` are the interface indexes, in the order of ``interfaces``; ``sysctls`` the values set and read here.
    """

    name: str
    namespace: Namespace
    interfaces: tuple[str, ...]
    indexes: tuple[int, ...]
    ipv4: str
    ipv6: str
    sysctls: Mapping[str, str] = field(default_factory=dict)

    @property
    def interface(self) -> str:
        """The first interface; an end has only this one."""
        return self.interfaces[0]

    def address(self, family: int) -> str:
        """Return the address of IP version 4 or 6."""
        return self.ipv6 if family == 6 else self.ipv4
