"""Choose the kernel and clock for `auto` from the machine's capabilities, with reasons.

The running kernel if it can inject delay and show every sample; else a guest of Debian's newest stable kernel in
virtual time; else the running kernel with the samples that it shows.
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
        """The choice with its reasons, as text."""
        where = "the running kernel" if self.kernel == "host" else f"a guest of {self.kernel} in {self.clock} time"
        return f"{where}, because: {'; '.join(self.reasons)}"


def choose_kernel(capabilities: Iterable[Capability]) -> Choice:
    """Return the running kernel if nothing is missing there, else a guest.

    Raises CapabilityError when neither is possible; the message names what a guest lacks and the remedies, which help
    on every kernel.
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
        return Choice("host", "real", (why, f"a guest, which would show every sample, cannot be booted ({lacks})"))
    if guest:
        remedies = "; ".join(f"{capability.lack}: {capability.remedy}" for capability in guest)
        raise CapabilityError(
            f"the running kernel cannot be judged ({'; '.join(reasons)}) and a guest cannot be booted ({remedies}): "
            "`rttcheck doctor` shows all results"
        )
    return Choice(_guest_kernel(known), "virtual", reasons)


def choose_kernels(capabilities: Iterable[Capability]) -> tuple[Choice, ...]:
    """Return the choice of `choose_kernel`; before a guest, also the running kernel if it can be judged in part.

    Raises CapabilityError when neither is possible.
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
    """Return the best pair for judging the running kernel in part; None where that is impossible."""
    try:
        return select(known)
    except CapabilityError:
        return None


def _reasons(lacking: Iterable[Capability]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(capability.lack for capability in lacking if capability.lack))


def _probe(capabilities: Iterable[Capability]) -> str:
    return next(c.name.removeprefix("probe ") for c in capabilities if c.name.startswith("probe ") and c.found)


def _guest_kernel(capabilities: Iterable[Capability]) -> str:
    """Return the first kernel offered: by the archive, then by the cache."""
    offered = (kernel for capability in capabilities if capability.found for kernel in capability.kernels)
    return next(offered, DEFAULT_KERNEL)
