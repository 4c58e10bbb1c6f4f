"""Build small networks of known latency: anonymous namespaces, veth pairs and netem, through netlink, in this process.

Nothing remains when the process ends, by SIGKILL too. The package knows nothing of round-trip times, probes or pytest.
Entry point: ``with routed(out=Netem(delay_ns=20_000_000)) as lab:``. The plain data types (`Netem`, `Offloads`, the
errors) import no netlink code; the other names are imported at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .distribution import Distribution
from .errors import (
    LimitTooSmall,
    LinkSilent,
    NetemInvalid,
    NetemMismatch,
    NetlinkRefused,
    NetnsError,
    RelayFailed,
    SysctlRefused,
    UnsupportedByEngine,
    UnsupportedByKernel,
)
from .namespace import Namespace
from .netem import GilbertElliott, Loss, Netem, RandomLoss, Slot, StateLoss
from .offloads import Offloads

if TYPE_CHECKING:
    from .host import Host
    from .lab import Lab
    from .qdisc import QdiscStatistics
    from .topology import direct, routed

_AT_FIRST_USE = {
    "Host": "host",
    "Lab": "lab",
    "QdiscStatistics": "qdisc",
    "direct": "topology",
    "routed": "topology",
}


def __getattr__(name: str) -> object:
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_AT_FIRST_USE[name]}", __name__), name)
    globals()[name] = value
    return value


__all__ = [
    "Distribution",
    "GilbertElliott",
    "Host",
    "Lab",
    "LimitTooSmall",
    "LinkSilent",
    "Loss",
    "Namespace",
    "Netem",
    "NetemInvalid",
    "NetemMismatch",
    "NetlinkRefused",
    "NetnsError",
    "Offloads",
    "QdiscStatistics",
    "RandomLoss",
    "RelayFailed",
    "Slot",
    "StateLoss",
    "SysctlRefused",
    "UnsupportedByEngine",
    "UnsupportedByKernel",
    "direct",
    "routed",
]
