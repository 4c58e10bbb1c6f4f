"""The C functions of ``libbpf.so.1`` that the probe needs, with their types, and capture of libbpf's messages.

Failures become ``Refused``. Only functions of libbpf 1.0 are used, so every ``libbpf.so.1`` works.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections import deque
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any, Final

from rttcheck.errors import CapabilityError

LOG_LINES: Final = 40
"""How many of the last lines of libbpf's messages and the verifier's log are kept."""

_NO_INFORMATION: Final = re.compile(
    r"^-- BEGIN|^-- END|try raising 'ulimit -l'|failed to load: -\d+$|^failed to load object"
)
"""Lines that repeat others or mislead: before 5.11 libbpf has raised the limit itself, later there is none."""

_WARN: Final = 0
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)

_PROTOTYPES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, c_bool)),
    "bpf_program__set_attach_target": (c_int, (c_void_p, c_int, c_char_p)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_program__attach_kprobe": (c_void_p, (c_void_p, c_bool, c_char_p)),
    "bpf_program__attach_cgroup": (c_void_p, (c_void_p, c_int)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "ring_buffer__new": (c_void_p, (c_int, c_void_p, c_void_p, c_void_p)),
    "ring_buffer__consume": (c_int, (c_void_p,)),
    "ring_buffer__epoll_fd": (c_int, (c_void_p,)),
    "ring_buffer__free": (None, (c_void_p,)),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__parse": (c_void_p, (c_char_p, c_void_p)),
    "btf__free": (None, (c_void_p,)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
}


class Refused(Exception):
    """libbpf or the kernel refused; ``str()`` has the request, the error number and the kernel's message."""

    def __init__(self, asked: str, number: int, message: str) -> None:
        name = errno.errorcode.get(number, f"error {number}")
        detail = f"; message: {message}" if message else ""
        super().__init__(f"the kernel refused to {asked} with {name} ({os.strerror(number)}){detail}")
        self.number = number


class Libbpf:
    """The loaded library. Its messages are kept, the last ``LOG_LINES`` of them, instead of going to stderr."""

    def __init__(self, name: str = "libbpf.so.1") -> None:
        """Load the library; CapabilityError when it is not there or lacks a function of libbpf 1.0."""
        try:
            library = ctypes.CDLL(name, use_errno=True)
            for function, (result, arguments) in _PROTOTYPES.items():
                entry = getattr(library, function)
                entry.restype = result
                entry.argtypes = arguments
        except (OSError, AttributeError) as error:
            raise CapabilityError(
                f"the RTT probe needs {name} (1.0 or later) and it could not be loaded ({error}): apt install libbpf1"
            ) from None
        self.call: Any = library
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        libc = ctypes.CDLL(None)
        libc.vsnprintf.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)

        def keep(level: int, form: bytes, arguments: int) -> int:
            # The va_list itself is passed by reference on x86-64 and arm64, so a pointer is what vsnprintf wants. A
            # verifier's log can be megabytes: its end has the reason.
            if level == _WARN:
                text = ctypes.create_string_buffer(1 << 16)
                libc.vsnprintf(text, len(text), form, arguments)
                self._lines.extend(text.value.decode(errors="replace").splitlines())
            return 0

        self._keep = _PRINT(keep)  # libbpf holds the only other reference to it
        library.libbpf_set_print.argtypes = (_PRINT,)
        library.libbpf_set_print.restype = c_void_p
        library.libbpf_set_print(self._keep)

    def take_messages(self) -> str:
        """Return the messages of libbpf and the verifier since the last call, as one line, and clear them."""
        lines = [line.strip().removeprefix("libbpf: ") for line in self._lines]
        self._lines.clear()
        return " / ".join(line for line in lines if line and not _NO_INFORMATION.search(line))

    def check(self, result: int, asked: str) -> int:
        """Return ``result``. Raises Refused when it is a negative error number."""
        if result < 0:
            raise Refused(asked, -result, self.take_messages())
        return result

    def pointer(self, result: int | None, asked: str) -> int:
        """Return ``result``. Raises Refused (with errno) when it is NULL."""
        if not result:
            raise Refused(asked, ctypes.get_errno(), self.take_messages())
        return result

    def recursion_misses(self, program_fd: int) -> int:
        """Return how often the kernel skipped the program because it was running on that CPU already; 0 before 5.12."""
        # struct bpf_prog_info (include/uapi/linux/bpf.h) up to recursion_misses, which is its 27th word of eight bytes.
        info = (c_uint64 * 27)()
        size = c_uint32(ctypes.sizeof(info))
        asked = "report how often the program was skipped"
        self.check(self.call.bpf_obj_get_info_by_fd(program_fd, byref(info), byref(size)), asked)
        return int(info[26])


@cache
def libbpf() -> Libbpf:
    """Return the one binding of this process: libbpf's message function is process-wide."""
    return Libbpf()
