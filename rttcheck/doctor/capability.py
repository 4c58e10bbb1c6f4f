"""One thing that a machine has or lacks, and what to do where it lacks it.

Owns the words only. Who looks for what is `rttcheck.doctor.capabilities` (the running kernel) and
`rttcheck.doctor.equipment` (guests); who decides by it is `rttcheck.doctor.kernel_choice`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

HOST: Final = "running kernel"
"""``needed_for`` of what it takes to judge the kernel that runs here."""

GUEST: Final = "guest"
"""``needed_for`` of what it takes to boot another kernel and judge that."""

OPTIONAL: Final = "nothing"
"""``needed_for`` of what is good to know and decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Found or missing: ``detail`` is what was seen, in the kernel's own words where it refused.

    ``remedy`` is what to do, empty where there is nothing to do; ``lack`` is the reason in a few words that goes into a
    sentence, empty where the lack of something else explains this one; ``alternatives`` are the names of other
    capabilities that do as well; ``kernels`` are the guest kernels that this offers, the best first; ``sees`` is a
    probe's coverage.
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
        """As JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def missing(capabilities: Iterable[Capability], needed_for: str) -> tuple[Capability, ...]:
    """What stands between this machine and ``needed_for``: not found, and no alternative to it is found either."""
    known = tuple(capabilities)
    found = {capability.name for capability in known if capability.found}
    return tuple(
        capability
        for capability in known
        if capability.needed_for == needed_for
        and not capability.found
        and not found.intersection(capability.alternatives)
    )
