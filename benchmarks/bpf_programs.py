"""The BPF programs that are loaded into the kernel, and how long each has run: ``kernel.bpf_stats_enabled``."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rttcheck.collect.probe.libbpf import libbpf

_SWITCH: Final = Path("/proc/sys/kernel/bpf_stats_enabled")
_WORDS: Final = 26
"""struct bpf_prog_info (include/uapi/linux/bpf.h) up to run_cnt, in words of eight bytes."""
_NAME: Final = slice(64, 80)
"""The bytes of its name in there."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What the kernel has counted of one program while counting was on."""

    name: str
    ns: int
    """Without what calls the program: trampoline, breakpoint."""
    times: int


@contextmanager
def counted() -> Iterator[None]:
    """Let the kernel count programs' runs, which takes it two readings of its clock a run."""
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text("0")


def programs() -> dict[int, Ran]:
    """Return all loaded programs by their id. Raises Refused."""
    library = libbpf()
    found: dict[int, Ran] = {}
    number = ctypes.c_uint32(0)
    while library.call.bpf_prog_get_next_id(number.value, ctypes.byref(number)) == 0:
        fd = library.call.bpf_prog_get_fd_by_id(number.value)
        if fd < 0:  # gone in between
            continue
        try:
            info = (ctypes.c_uint64 * _WORDS)()
            size = ctypes.c_uint32(ctypes.sizeof(info))
            told = library.call.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
            library.check(told, "describe a program")
        finally:
            os.close(fd)
        name = bytes(info)[_NAME].rstrip(b"\0").decode()
        found[number.value] = Ran(name, int(info[24]), int(info[25]))
    return found
