"""Which offloads an interface has, as plain data, by the kernel's names; `ethtool` sets them.

Only features that change what goes over a veth are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FEATURES: Mapping[str, tuple[str, ...]] = {
    "checksum": ("rx-checksum", "tx-checksum-ip-generic"),
    "tso": (
        "tx-tcp-segmentation",
        "tx-tcp-ecn-segmentation",
        "tx-tcp-mangleid-segmentation",
        "tx-tcp6-segmentation",
        "tx-udp-segmentation",
    ),
    "gso": ("tx-generic-segmentation",),
    "gro": ("rx-gro",),
}
"""Each switch of `Offloads` and the kernel's names for what it switches (net/ethtool/common.c, 5.10 to 7.3)."""


@dataclass(frozen=True, slots=True)
class Offloads:
    """What interfaces may do for TCP; all off, so that what the stack sends is what goes over the wire.

    Without ``gso`` the interface also has IFLA_GSO_MAX_SEGS 1: since 4.16 TCP makes packets of many segments whatever
    the device can do, and only this keeps each segment a packet with its own timestamp, ACK and place in netem.
    """

    checksum: bool = False
    tso: bool = False
    gso: bool = False
    gro: bool = False

    def features(self) -> dict[str, bool]:
        """Return the kernel's feature names and whether each is to be on."""
        return {feature: getattr(self, switch) for switch, names in FEATURES.items() for feature in names}
