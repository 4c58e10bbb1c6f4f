"""The bcc program compiled, loaded and attached: its maps and its life, as `Watch` wants them.

It owns the compiler's conditions (the module, some kernel's headers) and the choice between kfunc and kprobe. It takes
some ten seconds in an emulated guest.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rttcheck.collect.probe.bcc_module import import_bcc
from rttcheck.collect.probe.bcc_program import program
from rttcheck.collect.probe.bpf_object import BpfMap
from rttcheck.collect.probe.btf import kernel_btf
from rttcheck.collect.probe.function import FUNCTION, Unproven
from rttcheck.collect.probe.libbpf import libbpf

HEADERS: Final = Path("/usr/src")
"""Where distributions put kernel headers."""

MODULES: Final = Path("/lib/modules")
KCONFIG: Final = Path("include/linux/kconfig.h")

_SOURCE: Final = "BCC_KERNEL_SOURCE"
_SHOWN_LINES: Final = 6


class BccObject:
    """A compiled program that is attached; see :func:`open_bcc`."""

    def __init__(self, compiled: Any, kind: str) -> None:
        self.kind = kind
        self._compiled = compiled

    def map(self, name: str) -> BpfMap:
        """The map of this name."""
        return BpfMap(libbpf(), int(self._compiled[name].map_fd), name)

    def skipped(self) -> int:
        """How often the kernel skipped a program because it was running on that CPU already (since 5.12)."""
        return sum(libbpf().recursion_misses(int(function.fd)) for function in self._compiled.funcs.values())


def headers(release: str, places: Path = HEADERS, modules: Path = MODULES) -> tuple[Path, ...]:
    """Header trees of some kernel that bcc can compile against; none where bcc finds those of ``release`` by itself.

    Any kernel's will do: all that the program knows of structures is looked up in BTF. Debian has two trees a kernel,
    what is generated for the flavour and what is common to all. Raises Unproven.
    """
    if (modules / release / "build" / "include").is_dir():
        return ()
    flavours = sorted(path for path in places.glob("linux-headers-*") if (path / "include" / "generated").is_dir())
    for flavour in reversed(flavours):
        if (flavour / KCONFIG).is_file():
            return (flavour,)
        common = next(places.glob(f"{re.sub(r'-[a-z0-9]+$', '', flavour.name)}-common*"), None)
        if common is not None and (common / KCONFIG).is_file():
            return flavour, common
    raise Unproven(
        "bcc compiles against the headers of a kernel, whichever it is, and there are none: "
        "apt install linux-headers-amd64"
    )


def merge(trees: tuple[Path, ...], into: Path) -> None:
    """Make one header tree of several, by links; of two files of a name the first tree's counts."""
    for below in (Path("include"), Path("arch/x86/include")):
        (into / below).mkdir(parents=True)
        for tree in trees:
            for entry in (tree / below).iterdir():
                link = into / below / entry.name
                if not link.is_symlink():
                    link.symlink_to(entry)


@contextmanager
def open_bcc(template: Path, ring_bytes: int, symbol: str, *, kfunc: bool) -> Iterator[BccObject]:
    """Compile ``template`` and attach it: as kfunc, which is what fexit is, or as kprobe and kretprobe on ``symbol``.

    Raises Unproven with what compiler or kernel said, CapabilityError without the module.
    """
    module = import_bcc()
    source = headers(os.uname().release)
    with kernel_btf() as btf:
        text = program(template.read_text(), btf, ring_bytes)
    flags = [f"-I{template.parent.resolve()}", "-Wno-everything", *(["-DRTT_KFUNC"] if kfunc else [])]

    def compiled() -> Any:
        made = module.BPF(text=text.encode(), cflags=flags)
        if not kfunc:
            made.attach_kretprobe(event=symbol.encode(), fn_name=b"rtt_return")
            made.attach_kprobe(event=symbol.encode(), fn_name=b"rtt_entry")
        return made

    with tempfile.TemporaryDirectory(prefix="rttcheck-headers-") as merged:
        if source:
            merge(source, Path(merged))
        with _environment(_SOURCE, merged if source else None):
            made = _quoting(compiled)
    try:
        yield BccObject(made, f"kfunc on {FUNCTION}" if kfunc else f"kprobe and kretprobe on {symbol}")
    finally:
        made.cleanup()


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set a variable that nobody has set, while the context lasts; None leaves it alone."""
    if value is None or name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _quoting(compiled: Callable[[], Any]) -> Any:
    """Call it; the compiler and the verifier write to standard error what was wrong, which then is in the reason."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            return compiled()
        except Exception as error:  # bcc raises nothing narrower
            said.seek(0)
            lines = [line.strip() for line in said.read().decode(errors="replace").splitlines()]
            telling = [line for line in lines if re.search(r"error|invalid|unknown|denied|permitted|R\d", line)]
            words = " / ".join((telling or lines)[-_SHOWN_LINES:])
            raise Unproven(f"bcc: {error}{f'; it said: {words}' if words else ''}") from None
        finally:
            os.dup2(kept, 2)
            os.close(kept)
