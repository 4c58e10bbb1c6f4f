"""Networks in a bottle: anonymous namespaces, veth pairs and netem, all through netlink and in this process.

Owns networks whose latency is known, and leaves nothing behind, after SIGKILL too. Refuses to know what they are for:
nothing here has heard of round-trip times, probes or pytest. ``with routed(out=Netem(delay_ns=20_000_000)) as lab:`` is
the way in. What only describes (`Netem`, `Offloads`, the errors) comes without netlink; the rest comes at first use.
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
