"""What a fault of the saboteur is: the module's parameters, the layer that is guilty, and the scenarios that test it.

It owns the words. It loads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rttcheck.judge.findings import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class RealFault:
    """One fault of a running kernel.

    ``amount`` is microseconds, or what the module says of the fault; ``percent`` is of what the kernel has; one in
    ``every`` is wrong; ``way`` is the interface whose qdisc errs, empty for both.
    """

    kind: str
    """Faults of one kind differ by how large they are and how often they occur."""
    what: str
    layer: Layer | None
    """The layer that is guilty, which the verdict's first finding must name; None where nothing is wrong."""
    does: str
    """The module's parameter ``fault``."""
    amount: int = 0
    percent: int = 100
    every: int = 1
    way: str = ""
    size: str = ""
    """How large it is, and how often, for a person."""
    tested_in: tuple[str, ...] = ("rtt-40ms",)
    """Scenarios of the tests in CI, none for a size that another one stands for; the whole table has all."""

    @property
    def name(self) -> str:
        """The same in ledgers, tables and tests."""
        return f"{self.kind}, {self.size}" if self.size else self.kind

    @property
    def directory(self) -> str:
        """The name as a directory's."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.")

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """The module's parameters."""
        return {
            "fault": self.does,
            "amount": self.amount,
            "percent": self.percent,
            "every": self.every,
            # insmod takes no empty value.
            **({"way": self.way} if self.way else {}),
        }
