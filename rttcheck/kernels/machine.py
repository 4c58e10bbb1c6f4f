"""The emulated machine: QEMU's command line for one guest.

The command line for a machine with this host's root comes from virtme-ng (``virtme-run --dry-run --show-command``).
This module adds the clock, the initramfs and the ports. It starts nothing.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.guest import GuestSettings
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.session import RW_TAG

PORTS = ("control", "stdin", "stdout", "stderr")
"""The guest's virtio-serial ports; each is a separate stream of bytes."""

_VIRTUAL = ("-icount", "shift=0,sleep=off")
"""One nanosecond per instruction, and idle time is skipped: the guest's clock is independent of the host's."""

_VIRTUAL_KERNEL_OPTIONS = (
    # A guest that waits for a file of the host is idle, and its clock jumps to the next timer: 12 s were observed for
    # one write to 9p, and deadlines in the guest expired. With a tick that never stops it jumps 4 ms at a time, which
    # reduces the effect: imports took 82 s instead of 168 on 5.10, 32 instead of 191 on 6.12 (a busy host).
    # It does not fix 5.10 "stalling" in virtual time, which was not observed without it either (docs/kernels.md).
    "nohz=off",
    # khugepaged merges a new process' pages, and packets wait 0.4 ms for each: according to the events it was the
    # current task around the samples that were 0.4 to 1.8 ms late, early in a guest's first scenario.
    "transparent_hugepage=never",
)

_KERNEL_OPTIONS = (
    "console=ttyS0",
    "quiet",
    "loglevel=5",
    # A guest whose kernel fails ends at once: with -no-reboot QEMU exits on the reboot.
    "panic=-1",
    "oops=panic",
    "reboot=t",
    # The emulator translates every patched instruction again: 2 s of a boot.
    "mitigations=off",
    "noreplace-smp",
    "audit=0",
    "edd=off",
)


@dataclass(frozen=True, slots=True)
class GuestMachine:
    """A machine for one kernel.

    ``template`` is QEMU's command line with placeholders for what sessions set, ``identity`` the text that tells its
    initramfs from others.
    """

    template: tuple[str, ...]
    image: Path
    initramfs: Path = Path("/dev/null")
    identity: str = ""

    @classmethod
    def build(
        cls, kernel: BootableKernel, settings: GuestSettings, *, initramfs: Path, kvm: bool = False
    ) -> GuestMachine:
        """Build the machine for `kernel` and `settings`.

        Raises `KernelError` when virtme-ng or QEMU is missing or rejects the kernel.
        """
        virtual = settings.clock == "virtual"
        machine = [
            *("--kimg", str(kernel.image), "--mods", "none"),
            *(
                "--name",
                "{name}",
                "--memory",
                f"{settings.memory_mb}M",
                "--cpus",
                "1" if virtual else str(settings.cpus),
            ),
            *("--force-9p", "--disable-microvm", "--disable-monitor", "--dry-run", "--show-command"),
        ]
        if not kvm:
            machine.append("--disable-kvm")
        kernel_options = (*_KERNEL_OPTIONS, *(_VIRTUAL_KERNEL_OPTIONS if virtual else ()))
        options = ["-no-reboot", "-initrd", "{initramfs}", "-append", " ".join(kernel_options)]
        if virtual:
            options += _VIRTUAL
        options += ["-device", "virtio-serial-pci,id=rttcheck"]
        for number, port in enumerate(PORTS, start=1):
            options += [
                *("-chardev", f"socket,id=rttcheck.{port},fd={{{port}}}"),
                *("-device", f"virtserialport,bus=rttcheck.0,nr={number},chardev=rttcheck.{port},name=rttcheck.{port}"),
            ]
        options += [
            *("-fsdev", "local,id=rttcheck.rw,path={rw},security_model=none,multidevs=remap"),
            *("-device", f"virtio-9p-pci,fsdev=rttcheck.rw,mount_tag={RW_TAG}"),
        ]
        template = tuple(_virtme_run([*machine, "--qemu-opts", *options]))
        return cls(template, kernel.image, initramfs, identity=str(initramfs))

    def command(self, *, name: str, rw: Path, sockets: Mapping[str, int]) -> list[str]:
        """Return QEMU's command line for one session.

        `rw` is the directory that the guest can write to; `sockets` maps each of `PORTS` to the descriptor of a
        connected socket that QEMU inherits. QEMU's standard output is the guest's serial console.
        """
        places = {
            "name": name,
            "initramfs": str(self.initramfs),
            "rw": str(rw).replace(",", ",,"),
            **{port: str(fd) for port, fd in sockets.items()},
        }
        command = []
        for argument in self.template:
            for place, value in places.items():
                argument = argument.replace(f"{{{place}}}", value)
            command.append(argument)
        return command

    def digest(self) -> str:
        """Return a digest of QEMU, kernel, initramfs and command line."""
        digest = hashlib.sha256("\0".join([*self.template, self.identity]).encode())
        for path in (Path(self.template[0]), self.image):
            status = path.stat()
            digest.update(f"{status.st_size}:{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:16]


def _virtme_run(arguments: list[str]) -> list[str]:
    beside = Path(sys.executable).with_name("virtme-run")
    program = str(beside) if beside.exists() else shutil.which("virtme-run")
    if program is None:
        raise KernelError("virtme-ng is not installed, and guests are booted with it; pip install virtme-ng")
    if shutil.which("qemu-system-x86_64") is None:
        raise KernelError("QEMU is not installed, and guests run in it; apt-get install qemu-system-x86")
    command = [program, *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise KernelError(
            f"{program} cannot be executed ({error.strerror}), and guests are booted with it; "
            "pip install --force-reinstall virtme-ng"
        ) from error
    rows = done.stdout.splitlines()
    if done.returncode or not rows:
        reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise KernelError(f"virtme-ng refuses to boot {arguments[1]} ({reason}); give another kernel")
    return shlex.split(rows[-1])
