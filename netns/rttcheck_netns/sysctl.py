"""The sysctls that a lab pins, why, and how they are written in a namespace.

``/proc/sys/net`` shows the namespace of the task that opens the file, so everything here must be called while inside.
A namespace starts from the kernel's built-in values, except where it copies the host's (conf/, congestion control):
nothing that changes a round-trip time is left to either.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from .errors import SysctlRefused, UnsupportedByKernel

ABSENT = "absent"
"""The recorded value of a sysctl that the running kernel does not have."""

ADDRESSING: Mapping[str, str] = {
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.default.accept_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    # No link-local address, no router solicitation, no duplicate address detection: no unsolicited packets.
    "net.ipv6.conf.default.addr_gen_mode": "1",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv6.conf.default.router_solicitations": "0",
    "net.ipv6.conf.default.accept_dad": "0",
}
"""For every namespace, before its interfaces are created: a new interface copies ``default``."""

FORWARDING: Mapping[str, str] = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
"""For the link's node."""

NOT_FORWARDING: Mapping[str, str] = dict.fromkeys(FORWARDING, "0")
"""For the link's node where the relay forwards: its kernel silently drops what the relay has taken."""

TCP: Mapping[str, str] = {
    "net.ipv4.ip_forward": "0",
    "net.core.somaxconn": "4096",
    "net.ipv4.tcp_max_syn_backlog": "4096",
    # A SYN cookie replaces the low bits of the handshake's timestamp: its sample would be up to 63 ms too long.
    "net.ipv4.tcp_syncookies": "0",
    "net.ipv4.tcp_timestamps": "1",
    "net.ipv4.tcp_sack": "1",
    "net.ipv4.tcp_dsack": "1",
    "net.ipv4.tcp_ecn": "2",
    "net.ipv4.tcp_window_scaling": "1",
    "net.ipv4.tcp_recovery": "1",
    "net.ipv4.tcp_early_retrans": "3",
    "net.ipv4.tcp_reordering": "3",
    "net.ipv4.tcp_mtu_probing": "0",
    # Corking moves data into later segments, and with it the timestamps.
    "net.ipv4.tcp_autocorking": "0",
    # SACK compression delays SACKs for up to 5 % of a round trip (33 % in 7.x) or 1 ms.
    "net.ipv4.tcp_comp_sack_nr": "0",
    "net.ipv4.tcp_no_metrics_save": "1",
    "net.ipv4.tcp_no_ssthresh_metrics_save": "1",
    "net.ipv4.tcp_min_rtt_wlen": "300",
    # Later kernels only, with the values that are built into earlier ones.
    "net.ipv4.tcp_pingpong_thresh": "1",
    "net.ipv4.tcp_backlog_ack_defer": "0",
    "net.ipv4.tcp_rto_min_us": "200000",
    "net.ipv4.tcp_rto_max_ms": "120000",
}
"""For the ends, where TCP runs."""

RECORDED = ("net.ipv4.tcp_congestion_control", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")
"""Read and recorded, not set: a child namespace may only take some algorithms for the first, the others are limits."""


def pin(values: Mapping[str, str], *, required: bool = False) -> dict[str, str]:
    """Set sysctls of the calling thread's current namespace; return their values, `ABSENT` for the missing.

    ``required`` turns a missing one into UnsupportedByKernel. Raises SysctlRefused when one cannot be set or does not
    keep the value.
    """
    held: dict[str, str] = {}
    for name, value in values.items():
        try:
            fd = os.open(_path(name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as missing:
            if required:
                raise UnsupportedByKernel(
                    f"the sysctl {name} was asked for and this kernel's namespaces have none: drop it or use another"
                ) from missing
            held[name] = ABSENT
            continue
        except OSError as problem:
            raise _refused(name, value, problem) from problem
        try:
            os.write(fd, value.encode())
            found = _read(fd)
        except OSError as problem:
            raise _refused(name, value, problem) from problem
        finally:
            os.close(fd)
        if found != " ".join(value.split()):
            raise SysctlRefused(f"the sysctl {name} was set to {value} and holds {found}: choose a value that it keeps")
        held[name] = found
    return held


def read(names: tuple[str, ...]) -> dict[str, str]:
    """Return the values of sysctls in the calling thread's current namespace, `ABSENT` for the missing."""
    held: dict[str, str] = {}
    for name in names:
        try:
            fd = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            held[name] = ABSENT
            continue
        try:
            held[name] = _read(fd)
        finally:
            os.close(fd)
    return held


def _read(fd: int) -> str:
    return " ".join(os.pread(fd, 4096, 0).decode().split())


def _path(name: str) -> str:
    if not name.startswith("net.") or "/" in name:
        raise SysctlRefused(f"the sysctl {name!r} is not a network namespace's: write a name that starts with net.")
    return "/proc/sys/" + name.replace(".", "/")


def _refused(name: str, value: str, problem: OSError) -> SysctlRefused:
    remedy = "run as root with /proc/sys writable"
    if problem.errno == errno.EINVAL:
        remedy = "write a value that the kernel accepts"
    elif name.endswith("congestion_control"):
        remedy = "set the congestion control per socket, a namespace may only take unrestricted ones"
    return SysctlRefused(f"the sysctl {name} cannot be set to {value} ({problem.strerror}): {remedy}")
