"""How a kernel was configured, and which options a guest and its probe cannot do without.

Owns the reading of ``.config`` and the two lists of options. Knows nothing of where a kernel lies.
"""

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
"""Options without which a guest does not come up or has no lab, and the module that an ``m`` means."""

PROBE = ("DEBUG_INFO_BTF", "BPF_SYSCALL", "BPF_JIT", "BPF_EVENTS", "DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "KPROBE_EVENTS")
"""Options for seeing every sample: fexit needs all but the last, kprobes all but the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The options of one kernel without ``CONFIG_``; one that is not set is missing."""

    path: Path
    options: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Raises `KernelError` for a file that cannot be read."""
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            raise KernelError(
                f"the configuration {path} cannot be read ({error.strerror}); make it readable"
            ) from error
        return cls(path=path, options=dict(re.findall(r"(?m)^CONFIG_(\w+)=(.*)$", text)))


def lacking_for_a_guest(configuration: Configuration, modules: Collection[str]) -> tuple[str, ...]:
    """The options that keep the kernel from being a guest, each as it is, with the names of the modules at hand."""
    lacking = []
    for option, module in GUEST.items():
        value = configuration.options.get(option, "n")
        if value == "y" or (value == "m" and module in modules):
            continue
        lacking.append(f"CONFIG_{option}={value}" + (f" and no module {module}" if value == "m" else ""))
    return tuple(lacking)


def lacking_for_a_probe(configuration: Configuration) -> tuple[str, ...]:
    """The options that keep samples from being seen, as they are: none where fexit or kprobes work."""
    lacking = [option for option in PROBE if configuration.options.get(option) != "y"]
    if len(lacking) == 1 and lacking[0] in PROBE[-2:]:
        # One way is open.
        return ()
    return tuple(f"CONFIG_{option}=n" for option in lacking)
