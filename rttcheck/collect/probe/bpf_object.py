"""One loaded BPF object: its programs, its links, its maps.

Leaving the context detaches the programs and frees the maps, and so does the death of the process.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rttcheck.collect.probe.libbpf import Libbpf, libbpf


class BpfMap:
    """A map by its file descriptor. Keys and values are bytes of the map's own sizes."""

    def __init__(self, library: Libbpf, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self._library = library

    def lookup(self, key: bytes, size: int) -> bytes:
        """Return the value of ``size`` bytes at ``key``. Raises Refused when there is none."""
        value = ctypes.create_string_buffer(size)
        result = self._library.call.bpf_map_lookup_elem(self.fd, key, value)
        self._library.check(result, f"read the map {self.name}")
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value at ``key``. Raises Refused, with E2BIG when the map is full."""
        self._library.check(
            self._library.call.bpf_map_update_elem(self.fd, key, value, 0), f"write to the map {self.name}"
        )

    def clear(self, key_size: int) -> int:
        """Delete all keys of a hash map and return how many there were."""
        count = 0
        key = ctypes.create_string_buffer(key_size)
        while self._library.call.bpf_map_get_next_key(self.fd, None, key) == 0:
            result = self._library.call.bpf_map_delete_elem(self.fd, key)
            if result != -errno.ENOENT:  # a program may have deleted it first
                self._library.check(result, f"delete from the map {self.name}")
                count += 1
        return count


class BpfObject:
    """A loaded object; see :func:`load_object`."""

    def __init__(self, library: Libbpf, handle: int, programs: Mapping[str, int]) -> None:
        self._library = library
        self._handle = handle
        self._programs = programs
        self._links: list[int] = []
        self._alike: tuple[str, ...] = ()

    def map(self, name: str) -> BpfMap:
        """Return the map of this name. Raises Refused when the object has none."""
        handle = self._library.pointer(
            self._library.call.bpf_object__find_map_by_name(self._handle, name.encode()), f"find the map {name}"
        )
        return BpfMap(self._library, self._library.call.bpf_map__fd(handle), name)

    def attach(self, program: str) -> None:
        """Attach a program to the target that it was loaded for. Raises Refused."""
        link = self._library.call.bpf_program__attach(self._programs[program])
        self._links.append(self._library.pointer(link, f"attach {program}"))

    def attach_alike(self, programs: Sequence[str]) -> None:
        """Attach programs that do the same, each for the calls that those before it are skipped in. Raises Refused."""
        # The kernel runs the last one first.
        for program in reversed(programs):
            self.attach(program)
        self._alike = tuple(programs)

    def attach_kprobe(self, program: str, symbol: str, *, on_return: bool) -> None:
        """Attach a kprobe program to the entry or the return of ``symbol``. Raises Refused."""
        link = self._library.call.bpf_program__attach_kprobe(self._programs[program], on_return, symbol.encode())
        self._links.append(self._library.pointer(link, f"attach {program} to {symbol}"))

    def attach_cgroup(self, program: str, cgroup_fd: int) -> None:
        """Attach a sockops program to a cgroup (version 2) and those below, beside other programs. Raises Refused."""
        link = self._library.call.bpf_program__attach_cgroup(self._programs[program], cgroup_fd)
        self._links.append(self._library.pointer(link, f"attach {program} to the cgroup"))

    def program_fd(self, program: str) -> int:
        """Return the file descriptor of a loaded program."""
        return int(self._library.call.bpf_program__fd(self._programs[program]))

    def skipped(self) -> tuple[int, ...]:
        """Return how often the kernel skipped a loaded program because it was running on that CPU already (since 5.12).

        One number, or of programs that were attached to do the same one each: a call is lost when all are skipped.
        """
        misses = {program: self._library.recursion_misses(self.program_fd(program)) for program in self._programs}
        return tuple(misses[program] for program in self._alike) or (sum(misses.values()),)

    def close(self) -> None:
        """Detach the programs and free the maps."""
        while self._links:
            self._library.call.bpf_link__destroy(self._links.pop())
        self._library.call.bpf_object__close(self._handle)


@contextmanager
def load_object(path: Path, programs: Mapping[str, str | None], max_entries: Mapping[str, int]) -> Iterator[BpfObject]:
    """Load some of an object's programs: a map of name to the kernel function that a tracing program is for, or None.

    ``max_entries`` overrides maps' sizes. Raises Refused with the end of the verifier's log.
    """
    library = libbpf()
    library.take_messages()
    handle = library.pointer(library.call.bpf_object__open_file(bytes(path), None), f"open {path}")
    try:
        wanted: dict[str, int] = {}
        program = library.call.bpf_object__next_program(handle, None)
        while program:
            name = library.call.bpf_program__name(program).decode()
            library.call.bpf_program__set_autoload(program, name in programs)
            if name in programs:
                wanted[name] = program
            program = library.call.bpf_object__next_program(handle, program)
        for name, target in programs.items():
            if target is not None:
                result = library.call.bpf_program__set_attach_target(wanted[name], 0, target.encode())
                library.check(result, f"find {target} for {name}")
        for name, size in max_entries.items():
            map_handle = library.pointer(
                library.call.bpf_object__find_map_by_name(handle, name.encode()), f"find the map {name}"
            )
            library.check(library.call.bpf_map__set_max_entries(map_handle, size), f"size the map {name}")
        # Before 5.11 maps count against RLIMIT_MEMLOCK: libbpf 1.0 and later raises the limit where permitted.
        library.check(library.call.bpf_object__load(handle), f"load {', '.join(programs)}")
    except BaseException:
        library.call.bpf_object__close(handle)
        raise
    loaded = BpfObject(library, handle, wanted)
    try:
        yield loaded
    finally:
        loaded.close()
