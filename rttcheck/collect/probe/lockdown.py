"""Read whether the kernel is locked down, and whether so far that no program may read its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LOCKDOWN: Final = Path("/sys/kernel/security/lockdown")
"""All modes in a line, the one in force in brackets; not there where securityfs is not mounted."""

UNLOCK: Final = "boot it with lockdown=none, or without Secure Boot"


def lockdown_mode(path: Path | None = None) -> str | None:
    """Return the kernel's own line, ``none [integrity] confidentiality``; None where it cannot be read."""
    try:
        return (path or LOCKDOWN).read_text().strip()
    except OSError:
        return None


def forbids_tracing(mode: str | None) -> bool:
    """Return whether a mode forbids programs to read kernel memory, and kprobes: confidentiality, not integrity.

    Source: ``LOCKDOWN_BPF_READ_KERNEL`` and ``LOCKDOWN_KPROBES`` lie beyond ``LOCKDOWN_INTEGRITY_MAX`` in
    include/linux/security.h, 5.10 to 7.3.
    """
    return mode is not None and "[confidentiality]" in mode
