"""A kernel's ``.config``: read it, and find options that a guest or its probe needs and that are not set."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import KernelError

GUEST: Mapping[str, str] = {
    "BLK_DEV_INITRD": "",
    "BINFMT_ELF": "",
    "BINFMT_SCRIPT": "",
    "PROC_FS": "",
    "SYSFS": "",
    "TMPFS": "",
    "DEVTMPFS": "",
    "UNIX98_PTYS": "",
    "PCI": "",
    "SERIAL_8250_CONSOLE": "",
    "VIRTIO_PCI": "virtio_pci",
    "VIRTIO_CONSOLE": "virtio_console",
    "NET_9P_VIRTIO": "9pnet_virtio",
    "9P_FS": "9p",
    "OVERLAY_FS": "overlay",
    "NET_NS": "",
    "INET": "",
    "VETH": "veth",
    "PACKET": "af_packet",
}
"""Options that booting a guest and its lab need, and the module that provides each if it is ``m``."""

PROBE = ("DEBUG_INFO_BTF", "BPF_SYSCALL", "BPF_JIT", "BPF_EVENTS", "DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "KPROBE_EVENTS")
"""Options that seeing every sample needs: fexit all but the last, kprobes all but the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The options of one kernel, without the prefix ``CONFIG_``; options that are not set are missing."""

    path: Path
    options: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read a file ``.config``. Raises `KernelError` when it cannot be read."""
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            raise KernelError(
                f"the configuration {path} cannot be read ({error.strerror}); make it readable"
            ) from error
        return cls(path=path, options=dict(re.findall(r"(?m)^CONFIG_(\w+)=(.*)$", text)))


def lacking_for_a_guest(configuration: Configuration, modules: Collection[str]) -> tuple[str, ...]:
    """Return the options that prevent booting as a guest, as ``CONFIG_X=n``; `modules` are the modules available."""
    lacking = []
    for option, module in GUEST.items():
        value = configuration.options.get(option, "n")
        if value == "y" or (value == "m" and module in modules):
            continue
        lacking.append(f"CONFIG_{option}={value}" + (f" and no module {module}" if value == "m" else ""))
    return tuple(lacking)


def lacking_for_a_probe(configuration: Configuration) -> tuple[str, ...]:
    """Return the options that prevent seeing every sample, as ``CONFIG_X=n``; none if fexit or kprobes work."""
    lacking = [option for option in PROBE if configuration.options.get(option) != "y"]
    if len(lacking) == 1 and lacking[0] in PROBE[-2:]:
        # The other of fexit and kprobes works.
        return ()
    return tuple(f"CONFIG_{option}=n" for option in lacking)
