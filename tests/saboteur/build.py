"""The saboteur, compiled for one of Debian's kernels on this machine.

It owns the kernel's build tree, made of Debian's header packages in a directory of the cache (nothing is installed),
and what differs between the machine that compiles and the one that Debian compiled on: a compiler that knows fewer
options, a C library that is older than the kernel's build tools want.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

from rttcheck.errors import KernelError
from rttcheck.kernels.apt import Archive
from rttcheck.kernels.archive import archive_of, fetch
from rttcheck.kernels.cache import Progress, cache_root, exclusive, say, staged
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.spec import KernelSpec
from rttcheck.kernels.unpacking import unpacked

MODULE: Final = "saboteur"
SOURCES: Final = Path(__file__).parent / "module"

_BUILD_S = 300.0
"""Deadline of one build, seconds; it takes 10."""

_COMPILER = """#!/bin/sh
# Leaves out the options that this machine's compiler does not know, of a kernel that a newer one has compiled.
for option do
    shift
    case $option in {unknown}) continue ;; esac
    set -- "$@" "$option"
done
exec gcc "$@"
"""

_UNKNOWN: Final = re.compile(r"unrecognized command[- ]line option '([^']+)'")
_MOST_UNKNOWN: Final = 5
"""How often a build is repeated without the options that the compiler did not know."""

_LEFT_OUT: Final = ("CONFIG_DEBUG_INFO_BTF_MODULES=", "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=")
"""Types of its own would take pahole, and nobody asks for them; the alignment takes GCC 14, and matters to nobody."""

_MAKES: Final = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
"""What a make that runs this has in the environment for its own children."""

_TOOL = """#!/bin/sh
exec {loader} --library-path {libraries} {tool} "$@"
"""


def module_for(kernel: str, *, progress: Progress = say) -> Path:
    """Build the module for the kernel that a spec names, ``debian:6.12``, and return its file; kept until it changes.

    Raises KernelError when headers, compiler or build tools are missing, or the compiler refuses the sources.
    """
    spec, found = KernelSpec.parse(kernel), fetch(kernel, progress=progress)
    root = cache_root() / MODULE
    target = root / "modules" / f"{found.release}.{_digest()}"
    module = target / f"{MODULE}.ko"
    if module.exists():
        return module
    for program in ("gcc", "make"):
        if shutil.which(program) is None:
            raise KernelError(
                f"a kernel module is compiled with {program}, which is not installed: apt install gcc make"
            )
    with exclusive(root, progress=progress):
        tree = _tree(root / "trees" / found.release, spec, found, progress)
        with staged(target) as staging:
            _make(tree, found, staging)
    return module


def _digest() -> str:
    """Of all that the module is made of."""
    parts = [path.read_bytes() for path in (*sorted(SOURCES.iterdir()), Path(__file__)) if path.is_file()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _tree(target: Path, spec: KernelSpec, kernel: BootableKernel, progress: Progress) -> Path:
    """The kernel's build tree: headers, Kbuild, symbol versions, and the tools that they are used with."""
    name = kernel.package.replace("linux-image-", "linux-headers-", 1)
    tree = target / "usr/src" / name
    if tree.exists():
        return tree
    archive = archive_of(cache_root(), spec, kernel, progress)
    headers = [part for part in archive.parts(name, kernel.version) if part.startswith("linux-headers-")]
    with staged(target) as staging:
        for parts in (headers, [_kbuild(archive, kernel)]):
            with unpacked(archive, parts, kernel.version, beside=staging, progress=progress) as files:
                shutil.copytree(files / "usr", staging / "usr", symlinks=True, dirs_exist_ok=True)
        if not (staging / "usr/src" / name).exists():
            raise KernelError(f"the package {name} has no build tree in it; name another kernel")
        _settle(staging, target)
        _help_tools(staging, target, archive, progress)
    return tree


def _kbuild(archive: Archive, kernel: BootableKernel) -> str:
    """The package with the kernel's build tools: one of its own since 6.5, one a series before."""
    series = ".".join(kernel.version.split(".")[:2])
    for name in (f"linux-kbuild-{kernel.release.removesuffix('-amd64')}", f"linux-kbuild-{series}"):
        try:
            archive.parts(name, kernel.version)
        except KernelError:
            continue
        return name
    raise KernelError(f"Debian's archive has no linux-kbuild for {kernel.release}; fetch the newest of its series")


def _settle(staging: Path, target: Path) -> None:
    """Lead the tree's absolute paths to where it is going to lie."""
    for makefile in (staging / "usr/src").glob("*/Makefile"):
        makefile.write_text(re.sub(r"(?<![\w/])/usr/src/", f"{target}/usr/src/", makefile.read_text()))


def _help_tools(staging: Path, target: Path, archive: Archive, progress: Progress) -> None:
    """Give tools that this machine's C library is too old for the newest of the archive."""
    tools = [path for path in (staging / "usr/lib").glob("linux-kbuild-*/**/*") if _is_program(path)]
    old = [tool for tool in tools if "GLIBC_" in _said([str(tool)])]
    if not old:
        return
    with unpacked(archive, ["libc6"], archive.newest("libc6"), beside=staging, progress=progress) as files:
        (loader,) = sorted(files.glob("**/ld-linux-x86-64.so.2"))[:1]
        libraries = staging / "libraries"
        shutil.copytree(loader.resolve().parent if loader.is_symlink() else loader.parent, libraries, symlinks=False)
    # The loader's own directory comes first; what else they need, as libelf, is this machine's.
    place = target / "libraries"
    for tool in old:
        real = tool.with_name(f"{tool.name}.elf")
        tool.rename(real)
        there = target / real.relative_to(staging)
        tool.write_text(
            _TOOL.format(
                loader=place / "ld-linux-x86-64.so.2", libraries=f"{place}:/usr/lib/x86_64-linux-gnu", tool=there
            )
        )
        tool.chmod(0o755)


def _is_program(path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or not path.stat().st_mode & stat.S_IXUSR:
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _said(command: list[str]) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    return done.stderr


def _make(tree: Path, kernel: BootableKernel, directory: Path) -> None:
    """Build the module in ``directory``, leaving out options that the compiler is found not to know."""
    shutil.copytree(SOURCES, directory, dirs_exist_ok=True)
    compiler = directory / "cc"
    command = ["make", "-C", str(tree), f"M={directory}", f"CC={compiler}", "HOSTCC=gcc", *_LEFT_OUT, "modules"]
    environment = {name: value for name, value in os.environ.items() if name not in _MAKES}
    unknown: list[str] = []
    for _ in range(_MOST_UNKNOWN):
        compiler.write_text(_COMPILER.format(unknown="|".join(unknown) or "''"))
        compiler.chmod(0o755)
        try:
            done = subprocess.run(
                command,
                env={**environment, "LC_ALL": "C"},
                capture_output=True,
                text=True,
                timeout=_BUILD_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KernelError(
                f"the module for {kernel.release} was not built within {_BUILD_S:.0f} s; try again"
            ) from error
        more = sorted(set(_UNKNOWN.findall(done.stderr)) - set(unknown))
        if not more:
            break
        unknown += more
    if done.returncode or not (directory / f"{MODULE}.ko").exists():
        said = (done.stdout + done.stderr)[-3000:]
        raise KernelError(f"the module for {kernel.release} cannot be built; the last that was said:\n{said}")
