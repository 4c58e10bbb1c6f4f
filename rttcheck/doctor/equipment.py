"""Test what fetching and booting another kernel needs: programs, files and disk space.

Nothing is booted and the network is not used: whether KVM works is known only from an earlier boot, whether the archive
answers is not known.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rttcheck.doctor.capability import GUEST, OPTIONAL, Capability
from rttcheck.doctor.kernel_choice import DEFAULT_KERNEL
from rttcheck.errors import KernelError
from rttcheck.kernels.amount import date_text
from rttcheck.kernels.apt import KEYRING
from rttcheck.kernels.archive import cached
from rttcheck.kernels.cache import cache_root
from rttcheck.kernels.initramfs import static_busybox
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.kvm import remembered_trial

FETCH_BYTES = 1_000_000_000
"""Disk space for one unpacked package and what is kept of it."""

BOOT_BYTES = 50_000_000
"""Disk space for an initramfs and a session's recordings."""

KVM = Path("/dev/kvm")


def equipment() -> tuple[Capability, ...]:
    """Return the capabilities for guests."""
    return tuple(_equipment())


def _equipment() -> Iterator[Capability]:
    machine = platform.machine()
    yield _thing("x86_64", machine == "x86_64", machine, "guests run this machine's programs: use an x86_64 machine")
    yield _program("qemu-system-x86_64", "qemu-system-x86")
    beside = Path(sys.executable).with_name("virtme-run")
    virtme = str(beside) if beside.exists() else shutil.which("virtme-run") or ""
    yield _thing("virtme-ng", bool(virtme), virtme or "no program virtme-run", "pip install virtme-ng")
    yield _program("depmod", "kmod")
    yield _busybox()
    kernels = _cached_kernels()
    yield _archive()
    yield _kernel_at_hand(kernels)
    yield _space(FETCH_BYTES if not kernels else BOOT_BYTES)
    yield _kvm()


def _thing(name: str, found: bool, detail: str, remedy: str) -> Capability:
    return Capability(
        name=name,
        found=found,
        detail=detail,
        remedy="" if found else remedy,
        lack="" if found else f"no {name}",
        needed_for=GUEST,
    )


def _program(name: str, package: str) -> Capability:
    path = shutil.which(name)
    return _thing(name, path is not None, path or f"no program {name}", f"apt install {package}")


def _busybox() -> Capability:
    name, remedy = "static busybox", "apt install busybox-static"
    try:
        return _thing(name, True, str(static_busybox()), remedy)
    except KernelError:
        return _thing(name, False, "none installed", remedy)


def _kvm() -> Capability:
    """Test whether the device can be opened, and report the result of an earlier boot."""
    found = os.access(KVM, os.R_OK | os.W_OK)
    tried = remembered_trial(cache_root()) if found else None
    remedy = ""
    if not found:
        detail = f"no access to {KVM}, not needed: virtual time is emulated"
    elif tried is None:
        detail = f"{KVM} is present; whether it works is tested by the first guest in real time"
    elif tried.works:
        detail = f"it works: a guest booted under it on {date_text(tried.when)}"
    else:
        found = False
        detail = f"it failed on {date_text(tried.when)}: {tried.why}"
        remedy = f"not needed: virtual time is emulated; rm {tried.file} repeats the test"
    return Capability(name="KVM", found=found, detail=detail, remedy=remedy, needed_for=OPTIONAL)


def _cached_kernels() -> tuple[BootableKernel, ...]:
    """Return cached kernels, newest first; none if the cache cannot be read."""
    try:
        return tuple(reversed(cached()))
    except (KernelError, OSError):
        return ()


def _archive() -> Capability:
    """Test the tools for Debian's archive: apt, dpkg, and the keys for its signatures."""
    absent = [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]
    remedy, detail = "", f"apt-get and {KEYRING}"
    if absent:
        detail, remedy = f"no {absent[0]}", "give the path of a kernel image, as in --kernel ./bzImage"
    elif not KEYRING.exists():
        detail, remedy = f"{KEYRING} is not there", "apt install debian-archive-keyring"
    return Capability(
        name="Debian's archive",
        found=not remedy,
        detail=detail,
        remedy=remedy,
        lack="no way to fetch a kernel" if remedy else "",
        needed_for=GUEST,
        alternatives=("kernel at hand",),
        kernels=(DEFAULT_KERNEL,),
    )


def _kernel_at_hand(kernels: tuple[BootableKernel, ...]) -> Capability:
    series = DEFAULT_KERNEL.removeprefix("debian:") + "."
    specs = [f"debian:{kernel.name}" for kernel in kernels]
    default = any(kernel.release.startswith(series) and not kernel.release.endswith("-rt-amd64") for kernel in kernels)
    return Capability(
        name="kernel at hand",
        found=bool(kernels),
        detail=", ".join(kernel.release for kernel in kernels) or f"none in {cache_root()}",
        remedy="" if kernels else "none needed: a kernel is fetched when first used (70 to 110 MB)",
        lack="" if kernels else "no kernel in the cache",
        needed_for=GUEST,
        alternatives=("Debian's archive",),
        kernels=((DEFAULT_KERNEL,) if default else ()) + tuple(specs),
    )


def _space(needed_bytes: int) -> Capability:
    """Test free space and write access of the cache directory, or of its nearest existing parent."""
    root = cache_root()
    there = next(place for place in (root, *root.parents) if place.exists())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    found = writable and free >= needed_bytes
    detail = f"{root}: {free // 1_000_000} MB free of {needed_bytes // 1_000_000} MB needed"
    return Capability(
        name="cache directory",
        found=found,
        detail=detail if writable else f"{root} cannot be written",
        remedy="" if found else "set RTTCHECK_CACHE to a writable directory with enough space",
        lack="" if found else "no room for kernels" if writable else "no cache directory",
        needed_for=GUEST,
    )
