"""Which kernel `auto` judges, on which clock, and why: a pure function of what the machine has.

Owns the rule: the running kernel if it can inject delay and see every sample, else a guest of Debian's newest stable
kernel in virtual time, else the running kernel with what it shows. It looks at nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rttcheck.doctor.capability import GUEST, HOST, Capability, missing
from rttcheck.doctor.selection import Pair, select
from rttcheck.errors import CapabilityError

DEFAULT_KERNEL: Final = "debian:6.12"
"""The kernel of Debian's newest stable release (trixie)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel (``host`` or a guest's spec), its clock (``virtual`` or ``real``), and the reasons, one phrase each."""

    kernel: str
    clock: str
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The choice for a person."""
        where = "the running kernel" if self.kernel == "host" else f"a guest of {self.kernel} in {self.clock} time"
        return f"{where}, because: {'; '.join(self.reasons)}"


def choose_kernel(capabilities: Iterable[Capability]) -> Choice:
    """The running kernel if nothing is missing there, else a guest.

    Raises CapabilityError when neither can be had; the message names what is missing for a guest and its remedies, for
    they are the ones that help on every kernel.
    """
    known = tuple(capabilities)
    host = missing(known, HOST)
    if not host:
        return Choice("host", "real", (f"it has netem, and {_probe(known)} shows every sample",))
    reasons = _reasons(host)
    guest = missing(known, GUEST)
    partly = _partly(known) if guest else None
    if partly is not None:
        why = f"it has {partly.engine}, and {partly.probe} shows samples {partly.sees}"
        lacks = "; ".join(capability.lack for capability in guest)
        return Choice("host", "real", (why, f"a guest would see every one and cannot be booted ({lacks})"))
    if guest:
        remedies = "; ".join(f"{capability.lack}: {capability.remedy}" for capability in guest)
        raise CapabilityError(
            f"the running kernel cannot be judged ({'; '.join(reasons)}) and a guest cannot be booted ({remedies}): "
            "`rttcheck doctor` shows all that was looked at"
        )
    return Choice(_guest_kernel(known), "virtual", reasons)


def choose_kernels(capabilities: Iterable[Capability]) -> tuple[Choice, ...]:
    """As `choose_kernel`; and where that is a guest, the running kernel before it if some of it can be judged.

    It is the one that runs: what can be said of it is said, and the guest shows what the running kernel does not.
    Raises CapabilityError when neither can be had.
    """
    known = tuple(capabilities)
    best = choose_kernel(known)
    partly = _partly(known) if best.kernel != "host" else None
    if partly is None:
        return (best,)
    lacks = "; ".join(_reasons(missing(known, HOST)))
    why = f"it has {partly.engine}, and {partly.probe} shows samples {partly.sees}"
    shown = (f"it shows every sample, which the running kernel does not: {lacks}",)
    return (Choice("host", "real", (why,)), Choice(best.kernel, best.clock, shown))


def _partly(known: tuple[Capability, ...]) -> Pair | None:
    """How the running kernel can be judged where not all of it can be seen; None where it cannot be at all."""
    try:
        return select(known)
    except CapabilityError:
        return None


def _reasons(lacking: Iterable[Capability]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(capability.lack for capability in lacking if capability.lack))


def _probe(capabilities: Iterable[Capability]) -> str:
    return next(c.name.removeprefix("probe ") for c in capabilities if c.name.startswith("probe ") and c.found)


def _guest_kernel(capabilities: Iterable[Capability]) -> str:
    """The first that is offered: what the archive has, then what is at hand."""
    offered = (kernel for capability in capabilities if capability.found for kernel in capability.kernels)
    return next(offered, DEFAULT_KERNEL)
