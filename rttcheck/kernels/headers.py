"""A kernel's headers, for programs that are compiled in its guest (bcc): fetched into the cache, beside the kernel.

Owns what of Debian's two header packages is kept and where it is seen: ``build`` in the module directory, which is
``/lib/modules/RELEASE/build`` in a guest. That is for compiling against headers; linux-kbuild, with which modules are
built, has absolute paths in it and no place here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.apt import Archive
from rttcheck.kernels.cache import Progress, staged
from rttcheck.kernels.kernel import HEADERS, BootableKernel
from rttcheck.kernels.unpacking import unpacked

_KEPT = ("include", "arch/x86/include")
"""What compilers read of a header tree."""

_LANDMARKS = ("include/linux/kconfig.h", "include/generated/autoconf.h", "arch/x86/include/generated")


def fetch_headers(kernel: BootableKernel, archive: Archive, *, progress: Progress) -> None:
    """Put the headers of a cached kernel beside it; whoever calls holds `exclusive`.

    Raises `KernelError` when they cannot be fetched or are no whole tree.
    """
    name = kernel.package.replace("linux-image-", "linux-headers-", 1)
    if kernel.modules is None or name == kernel.package:
        raise KernelError(f"{kernel.release} is not of Debian's archive, which has no headers for it; fetch another")
    # Since 7.3 they depend on linux-base-RELEASE too, which holds none.
    parts = [part for part in archive.parts(name, kernel.version) if part.startswith("linux-headers-")]
    progress(f"fetching {name} {kernel.version} from Debian's archive")
    target = kernel.image.parent / HEADERS
    with staged(target) as staging:
        with unpacked(archive, parts, kernel.version, beside=staging, progress=progress) as files:
            # What is generated for the flavour, and what is common to all.
            for tree in sorted((files / "usr/src").glob("linux-headers-*"), key=lambda tree: tree.name.endswith("64")):
                _copy(tree, staging)
        lacking = [mark for mark in _LANDMARKS if not (staging / mark).exists()]
        if lacking:
            raise KernelError(f"the package {name} has no {lacking[0]} in it; fetch the headers of another kernel")
    link = kernel.modules / "build"
    if not link.is_symlink():
        link.symlink_to(Path("../../..") / HEADERS)


def _copy(tree: Path, into: Path) -> None:
    for part in _KEPT:
        if (tree / part).is_dir():
            shutil.copytree(tree / part, into / part, symlinks=True, dirs_exist_ok=True, copy_function=shutil.move)
