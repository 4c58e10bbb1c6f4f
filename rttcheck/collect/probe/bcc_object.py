"""Compile, load and attach the bcc program, and provide its maps to `Watch`.

Checks the compiler's conditions (the module, some kernel's headers), enforces its deadline, and chooses between kfunc
and kprobe. Compiling takes some ten seconds in an emulated guest, and runs in a separate process.
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
"""Deadline of the compiler, ten times its duration in an emulated guest, by the clock of the probed kernel: in a guest
of virtual time its launcher's deadline counts the host's time."""

HEADERS: Final = Path("/usr/src")
"""Where distributions install kernel headers."""

MODULES: Final = Path("/lib/modules")
KCONFIG: Final = Path("include/linux/kconfig.h")

_SOURCE: Final = "BCC_KERNEL_SOURCE"
_SHOWN_LINES: Final = 6
_MAPS: Final = ("config", "counts", "namespaces", "calls", "barrier", "barrier_inner", "events")
_END_S: Final = 10.0
"""To detach and end, which needs no compiler."""


class BccObject:
    """A compiled program that is attached in another process; see :func:`open_bcc`."""

    def __init__(self, maps: dict[str, int], functions: Sequence[int], kind: str) -> None:
        self.kind = kind
        self._maps = maps
        self._functions = functions

    def map(self, name: str) -> BpfMap:
        """Return the map of this name."""
        return BpfMap(libbpf(), self._maps[name], name)

    def skipped(self) -> tuple[int, ...]:
        """Return how often the kernel skipped a program because it was running on that CPU already (since 5.12)."""
        return (sum(libbpf().recursion_misses(function) for function in self._functions),)


def headers(release: str, places: Path = HEADERS, modules: Path = MODULES) -> tuple[Path, ...]:
    """Return header trees of any kernel that bcc can compile against; none where bcc finds those of ``release`` itself.

    Any kernel's will do, because all structure offsets come from BTF. Debian has two trees a kernel: generated files of
    the flavour, and common files. Raises Unproven.
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
        "bcc compiles against kernel headers, of any kernel, and there are none: apt install linux-headers-amd64"
    )


def merge(trees: tuple[Path, ...], into: Path) -> None:
    """Merge several header trees into one by links; of two files with the same name the first tree's is used."""
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
    """Compile ``template`` and attach it: as kfunc, bcc's name of fexit, or as kprobe and kretprobe on ``symbol``.

    Raises Unproven with the message of compiler or kernel, or when that took longer than ``deadline_s``;
    CapabilityError without the module.
    """
    import_bcc()
    source = headers(os.uname().release)
    with kernel_btf() as btf:
        text = program(template.read_text(), btf, ring_bytes)
    flags = [f"-I{template.parent.resolve()}", "-Wno-everything", *(["-DRTT_KFUNC"] if kfunc else [])]
    job = {"text": text, "cflags": flags, "symbol": None if kfunc else symbol, "maps": _MAPS}
    with ExitStack() as stack:
        output = stack.enter_context(tempfile.TemporaryFile())
        # bcc finds headers by the path of their tree, and only while it compiles.
        with tempfile.TemporaryDirectory(prefix="rttcheck-headers-", ignore_cleanup_errors=True) as place:
            if source:
                merge(source, Path(place))
            control = stack.enter_context(_compiler(output, place, {_SOURCE: place} if source else {}))
            descriptors, count = _ask(control, job, output, deadline_s)
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        maps = dict(zip(_MAPS, descriptors, strict=False))
        kind = f"kfunc on {FUNCTION}" if kfunc else f"kprobe and kretprobe on {symbol}"
        yield BccObject(maps, descriptors[len(descriptors) - count :], kind)


@contextmanager
def _compiler(output: IO[bytes], scratch: str, environment: dict[str, str]) -> Iterator[socket.socket]:
    """Start the compiling process and yield our end of its socket; the process detaches and ends with the context.

    It removes ``scratch`` when this process is killed before it has answered. ``environment`` sets unset variables.
    """
    # Imported here: every guest imports this module, and few of them compile.
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
                stderr=output,
                # Ctrl-C is for this process, which then ends the compiler.
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


def _ask(control: socket.socket, job: dict[str, Any], output: IO[bytes], deadline_s: float) -> tuple[list[int], int]:
    """Send the job; return the received descriptors, and how many of them, the last ones, are functions."""
    control.settimeout(deadline_s)
    try:
        control.send(json.dumps(job).encode())
        message, descriptors, _, _ = socket.recv_fds(control, MOST_MESSAGE, 64)
    except TimeoutError:
        raise Unproven(
            f"bcc: it did not compile its program within {deadline_s:g} s: reduce the machine's load{_quoted(output)}"
        ) from None
    except OSError:
        message, descriptors = b"", []
    if not message:
        raise Unproven(f"bcc: the compiling process died{_quoted(output)}")
    answer = json.loads(message)
    if "error" not in answer:
        return list(descriptors), int(answer["functions"])
    if answer["missing"]:
        raise CapabilityError(answer["error"])
    raise Unproven(f"bcc: {answer['error']}{_quoted(output)}")


def _quoted(output: IO[bytes]) -> str:
    """Return the compiler's and verifier's standard error as the end of a reason."""
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").splitlines()]
    telling = [line for line in lines if re.search(r"error|invalid|unknown|denied|permitted|R\d", line)]
    quoted = " / ".join((telling or lines)[-_SHOWN_LINES:])
    return f"; message: {quoted}" if quoted else ""
