"""The guests' initramfs: busybox, one script, and the modules that are needed to mount the host's files.

There is one cached image for each kernel and each version of the script. The archive has the "newc" cpio format
(Documentation/driver-api/early-userspace/buffer-format.rst). virtme-ng's own is not used because its init cannot be
left out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.cache import cache_root, exclusive, say, staged
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.modules import load_order
from rttcheck.kernels.python_image import PythonImage

NEEDED_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
"""Modules that init loads, in this order, after those they depend on; built-in ones are skipped."""

_DIRECTORIES = ("bin", "dev", "modules", "newroot", "proc", "python", "python/proc", "sys")


def initramfs_of(kernel: BootableKernel, root: Path | None = None) -> Path:
    """Return the image for `kernel`, from the cache or newly made.

    Raises `KernelError` when no static busybox is installed.
    """
    root = cache_root() if root is None else root
    busybox = static_busybox()
    script = resources.files("rttcheck.kernels").joinpath("guest_init.sh").read_bytes()
    modules = load_order(kernel.modules, NEEDED_MODULES) if kernel.modules else ()
    digest = hashlib.sha256(script)
    for path in (busybox, *modules):
        status = path.stat()
        digest.update(f"{path}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    target = root / "initramfs" / f"{kernel.release}.{digest.hexdigest()[:16]}"
    image = target / "initramfs"
    if image.exists():
        return image
    with exclusive(root / "locks" / target.name, progress=say):
        if not image.exists():
            with staged(target) as staging, (staging / "initramfs").open("wb") as file:
                for piece in _archive(busybox, script, modules):
                    file.write(piece)
    return image


def add_python(image: Path, python: PythonImage, target: Path) -> None:
    """Write `image` with the files of `python` to `target`. Raises `KernelError` when its imports fail here."""
    files = python.files()
    with target.open("wb") as file:
        # The kernel unpacks archives that follow each other.
        file.write(image.read_bytes())
        for piece in _python_archive(files, python.start_script().encode()):
            file.write(piece)


def _python_archive(paths: Iterable[Path], start: bytes) -> Iterator[bytes]:
    yield _entry(1, "python/start", 0o100644, start)
    for inode, path in enumerate(paths, start=2):
        name, status = str(path).lstrip("/"), path.lstat()
        # Init's own files have precedence.
        if path.parts[1] in _DIRECTORIES:
            continue
        # Bytecode is valid for a source of the same time and size.
        when = int(status.st_mtime)
        if path.is_symlink():
            yield _entry(inode, name, 0o120777, os.fsencode(path.readlink()), when=when)
        elif path.is_dir():
            yield _entry(inode, name, 0o040755, b"", when=when)
        else:
            yield _entry(inode, name, 0o100000 | stat.S_IMODE(status.st_mode), path.read_bytes(), when=when)
    yield _entry(0, "TRAILER!!!", 0, b"")


def static_busybox() -> Path:
    """Return the path of a static busybox. Raises `KernelError` when none is installed."""
    for name in ("busybox", "busybox-static", "busybox.static"):
        found = shutil.which(name)
        # A dynamic one would need a loader, which the initramfs lacks; a static ELF has no program interpreter.
        if found and b"/ld-linux" not in Path(found).read_bytes()[:4096]:
            return Path(found)
    raise KernelError("guests need a static busybox, and none is installed; apt-get install busybox-static")


def _archive(busybox: Path, script: bytes, modules: tuple[Path, ...]) -> Iterator[bytes]:
    inode = 0
    for name in _DIRECTORIES:
        inode += 1
        yield _entry(inode, name, 0o040755, b"")
    # The kernel opens it for init before devtmpfs is mounted.
    yield _entry(inode + 1, "dev/console", 0o020600, b"", device=(5, 1))
    yield _entry(inode + 2, "bin/busybox", 0o100755, busybox.read_bytes())
    yield _entry(inode + 3, "init", 0o100755, script)
    order = "".join(f"{module.name}\n" for module in modules)
    yield _entry(inode + 4, "modules/order", 0o100644, order.encode())
    for number, module in enumerate(modules):
        yield _entry(inode + 5 + number, f"modules/{module.name}", 0o100644, module.read_bytes())
    yield _entry(0, "TRAILER!!!", 0, b"")


def _entry(inode: int, name: str, mode: int, body: bytes, *, device: tuple[int, int] = (0, 0), when: int = 0) -> bytes:
    fields = (inode, mode, 0, 0, 1, when, len(body), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + body + b"\0" * (-len(body) % 4)
