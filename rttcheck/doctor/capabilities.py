"""Test what this machine supports, in temporary network namespaces: privilege, namespaces, netem, probes, timers.

`rttcheck.doctor.equipment` tests what guests need; `capabilities` returns both.
"""

from __future__ import annotations

import gzip
import mmap
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from rttcheck.doctor.capability import HOST, OPTIONAL, Capability, missing
from rttcheck.errors import CapabilityError

__all__ = ["Capability", "can_judge_host", "capabilities", "host_capabilities"]

BTF = Path("/sys/kernel/btf/vmlinux")
CONFIGS = (Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}"))
"""Files that may hold the running kernel's configuration."""

_AS_ROOT = "run as root (sudo), or in a container with --privileged"
_NEEDS_ROOT = "not tested: needs root"


def capabilities() -> tuple[Capability, ...]:
    """Return all capabilities, of the running kernel and then for guests; takes about a second."""
    from rttcheck.doctor.equipment import equipment

    return (*host_capabilities(), *equipment())


def can_judge_host(known: Iterable[Capability]) -> bool:
    """Return whether the running kernel can inject delay and show every sample."""
    return not missing(known, HOST)


def host_capabilities() -> tuple[Capability, ...]:
    """Return the capabilities for judging the running kernel; without root, some are reported as not tested."""
    return tuple(_host())


def _host() -> Iterator[Capability]:
    packages = _packages()
    yield Capability(
        name="kernel", found=True, detail=f"{platform.release()}, {platform.version()}", needed_for=OPTIONAL
    )
    yield packages
    privileged = _privilege()
    yield privileged
    yield _btf()
    library = _libbpf()
    yield library
    yield _lockdown()
    if packages.found and privileged.found:
        yield _namespaces()
        yield from _engines()
        if library.found:
            yield from _probes()
            yield _stamps()
        else:
            yield from _untried_probes("not tested: libbpf.so.1 is missing")
    else:
        why = _NEEDS_ROOT if packages.found else "not tested: Python packages are missing"
        for name in ("network namespaces, veth", "sch_netem", "relay"):
            needed_for = OPTIONAL if name == "relay" else HOST
            yield Capability(name=name, found=False, detail=why, needed_for=needed_for)
        yield from _untried_probes(why)
    yield _timers()
    yield _bcc()
    yield Capability(
        name="tc, iproute2", found=True, detail="not needed: rttcheck uses netlink itself", needed_for=OPTIONAL
    )


def _packages() -> Capability:
    wanted = ("numpy", "pyroute2", "pytest", "rich", "xdist", "execnet")
    absent = [name for name in wanted if find_spec(name) is None]
    names = ", ".join(absent)
    return Capability(
        name="Python packages",
        found=not absent,
        detail=f"{names} cannot be imported" if absent else ", ".join(wanted),
        remedy="" if not absent else "pip install rttcheck (into this Python, with its dependencies)",
        lack=f"no Python package {names}" if absent else "",
        needed_for=HOST,
    )


def _privilege() -> Capability:
    from rttcheck.collect.probe.probe import require_privilege

    user = os.geteuid()
    reason = f"user {user}"
    found = user == 0
    if found:
        try:
            require_privilege()
        except CapabilityError as error:
            found, reason = False, str(error)
    return Capability(
        name="root",
        found=found,
        detail=reason if found or user == 0 else f"{reason}, not root",
        remedy="" if found else _AS_ROOT,
        lack="" if found else "not root" if user else "root without CAP_SYS_ADMIN",
        needed_for=HOST,
    )


def _btf() -> Capability:
    found = os.access(BTF, os.R_OK)
    return Capability(
        name="BTF",
        found=found,
        detail=str(BTF) if found else f"{BTF} is not there",
        remedy="" if found else "use a kernel with CONFIG_DEBUG_INFO_BTF=y (all of Debian's, Ubuntu's and Fedora's)",
        lack="" if found else "no BTF",
        needed_for=HOST,
    )


def _libbpf() -> Capability:
    from rttcheck.collect.probe.libbpf import libbpf

    try:
        libbpf()
    except CapabilityError as error:
        return Capability(
            name="libbpf.so.1",
            found=False,
            detail=str(error),
            remedy="apt install libbpf1",
            lack="no libbpf.so.1",
            needed_for=HOST,
        )
    return Capability(name="libbpf.so.1", found=True, detail="loaded", needed_for=HOST)


def _lockdown() -> Capability:
    from rttcheck.collect.probe.lockdown import UNLOCK, forbids_tracing, lockdown_mode

    mode = lockdown_mode()
    locked = forbids_tracing(mode)
    detail = "unknown (securityfs is not mounted, or not in the kernel)" if mode is None else mode
    return Capability(
        name="no lockdown",
        found=not locked,
        detail=f"{detail}: no program may read kernel memory" if locked else detail,
        remedy=UNLOCK if locked else "",
        lack="locked down" if locked else "",
        needed_for=HOST,
    )


def _namespaces() -> Capability:
    from rttcheck_netns import NetnsError, direct

    name = "network namespaces, veth"
    try:
        with direct():
            pass
    except NetnsError as error:
        return Capability(
            name=name,
            found=False,
            detail=str(error),
            remedy=f"{_AS_ROOT}, on a kernel with CONFIG_NET_NS and CONFIG_VETH (modprobe veth)",
            lack="no network namespaces with veth",
            needed_for=HOST,
        )
    return Capability(name=name, found=True, detail="two created, connected and removed", needed_for=HOST)


def _engines() -> Iterator[Capability]:
    from rttcheck.collect.engine import try_netem, try_relay

    netem, relay = try_netem(), try_relay()
    yield Capability(
        name="sch_netem",
        found=netem.ok,
        detail=netem.reason,
        remedy="" if netem.ok else _netem_remedy(kernel_option("CONFIG_NET_SCH_NETEM")),
        lack="" if netem.ok else "no sch_netem",
        needed_for=HOST,
    )
    yield Capability(
        name="relay",
        found=relay.ok,
        detail=relay.reason,
        remedy="" if relay.ok else "a kernel with CONFIG_VETH and CONFIG_PACKET, or one with netem",
        lack="" if relay.ok else "no relay",
    )


def _netem_remedy(option: str | None) -> str:
    if option == "n":
        return "none on this kernel, built without CONFIG_NET_SCH_NETEM: boot another, or let `auto` take a guest"
    release = platform.release()
    if Path(f"/lib/modules/{release}").is_dir() and not any(Path(f"/lib/modules/{release}").rglob("sch_netem.ko*")):
        return f"apt install linux-modules-extra-{release} (Ubuntu; on Debian use the kernel that is not the cloud one)"
    return "modprobe sch_netem"


def _probes() -> Iterator[Capability]:
    from rttcheck.collect.probe.backend import BACKENDS
    from rttcheck.collect.probe.probe import probe_support

    remedies = {backend.name: backend.remedy for backend in BACKENDS}
    whole = [backend.name for backend in BACKENDS if backend.view.every_sample]
    for attempt in probe_support():
        name = f"probe {attempt.backend}"
        refusal = re.search(r"\bwith (E[A-Z0-9]+)\b", attempt.reason)
        lack = f"{attempt.backend} refused ({refusal.group(1)})" if refusal else f"no {attempt.backend}"
        yield Capability(
            name=name,
            found=attempt.ok,
            detail=f"{attempt.reason}: {attempt.view.render()}" if attempt.ok else attempt.reason,
            sees=attempt.view.coverage.value,
            remedy="" if attempt.ok else attempt.remedy or _probe_remedy(attempt.backend, remedies[attempt.backend]),
            lack="" if attempt.ok else lack,
            needed_for=HOST if attempt.backend in whole else OPTIONAL,
            alternatives=tuple(f"probe {backend}" for backend in whole if backend != attempt.backend),
        )


def _stamps() -> Capability:
    """Test timestamps of departing packets: with them samples are checked to the microsecond, without a control run."""
    from rttcheck.collect.stamp.stamps import open_stamps

    with open_stamps(ring_bytes=mmap.PAGESIZE) as stamps:
        return Capability(
            name="stamps of packets",
            found=stamps.loaded is not None,
            detail=stamps.why_not or "attached to the tracepoint net:net_dev_start_xmit: samples are checked exactly",
            remedy="" if stamps.loaded is not None else "a kernel of 5.10 or later with CONFIG_BPF_EVENTS=y",
            needed_for=OPTIONAL,
        )


def _untried_probes(why: str) -> Iterator[Capability]:
    from rttcheck.collect.probe.backend import BACKENDS

    for backend in BACKENDS:
        needed_for = HOST if backend.view.every_sample else OPTIONAL
        yield Capability(name=f"probe {backend.name}", found=False, detail=why, needed_for=needed_for)


def _probe_remedy(backend: str, usual: str) -> str:
    if backend in ("kprobe", "bcc") and kernel_option("CONFIG_KPROBES") == "n":
        return "none on this kernel, built without CONFIG_KPROBES: boot another, or let `auto` take a guest"
    return f"{usual}; one probe is enough"


def _timers() -> Capability:
    """Test high-resolution timers by the clock's resolution (hrtimer_resolution)."""
    resolution_ns = round(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9)
    found = resolution_ns <= 1_000
    return Capability(
        name="high-resolution timers",
        found=found,
        detail=f"the clock's resolution is {resolution_ns} ns",
        remedy="" if found else "boot without highres=off, with CONFIG_HIGH_RES_TIMERS=y",
        lack="" if found else "no high-resolution timers",
        needed_for=HOST,
    )


def _bcc() -> Capability:
    """Test that the package `bcc` of PyPI, which is not the BPF compiler collection, is not installed."""
    from rttcheck.collect.probe.bcc_module import unrelated_bcc

    wrong = unrelated_bcc()
    name = "no unrelated bcc"
    if wrong is not None:
        return Capability(
            name=name,
            found=False,
            detail=f"the package bcc in {wrong} is not the BPF compiler collection",
            remedy="pip uninstall bcc (the BPF compiler collection, for --rtt-probe bcc, is apt install python3-bpfcc)",
        )
    return Capability(name=name, found=True, detail="not installed")


def kernel_option(name: str) -> str | None:
    """Return the value of a kernel option: ``y``, ``m``, another value, ``n`` for not set, None if unknown."""
    for path in CONFIGS:
        try:
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        except (OSError, gzip.BadGzipFile):
            continue
        found = re.search(rf"^{re.escape(name)}=(.*)$", text, re.MULTILINE)
        return found.group(1) if found else "n"
    return None
