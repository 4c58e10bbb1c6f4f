"""The bcc program compiled, loaded and attached: its maps and its life, as `Watch` wants them.

It owns the compiler's conditions (the module, some kernel's headers), its deadline, and the choice between kfunc and
kprobe. It takes some ten seconds in an emulated guest, and is done in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from rttcheck.collect.probe.bcc_compiler import MOST_MESSAGE
from rttcheck.collect.probe.bcc_module import import_bcc
from rttcheck.collect.probe.bcc_program import program
from rttcheck.collect.probe.bpf_object import BpfMap
from rttcheck.collect.probe.btf import kernel_btf
from rttcheck.collect.probe.function import FUNCTION, Unproven
from rttcheck.collect.probe.libbpf import libbpf
from rttcheck.errors import CapabilityError

COMPILE_S: Final = 120.0
"""Deadline of the compiler, ten times what it takes in an emulated guest, by the clock of the kernel that is probed: in
a guest of virtual time its launcher counts the host's."""

HEADERS: Final = Path("/usr/src")
"""Where distributions put kernel headers."""

MODULES: Final = Path("/lib/modules")
KCONFIG: Final = Path("include/linux/kconfig.h")

_SOURCE: Final = "BCC_KERNEL_SOURCE"
_SHOWN_LINES: Final = 6
_MAPS: Final = ("config", "counts", "namespaces", "calls", "barrier", "barrier_inner", "events")
_END_S: Final = 10.0
"""To detach and leave, which takes no compiler."""


class BccObject:
    """A compiled program that is attached in another process; see :func:`open_bcc`."""

    def __init__(self, maps: dict[str, int], functions: Sequence[int], kind: str) -> None:
        self.kind = kind
        self._maps = maps
        self._functions = functions

    def map(self, name: str) -> BpfMap:
        """The map of this name."""
        return BpfMap(libbpf(), self._maps[name], name)

    def skipped(self) -> tuple[int, ...]:
        """How often the kernel skipped a program because it was running on that CPU already (since 5.12)."""
        return (sum(libbpf().recursion_misses(function) for function in self._functions),)


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
def open_bcc(
    template: Path, ring_bytes: int, symbol: str, *, kfunc: bool, deadline_s: float = COMPILE_S
) -> Iterator[BccObject]:
    """Compile ``template`` and attach it: as kfunc, which is what fexit is, or as kprobe and kretprobe on ``symbol``.

    Raises Unproven with what compiler or kernel said, or when that took longer than ``deadline_s``; CapabilityError
    without the module.
    """
    import_bcc()
    source = headers(os.uname().release)
    with kernel_btf() as btf:
        text = program(template.read_text(), btf, ring_bytes)
    flags = [f"-I{template.parent.resolve()}", "-Wno-everything", *(["-DRTT_KFUNC"] if kfunc else [])]
    job = {"text": text, "cflags": flags, "symbol": None if kfunc else symbol, "maps": _MAPS}
    with ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile())
        # bcc looks headers up by the path of their tree, and only while it compiles.
        with tempfile.TemporaryDirectory(prefix="rttcheck-headers-", ignore_cleanup_errors=True) as place:
            if source:
                merge(source, Path(place))
            control = stack.enter_context(_compiler(said, place, {_SOURCE: place} if source else {}))
            descriptors, count = _ask(control, job, said, deadline_s)
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        maps = dict(zip(_MAPS, descriptors, strict=False))
        kind = f"kfunc on {FUNCTION}" if kfunc else f"kprobe and kretprobe on {symbol}"
        yield BccObject(maps, descriptors[len(descriptors) - count :], kind)


@contextmanager
def _compiler(said: IO[bytes], scratch: str, environment: dict[str, str]) -> Iterator[socket.socket]:
    """Our end of the compiling process' socket; it detaches and is gone when the context is left.

    It removes ``scratch`` when we are killed before it has answered. ``environment`` is for what nobody has set.
    """
    # Only here: every guest imports this module, and few of them compile.
    import subprocess

    command = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from rttcheck.collect.probe.bcc_compiler import run_from_command_line; run_from_command_line()"
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", command, scratch, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                # Ctrl-C is for us, who then let it detach.
                process_group=0,
                env={**environment, **os.environ},
            )
        try:
            yield ours
        finally:
            ours.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_END_S)
            process.kill()
            process.wait()


def _ask(control: socket.socket, job: dict[str, Any], said: IO[bytes], deadline_s: float) -> tuple[list[int], int]:
    """The descriptors that came, and how many of them, the last, are functions."""
    control.settimeout(deadline_s)
    try:
        control.send(json.dumps(job).encode())
        message, descriptors, _, _ = socket.recv_fds(control, MOST_MESSAGE, 64)
    except TimeoutError:
        raise Unproven(
            f"bcc: it did not compile its program within {deadline_s:g} s: give the machine a rest{_quoted(said)}"
        ) from None
    except OSError:
        message, descriptors = b"", []
    if not message:
        raise Unproven(f"bcc: the process that compiles died{_quoted(said)}")
    answer = json.loads(message)
    if "error" not in answer:
        return list(descriptors), int(answer["functions"])
    if answer["missing"]:
        raise CapabilityError(answer["error"])
    raise Unproven(f"bcc: {answer['error']}{_quoted(said)}")


def _quoted(said: IO[bytes]) -> str:
    """What compiler and verifier wrote to standard error, as the end of a reason."""
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines()]
    telling = [line for line in lines if re.search(r"error|invalid|unknown|denied|permitted|R\d", line)]
    words = " / ".join((telling or lines)[-_SHOWN_LINES:])
    return f"; it said: {words}" if words else ""
