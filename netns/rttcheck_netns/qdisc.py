"""Queueing disciplines at the root of an interface: install netem, remove it, read it back with its counters.

netem is only ever added where none is: ``change`` keeps the attributes that it is not given.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .errors import UnsupportedByKernel
from .netem import Netem
from .netem_nla import netem_options, options
from .netlink import ACK, CREATE, DUMP, EXCLUSIVE, REQUEST, Channel, Request
from .nla import nla, nlmsg
from .rtnetlink import encoded

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_ROOT = 0xFFFFFFFF
_HANDLE = 0x10000
"""1:0, which distinguishes what was installed here from the kernel's own disciplines (handle 0)."""

_XSTATS = ("delayed", "dropped", "corrupted", "duplicated", "reordered", "ecn_marked", "allocation_errors")


class tc_message(nlmsg):  # type: ignore[misc]  # noqa: N801  # pyroute2 is untyped; the name is its convention
    """struct tcmsg; TCA_OPTIONS is decoded for netem only."""

    fields = (
        ("family", "B"),
        ("__align", "3x"),
        ("index", "i"),
        ("handle", "I"),
        ("parent", "I"),
        ("info", "I"),
    )
    nla_map = (
        (1, "TCA_KIND", "asciiz"),
        (2, "TCA_OPTIONS", "options_of_kind"),
        (7, "TCA_STATS2", "statistics"),
    )
    netem_options = netem_options

    @staticmethod
    def options_of_kind(message: Any, *_: object, **__: object) -> Any:
        """Return netem's own class, or raw bytes for any other discipline."""
        return message.netem_options if message.get_attr("TCA_KIND") == "netem" else message.cdata

    class statistics(nla):  # type: ignore[misc]  # noqa: N801  # as above
        """TCA_STATS2 (include/uapi/linux/gen_stats.h)."""

        nla_map = (
            (1, "TCA_STATS_BASIC", "basic"),
            (3, "TCA_STATS_QUEUE", "queue"),
            (4, "TCA_STATS_APP", "cdata"),
        )

        class basic(nla):  # type: ignore[misc]  # noqa: N801  # as above
            fields = (("bytes", "Q"), ("packets", "I"))

        class queue(nla):  # type: ignore[misc]  # noqa: N801  # as above
            fields = (("qlen", "I"), ("backlog", "I"), ("drops", "I"), ("requeues", "I"), ("overlimits", "I"))


@dataclass(frozen=True, slots=True, kw_only=True)
class QdiscStatistics:
    """Counters since the discipline was installed, and its queue now (qlen packets, backlog bytes).

    ``xstats`` are netem's own (delayed, dropped, corrupted, ...), empty where the kernel has none (before 7.2).
    """

    kind: str
    packets: int = 0
    bytes: int = 0
    drops: int = 0
    overlimits: int = 0
    requeues: int = 0
    qlen: int = 0
    backlog: int = 0
    xstats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Qdisc:
    """The root discipline of one interface as dumped; ``options`` is netem's decoded TCA_OPTIONS, None for others."""

    kind: str
    options: Any
    statistics: QdiscStatistics


@lru_cache(maxsize=128)
def add_netem(index: int, netem: Netem) -> Request:
    """Install netem at the root; fails where one exists. Raises UnsupportedByKernel where the kernel has no netem."""
    return Request(
        f"install netem on interface {index}",
        _message(index, _NEWQDISC, CREATE | EXCLUSIVE, "netem", options(netem)),
        _no_netem,
    )


@lru_cache(maxsize=64)
def add_noqueue(index: int) -> Request:
    """Install noqueue, which a veth has anyway, so that the interface transmits from now on.

    An interface that came up before its peer transmits only once the kernel's linkwatch work has run, and drops
    packets until then; grafting a discipline activates it within the call (qdisc_graft: dev_activate).
    """
    return Request(f"activate interface {index}", _message(index, _NEWQDISC, CREATE | EXCLUSIVE, "noqueue", None))


@lru_cache(maxsize=64)
def remove(index: int) -> Request:
    """Remove what was installed at the root, if anything was (ENOENT: the kernel's own discipline stays)."""
    data = _message(index, _DELQDISC, 0, None, None)
    return Request(f"remove the qdisc of interface {index}", data, tolerates=(errno.ENOENT,))


def _message(index: int, kind: int, flags: int, discipline: str | None, value: dict[str, Any] | None) -> bytes:
    message = tc_message()
    message["index"] = index
    message["parent"] = _ROOT
    message["handle"] = _HANDLE if discipline is not None else 0
    if discipline is not None:
        message["attrs"] = [["TCA_KIND", discipline]]
    if value is not None:
        message["attrs"].append(["TCA_OPTIONS", value])
    return encoded(message, kind, REQUEST | ACK | flags)


def _no_netem(code: int, text: str) -> Exception | None:
    if code == errno.ENOENT:
        return UnsupportedByKernel(
            "netem was asked for and this kernel has none: modprobe sch_netem (Ubuntu: package linux-modules-extra, "
            "Debian: the kernel that is not the cloud one), or use a kernel with CONFIG_NET_SCH_NETEM"
        )
    if code == errno.EINVAL and "duplicating" in text:
        return UnsupportedByKernel(
            f"netem with duplicate was asked for and the kernel reports '{text}': use 6.12.93 or later"
        )
    return None


def roots(channel: Channel) -> dict[int, Qdisc]:
    """Return each interface's root discipline in the channel's namespace, by interface index."""
    found: dict[int, Qdisc] = {}
    for raw in channel.dump(_dump_request()):
        message = tc_message(raw)
        message.decode()
        if message["parent"] == _ROOT:
            kind = message.get_attr("TCA_KIND")
            value = message.get_attr("TCA_OPTIONS") if kind == "netem" else None
            found[message["index"]] = Qdisc(kind, value, _statistics(kind, message.get_attr("TCA_STATS2")))
    return found


@lru_cache(maxsize=1)
def _dump_request() -> Request:
    return Request("list the qdiscs", encoded(tc_message(), _GETQDISC, REQUEST | DUMP))


def _statistics(kind: str, dumped: Any) -> QdiscStatistics:
    if dumped is None:
        return QdiscStatistics(kind=kind)
    basic = dumped.get_attr("TCA_STATS_BASIC") or {}
    queue = dumped.get_attr("TCA_STATS_QUEUE") or {}
    own = dumped.get_attr("TCA_STATS_APP")
    return QdiscStatistics(
        kind=kind,
        packets=basic.get("packets", 0),
        bytes=basic.get("bytes", 0),
        drops=queue.get("drops", 0),
        overlimits=queue.get("overlimits", 0),
        requeues=queue.get("requeues", 0),
        qlen=queue.get("qlen", 0),
        backlog=queue.get("backlog", 0),
        xstats=_xstats(bytes(own)) if kind == "netem" and own is not None else {},
    )


def _xstats(raw: bytes) -> dict[str, int]:
    """Decode struct tc_netem_xstats: as many 64-bit counters as the kernel gives, of those known here."""
    count = min(len(raw) // 8, len(_XSTATS))
    return dict(zip(_XSTATS, struct.unpack_from(f"={count}Q", raw), strict=False))
