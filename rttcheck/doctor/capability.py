"""A capability of a machine, found or missing, with its remedy.

`rttcheck.doctor.capabilities` tests the running kernel, `rttcheck.doctor.equipment` the needs of guests, and
`rttcheck.doctor.kernel_choice` decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

HOST: Final = "running kernel"
"""``needed_for`` of what judging the running kernel needs."""

GUEST: Final = "guest"
"""``needed_for`` of what booting and judging another kernel needs."""

OPTIONAL: Final = "nothing"
"""``needed_for`` of optional capabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Found or missing; ``detail`` is the test's result, with the kernel's error where it refused.

    ``remedy`` is what to do, or empty; ``lack`` is a short reason for messages, empty where another missing capability
    explains this one; ``alternatives`` are names of capabilities that can replace it; ``kernels`` are the guest kernels
    that it provides, the best first; ``sees`` is a probe's coverage.
    """

    name: str
    found: bool
    detail: str
    remedy: str = ""
    lack: str = ""
    needed_for: str = OPTIONAL
    alternatives: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    sees: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def missing(capabilities: Iterable[Capability], needed_for: str) -> tuple[Capability, ...]:
    """Return what is missing for ``needed_for``: neither it nor any of its alternatives is found."""
    known = tuple(capabilities)
    found = {capability.name for capability in known if capability.found}
    return tuple(
        capability
        for capability in known
        if capability.needed_for == needed_for
        and not capability.found
        and not found.intersection(capability.alternatives)
    )
