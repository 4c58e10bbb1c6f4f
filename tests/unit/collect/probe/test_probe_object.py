"""The built objects against their sources and against the NumPy side of their layout."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from rttcheck.collect.probe.probe import OBJECT
from rttcheck.collect.wire.queued import QUEUED
from rttcheck.record.event import CONFIG, COUNTS, EVENT, MINMAX_SAMPLE
from rttcheck.record.stamp import STAMP
from tests.support.object_btf import object_btf

BPF = OBJECT.parent.resolve()

STRUCTURES = {"rtt_event": EVENT, "rtt_config": CONFIG, "rtt_counts": COUNTS, "rtt_minmax_sample": MINMAX_SAMPLE}


OTHER_STRUCTURES = {"rtt_stamp.bpf.o": {"rtt_stamp": STAMP}, "rtt_queued.bpf.o": {"rtt_queued": QUEUED}}

OBJECTS = tuple(sorted(BPF.glob("*.bpf.o")))


LAYOUTS = [
    (path, name, dtype) for path in OBJECTS for name, dtype in OTHER_STRUCTURES.get(path.name, STRUCTURES).items()
]


def section(path: Path, name: str) -> bytes:
    """The content of a section of an object, an ELF64 file."""
    elf = path.read_bytes()
    start, entry_size, count, names_at = struct.unpack_from("<Q10xHHH", elf, 0x28)
    headers = [struct.unpack_from("<II8x8xQQ", elf, start + at * entry_size) for at in range(count)]
    names = headers[names_at][2]
    for at, _, offset, size in headers:
        if elf[names + at : elf.index(b"\0", names + at)] == name.encode():
            return elf[offset : offset + size]
    raise AssertionError(f"the object has no section {name}")


def c_type(dtype: np.dtype) -> str:
    """Return BTF's name of a field's type; of an array, that of its elements."""
    if dtype.base == MINMAX_SAMPLE:
        return "struct rtt_minmax_sample"
    if dtype.base.kind == "S":
        return "u8"
    return f"{ {'u': 'u', 'i': 's'}[dtype.base.kind] }{8 * dtype.base.itemsize}"


@pytest.mark.parametrize(("path", "name", "dtype"), LAYOUTS)
def test_the_dtype_is_the_structure_of_the_object_member_by_member(path: Path, name: str, dtype: np.dtype) -> None:
    with object_btf(path) as types:
        members, size = types.structure(name), types.structure_size(name)
    assert members is not None
    in_c = [(member.name, member.offset, member.size, member.type) for member in members]
    fields = dtype.fields
    assert fields is not None
    in_python = [
        (field, fields[field][1], fields[field][0].itemsize, c_type(fields[field][0])) for field in dtype.names or ()
    ]
    assert in_python == in_c
    assert dtype.itemsize == size
    assert sum(member.size for member in members) == size, "the structure has a hole"


def listed(variable: str) -> list[str]:
    found = re.search(rf"^{variable} := (.+)$", (BPF / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].split()


def test_the_makefile_knows_every_source_and_every_object() -> None:
    assert sorted(listed("HEADERS")) == sorted(path.name for path in BPF.glob("*.h")), "a header is not in its list"
    assert sorted(listed("OBJECTS")) == [path.name for path in OBJECTS]
    assert [path.with_suffix(".o").name for path in sorted(BPF.glob("*.c"))] == [path.name for path in OBJECTS]


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_object_was_built_from_these_sources(path: Path) -> None:
    names = [*listed("HEADERS"), path.with_suffix(".c").name]
    digest = hashlib.sha256(b"".join((BPF / name).read_bytes() for name in names)).hexdigest()
    assert section(path, "rttcheck_sources")[:64].decode() == digest, "the object is stale: make -C bpf"


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_object_has_its_licence(path: Path) -> None:
    assert section(path, "license") == b"Dual BSD/GPL\0"


@pytest.mark.parametrize("source", sorted(BPF.glob("*.[ch]")), ids=lambda path: path.name)
def test_every_source_names_its_licence(source: Path) -> None:
    assert source.read_text().startswith("/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */\n")


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_object_contains_nothing_of_the_machine_that_built_it(path: Path) -> None:
    absolute_paths = re.findall(rb"(?<![\w.])/(?:[\w.+-]+/)+[\w.+-]+\.[ch]\b", path.read_bytes())
    assert absolute_paths == []
