"""The types of a BPF object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rttcheck.collect.probe.btf import Btf
from rttcheck.collect.probe.libbpf import libbpf


@contextmanager
def object_btf(path: Path) -> Iterator[Btf]:
    """Yield the types of a BPF object or another ELF file. Raises Refused when it has none."""
    library = libbpf()
    handle = library.pointer(library.call.btf__parse(bytes(path), None), f"read the BTF of {path}")
    try:
        yield Btf(library, handle)
    finally:
        library.call.btf__free(handle)
