"""Find the running kernel's symbol for ``tcp_ack_update_rtt``, and prove that its arguments are the known ones.

A compiler may rename the function (``.isra.0``, ``.constprop.0``) and drop or reorder its arguments, or leave a
clone beside the original that some callers use. A probe by name would then silently report wrong numbers, or only some.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from rttcheck.collect.probe.btf import Prototype, kernel_btf
from rttcheck.collect.probe.libbpf import Refused
from rttcheck.errors import CapabilityError

FUNCTION: Final = "tcp_ack_update_rtt"

PROTOTYPE: Final = Prototype(
    "bool",
    (
        ("sk", "struct sock *"),
        ("flag", "s32"),
        ("seq_rtt_us", "s64"),
        ("sack_rtt_us", "s64"),
        ("ca_rtt_us", "s64"),
        ("rs", "struct rate_sample *"),
    ),
)
"""net/ipv4/tcp_input.c, the same from 5.10 to 7.3. The names are compared too: all RTTs have the same type."""

KALLSYMS: Final = Path("/proc/kallsyms")
MODULES: Final = Path("/proc/modules")
VMLINUX: Final = Path("/sys/kernel/btf/vmlinux")


class Unproven(Exception):
    """No symbol is proven to be the function, or a backend cannot work here; ``str()`` gives the reason."""


def symbols(kallsyms: bytes) -> tuple[str, ...]:
    """Return the names in the text of ``/proc/kallsyms`` that are the function or a clone of it, sorted.

    ``.cold`` parts are excluded: they are targets of jumps out of the function, never called.
    """
    found = set()
    base = FUNCTION.encode()
    at = kallsyms.find(base)
    while at >= 0:
        start, end = kallsyms.rfind(b"\n", 0, at) + 1, kallsyms.find(b"\n", at)
        fields = kallsyms[start : end if end >= 0 else len(kallsyms)].split()
        if len(fields) >= 3 and fields[1] in b"tTwW":
            name, _, suffix = fields[2].partition(b".")
            if name == base and suffix.partition(b".")[0] != b"cold":
                found.add(fields[2].decode())
        at = kallsyms.find(base, at + len(base))
    return tuple(sorted(found))


def resolve(found: tuple[str, ...], prototype_of: Callable[[str], Prototype | None]) -> str:
    """Return the symbol to attach to: the only one, with exactly the known prototype in BTF.

    ``prototype_of`` looks a function up in the kernel's BTF by its exact name. Raises Unproven with the reason.
    """
    if not found:
        raise Unproven(f"the kernel has no function {FUNCTION}: built without TCP, or inlined into its callers")
    clones = ", ".join(name for name in found if name != FUNCTION)
    if len(found) > 1:
        raise Unproven(f"the kernel has {FUNCTION} more than once ({', '.join(found)}): a probe on one misses calls")
    symbol = found[0]
    prototype = prototype_of(symbol)
    if prototype is None and clones:
        raise Unproven(f"the compiler renamed {FUNCTION} to {clones}, and no BTF proves that clone's arguments")
    if prototype is None:
        raise Unproven(f"the kernel's BTF does not contain {FUNCTION}: its arguments are unknown")
    if prototype != PROTOTYPE:
        raise Unproven(f"the kernel's {symbol} is {prototype} and not {PROTOTYPE}")
    return symbol


def proven_symbol() -> str:
    """Return the running kernel's symbol. Raises Unproven with the reason, Refused when BTF cannot be read.

    It is looked up again when a module was loaded or removed since.
    """
    if not VMLINUX.exists():
        raise Unproven(f"the kernel has no BTF ({VMLINUX} is missing; it needs CONFIG_DEBUG_INFO_BTF)")
    return _proven_with(_loaded_modules())


def look_ahead() -> None:
    """Look the symbol up for later calls in this process, if there is one."""
    with suppress(CapabilityError, Refused, Unproven):
        proven_symbol()


def _loaded_modules() -> frozenset[tuple[str, str]]:
    """Return names and addresses of the kernel's modules; empty for a kernel without."""
    try:
        lines = MODULES.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset((words[0], words[5]) for words in map(str.split, lines) if len(words) > 5)


@lru_cache(maxsize=1)
def _proven_with(_modules: frozenset[tuple[str, str]]) -> str:
    """Return the symbol of the kernel with these modules. A guest takes 0.7 s to list all symbols."""
    try:
        kallsyms = KALLSYMS.read_bytes()
    except OSError as error:
        raise Unproven(f"the kernel's symbols cannot be read ({error})") from None
    with kernel_btf() as btf:
        return resolve(symbols(kallsyms), btf.function)
