"""Look up functions and structures in BTF, the kernel's own type information.

Reads ``struct btf_type`` (Documentation/bpf/btf.rst).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rttcheck.collect.probe.libbpf import Libbpf, libbpf

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD = 1, 2, 3, 4, 5, 6, 7
_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _FUNC, _FUNC_PROTO, _TYPE_TAG = 8, 9, 10, 11, 12, 13, 18
_TRANSPARENT: Final = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})
_SIGNED, _BOOL = 1, 4


@dataclass(frozen=True, slots=True)
class Prototype:
    """A function's type: parameters as (name, type), types as :meth:`Btf.type_name` gives them."""

    returns: str
    parameters: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.returns} ({', '.join(f'{type_} {name}' for name, type_ in self.parameters)})"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure: offset and size in bytes; an array's ``type`` is its element's, ``size`` the whole."""

    name: str
    offset: int
    size: int
    type: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member is: offset in bytes; ``bits`` of a bit field, which begins ``shift`` bits into that byte."""

    offset: int
    bits: int = 0
    shift: int = 0


class Btf:
    """The types of one kernel or object file."""

    def __init__(self, library: Libbpf, handle: int) -> None:
        self._library = library
        self._handle = handle

    def function(self, name: str) -> Prototype | None:
        """Return the prototype of the function of exactly this name, or None when BTF has none."""
        found = self._find(name, _FUNC)
        if found is None:
            return None
        _, _, proto = self._words(found)
        _, info, returns = self._words(proto)
        words = self._words(proto, 3 + 2 * (info & 0xFFFF))
        parameters = tuple((self._string(words[at]), self.type_name(words[at + 1])) for at in range(3, len(words), 2))
        return Prototype(self.type_name(returns), parameters)

    def structure(self, name: str) -> tuple[Member, ...] | None:
        """Return the members of the structure of this name in order, or None when BTF has none. No bit fields."""
        found = self._find(name, _STRUCT)
        if found is None:
            return None
        _, info, _ = self._words(found)
        words = self._words(found, 3 + 3 * (info & 0xFFFF))
        return tuple(
            Member(
                name=self._string(words[at]),
                offset=words[at + 2] // 8,
                size=self.size(words[at + 1]),
                type=self.type_name(words[at + 1]),
            )
            for at in range(3, len(words), 3)
        )

    def place(self, structure: str, path: str) -> Place | None:
        """Return the place of the member ``path`` (names with dots) in a structure, or None when there is none.

        Members of unnamed structures and unions are found as in C. A bit field must lie within one byte.
        """
        found = self._find(structure, _STRUCT)
        base, at = 0, None
        for name in path.split("."):
            within = self._within(found, name) if found is not None else None
            if within is None:
                return None
            offset, bits, found = within
            at, base = (base + offset, bits), base + offset
        return None if at is None else Place(at[0] // 8, at[1], at[0] % 8 if at[1] else 0)

    def _within(self, type_id: int, name: str) -> tuple[int, int, int] | None:
        """Return a member's offset in bits, its width as a bit field, and its type; search unnamed members too."""
        _, info, rest = self._words(type_id)
        while info >> 24 & 0x1F in _TRANSPARENT:
            type_id = rest
            _, info, rest = self._words(type_id)
        if info >> 24 & 0x1F not in (_STRUCT, _UNION):
            return None
        words = self._words(type_id, 3 + 3 * (info & 0xFFFF))
        packed = bool(info >> 31)  # the upper byte of an offset is the bit field's size then
        for at in range(3, len(words), 3):
            offset, bits = (words[at + 2] & 0xFFFFFF, words[at + 2] >> 24) if packed else (words[at + 2], 0)
            if not words[at]:
                deeper = self._within(words[at + 1], name)
                if deeper is not None:
                    return offset + deeper[0], deeper[1], deeper[2]
            elif self._string(words[at]) == name:
                return offset, bits, words[at + 1]
        return None

    def structure_size(self, name: str) -> int | None:
        """Return the size of the structure of this name in bytes, or None when BTF has none."""
        found = self._find(name, _STRUCT)
        return None if found is None else self._words(found)[2]

    def type_name(self, type_id: int) -> str:
        """Return ``void``, ``bool``, ``u8`` to ``s64``, ``struct x``, with `` *`` for each pointer; an array's element.

        Qualifiers and typedefs are left out.
        """
        if type_id == 0:
            return "void"
        name, info, rest = self._words(type_id)
        kind = info >> 24 & 0x1F
        if kind in _TRANSPARENT:
            return self.type_name(rest)
        if kind == _PTR:
            return f"{self.type_name(rest)} *"
        if kind == _ARRAY:
            return self.type_name(self._words(type_id, 6)[3])
        if kind == _INT:
            encoding = self._words(type_id, 4)[3] >> 24 & 0xF
            return "bool" if encoding & _BOOL else f"{'s' if encoding & _SIGNED else 'u'}{8 * rest}"
        keyword = {_STRUCT: "struct", _UNION: "union", _ENUM: "enum", _FWD: "struct"}.get(kind, f"kind {kind}")
        return f"{keyword} {self._string(name)}"

    def size(self, type_id: int) -> int:
        """Return the size of a type in bytes."""
        _, info, rest = self._words(type_id)
        kind = info >> 24 & 0x1F
        if kind in _TRANSPARENT:
            return self.size(rest)
        if kind == _PTR:
            return 8
        if kind == _ARRAY:
            element, _, count = self._words(type_id, 6)[3:]
            return count * self.size(element)
        return rest

    def _find(self, name: str, kind: int) -> int | None:
        found: int = self._library.call.btf__find_by_name_kind(self._handle, name.encode(), kind)
        return found if found > 0 else None

    def _words(self, type_id: int, count: int = 3) -> tuple[int, ...]:
        address = self._library.call.btf__type_by_id(self._handle, type_id)
        return tuple((ctypes.c_uint32 * count).from_address(address))

    def _string(self, offset: int) -> str:
        text: bytes = self._library.call.btf__name_by_offset(self._handle, offset)
        return text.decode()


@contextmanager
def kernel_btf() -> Iterator[Btf]:
    """Yield the running kernel's types. Raises Refused when it has none."""
    library = libbpf()
    handle = library.pointer(library.call.btf__load_vmlinux_btf(), "read its BTF")
    try:
        yield Btf(library, handle)
    finally:
        library.call.btf__free(handle)
