"""The conditions of a suite: kernel, clock and load of the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rttcheck.errors import KernelError


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """``kernel`` as given by the user (never ``auto``), ``clock`` virtual or real, ``load`` none or busy."""

    kernel: str
    clock: str
    load: str

    def __str__(self) -> str:
        return f"{self.kernel}, {self.clock} time, load {self.load}"


def conditions(kernels: Sequence[str], clock: str, load: str) -> tuple[Condition, ...]:
    """Return every possible combination, each once; ``both`` stands for both clocks, or both loads.

    Raises KernelError for the running kernel in virtual time.
    """
    found: dict[Condition, None] = {}
    for kernel in kernels:
        if kernel == "host" and clock == "virtual":
            raise KernelError(
                "--clock virtual is not possible on the running kernel, whose time is real: name a guest's kernel, as "
                "in --kernel debian:6.12"
            )
        for one in ("virtual", "real") if clock == "both" else (clock,):
            if kernel == "host" and one == "virtual":
                continue
            for other in ("none", "busy") if load == "both" else (load,):
                found[Condition(kernel, one, other)] = None
    return tuple(found)
