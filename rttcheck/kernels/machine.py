"""The emulated machine: QEMU's command line for one guest.

virtme-ng says how a machine with this host's root looks (its ``virtme-run --dry-run --show-command``); owned here is
what is put on top: the clock, our initramfs, our ports. Starts nothing.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.guest import GuestSettings
from rttcheck.kernels.kernel import Kernel
from rttcheck.kernels.session import RW_TAG

PORTS = ("control", "stdin", "stdout", "stderr")
"""The guest's virtio-serial ports, each a stream of bytes of its own."""

_VIRTUAL = ("-icount", "shift=0,sleep=off")
"""One nanosecond an instruction, and idle time is jumped over: the guest's clock owes nothing to the host's."""

_KERNEL_OPTIONS = (
    "console=ttyS0",
    "quiet",
    "loglevel=5",
    # A guest that is broken ends at once: -no-reboot makes the reboot an exit of QEMU.
    "panic=-1",
    "oops=panic",
    "reboot=t",
    "mitigations=off",
    "audit=0",
    "edd=off",
)


def qemu_command(
    kernel: Kernel,
    settings: GuestSettings,
    *,
    name: str,
    initramfs: Path,
    sockets: Mapping[str, int],
    kvm: bool = False,
) -> list[str]:
    """QEMU's command line.

    `sockets` maps each of `PORTS` to a connected socket's descriptor that QEMU inherits. QEMU's standard output is the
    guest's serial console.
    Raises `KernelError` when virtme-ng or QEMU is missing or refuses the kernel.
    """
    virtual = settings.clock == "virtual"
    machine = [
        *("--kimg", str(kernel.image), "--mods", "none"),
        *("--name", name, "--memory", f"{settings.memory_mb}M", "--cpus", "1" if virtual else str(settings.cpus)),
        *("--force-9p", "--disable-microvm", "--disable-monitor", "--dry-run", "--show-command"),
    ]
    if not kvm:
        machine.append("--disable-kvm")
    options = ["-no-reboot", "-initrd", str(initramfs), "-append", " ".join(_KERNEL_OPTIONS)]
    if virtual:
        options += _VIRTUAL
    options += ["-device", "virtio-serial-pci,id=rttcheck"]
    for number, port in enumerate(PORTS, start=1):
        options += [
            *("-chardev", f"socket,id=rttcheck.{port},fd={sockets[port]}"),
            *("-device", f"virtserialport,bus=rttcheck.0,nr={number},chardev=rttcheck.{port},name=rttcheck.{port}"),
        ]
    if settings.rw is not None:
        path = str(settings.rw).replace(",", ",,")
        options += [
            *("-fsdev", f"local,id=rttcheck.rw,path={path},security_model=none,multidevs=remap"),
            *("-device", f"virtio-9p-pci,fsdev=rttcheck.rw,mount_tag={RW_TAG}"),
        ]
    return _virtme_run([*machine, "--qemu-opts", *options])


def _virtme_run(arguments: list[str]) -> list[str]:
    beside = Path(sys.executable).with_name("virtme-run")
    program = str(beside) if beside.exists() else shutil.which("virtme-run")
    if program is None:
        raise KernelError("virtme-ng is not installed, and guests are booted with it; pip install virtme-ng")
    done = subprocess.run(
        [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    rows = done.stdout.splitlines()
    if done.returncode or not rows:
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        if "qemu" in said and ("find" in said or "exist" in said):
            raise KernelError("QEMU is not installed, and guests run in it; apt-get install qemu-system-x86")
        raise KernelError(f"virtme-ng refuses to boot {arguments[1]} ({said}); give another kernel")
    return shlex.split(rows[-1])
