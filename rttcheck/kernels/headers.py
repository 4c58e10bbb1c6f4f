"""Fetch a kernel's headers into the cache, beside the kernel, for programs that are compiled in its guest (bcc).

Of Debian's two header packages, the parts that compilers read are kept. A guest sees them as
``/lib/modules/RELEASE/build``. Modules cannot be built with them: that needs linux-kbuild, which has absolute paths.
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
"""The directories of a header tree that compilers read."""

_LANDMARKS = ("include/linux/kconfig.h", "include/generated/autoconf.h", "arch/x86/include/generated")


def fetch_headers(kernel: BootableKernel, archive: Archive, *, progress: Progress) -> None:
    """Fetch the headers of a cached kernel into its directory; the caller holds `exclusive`.

    Raises `KernelError` when they cannot be fetched or are incomplete.
    """
    name = kernel.package.replace("linux-image-", "linux-headers-", 1)
    if kernel.modules is None or name == kernel.package:
        raise KernelError(f"{kernel.release} is not in Debian's archive, which has no headers for it; fetch another")
    # Since 7.3 they also depend on linux-base-RELEASE, which has no headers.
    parts = [part for part in archive.parts(name, kernel.version) if part.startswith("linux-headers-")]
    progress(f"fetching {name} {kernel.version} from Debian's archive")
    target = kernel.image.parent / HEADERS
    with staged(target) as staging:
        with unpacked(archive, parts, kernel.version, beside=staging, progress=progress) as files:
            # The headers generated for the flavour, and those common to all.
            for tree in sorted((files / "usr/src").glob("linux-headers-*"), key=lambda tree: tree.name.endswith("64")):
                _copy(tree, staging)
        lacking = [mark for mark in _LANDMARKS if not (staging / mark).exists()]
        if lacking:
            raise KernelError(f"the package {name} has no {lacking[0]}; fetch the headers of another kernel")
    link = kernel.modules / "build"
    if not link.is_symlink():
        link.symlink_to(Path("../../..") / HEADERS)


def _copy(tree: Path, into: Path) -> None:
    for part in _KEPT:
        if (tree / part).is_dir():
            shutil.copytree(tree / part, into / part, symlinks=True, dirs_exist_ok=True, copy_function=shutil.move)
