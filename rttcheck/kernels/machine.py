"""The emulated machine: QEMU's command line for one guest.

virtme-ng says how a machine with this host's root looks (its ``virtme-run --dry-run --show-command``); owned here is
what is put on top: the clock, our initramfs, our ports. Starts nothing.
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
"""The guest's virtio-serial ports, each a stream of bytes of its own."""

_VIRTUAL = ("-icount", "shift=0,sleep=off")
"""One nanosecond an instruction, and idle time is jumped over: the guest's clock owes nothing to the host's."""

_VIRTUAL_KERNEL_OPTIONS = (
    # A guest that waits for a file of the host's is idle, and its clock jumps to the next timer: 12 s were seen for one
    # write to 9p, and then deadlines in the guest pass for nothing. With a tick that never stops it is 4 ms at a time,
    # which is less, not nothing: imports of 82 s instead of 168 on 5.10, of 32 instead of 191 on 6.12 (a busy host).
    # It is no cure for 5.10 "stalling" in virtual time: that was not met without it either (docs/kernels.md).
    "nohz=off",
    # khugepaged copies a new process' pages together, 0.4 ms apiece in which packets wait: it was the current task
    # (the events say so) around the samples that came 0.4 to 1.8 ms late, early in a guest's first scenario.
    "transparent_hugepage=never",
)

_KERNEL_OPTIONS = (
    "console=ttyS0",
    "quiet",
    "loglevel=5",
    # A guest that is broken ends at once: -no-reboot makes the reboot an exit of QEMU.
    "panic=-1",
    "oops=panic",
    "reboot=t",
    # Every patched instruction costs the emulator a translation: 2 s of a boot.
    "mitigations=off",
    "noreplace-smp",
    "audit=0",
    "edd=off",
)


@dataclass(frozen=True, slots=True)
class GuestMachine:
    """A machine for one kernel; ``template`` is QEMU's command line with places for what differs between sessions."""

    template: tuple[str, ...]
    image: Path

    @classmethod
    def build(
        cls, kernel: BootableKernel, settings: GuestSettings, *, initramfs: Path, kvm: bool = False
    ) -> GuestMachine:
        """The machine that `settings` ask for.

        Raises `KernelError` when virtme-ng or QEMU is missing or refuses the kernel.
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
        told = (*_KERNEL_OPTIONS, *(_VIRTUAL_KERNEL_OPTIONS if virtual else ()))
        options = ["-no-reboot", "-initrd", str(initramfs), "-append", " ".join(told)]
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
        return cls(tuple(_virtme_run([*machine, "--qemu-opts", *options])), kernel.image)

    def command(self, *, name: str, rw: Path, sockets: Mapping[str, int]) -> list[str]:
        """QEMU's command line for one session.

        `rw` is the directory that the guest may write to; `sockets` maps each of `PORTS` to a connected socket's
        descriptor that QEMU inherits. QEMU's standard output is the guest's serial console.
        """
        places = {"name": name, "rw": str(rw).replace(",", ",,"), **{port: str(fd) for port, fd in sockets.items()}}
        command = []
        for argument in self.template:
            for place, value in places.items():
                argument = argument.replace(f"{{{place}}}", value)
            command.append(argument)
        return command

    def digest(self) -> str:
        """Names the machine: another QEMU, kernel, initramfs or command line has another digest."""
        digest = hashlib.sha256("\0".join(self.template).encode())
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
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise KernelError(f"virtme-ng refuses to boot {arguments[1]} ({said}); give another kernel")
    return shlex.split(rows[-1])
