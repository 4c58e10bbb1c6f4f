"""The module tree of a guest kernel: the modules that a lab may need, uncompressed, in ``lib/modules/RELEASE``.

A guest decompresses fifteen times slower than its host, so the host does it once.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rttcheck.errors import KernelError

KEPT = (
    "net",
    "lib",
    "crypto",
    "arch",
    "kernel",
    "fs/9p",
    "fs/fscache",
    "fs/netfs",
    "fs/fuse",
    "fs/overlayfs",
    "drivers/virtio",
    "drivers/char",
    "drivers/block",
    "drivers/vhost",
    "drivers/ptp",
    "drivers/net/wireguard",
    "drivers/net/vxlan",
    "drivers/net/bonding",
    "drivers/net/team",
)
"""Directories of the module tree that are kept completely. The software devices in ``drivers/net`` are kept too."""


def find_tree(package_root: Path) -> Path:
    """Return the ``lib/modules/RELEASE`` of an unpacked kernel package. Raises `KernelError` when there is none."""
    for parent in ("usr/lib/modules", "lib/modules"):
        trees = sorted((package_root / parent).glob("*/kernel"))
        if trees:
            return trees[0].parent
    raise KernelError(f"the package unpacked in {package_root} contains no kernel modules; name another kernel")


def install(tree: Path, target: Path) -> None:
    """Copy the modules of `tree` that are kept to `target`, uncompressed, and run depmod.

    Both are ``lib/modules/RELEASE`` directories. Raises `KernelError` when a program is missing or fails.
    """
    for part in KEPT:
        for module in (tree / "kernel" / part).rglob("*.ko*"):
            _unpack(module, target / module.relative_to(tree))
    for module in (tree / "kernel/drivers/net").glob("*.ko*"):
        _unpack(module, target / module.relative_to(tree))
    for listing in tree.glob("modules.*"):
        shutil.copyfile(listing, target / listing.name)
    _index(target)


def link(tree: Path, built: Sequence[tuple[str, Path]], target: Path) -> None:
    """Make `target`, a ``lib/modules/RELEASE`` directory, with links to the modules `built` in a build tree."""
    target.mkdir(parents=True)
    (target / "build").symlink_to(tree)
    for name, module in built:
        place = target / "kernel" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(module)
    for listing in ("modules.builtin", "modules.builtin.modinfo"):
        if (tree / listing).exists():
            shutil.copyfile(tree / listing, target / listing)
    (target / "modules.order").write_text("".join(f"kernel/{name}\n" for name, _ in built))
    _index(target)


def is_kept(module: Path) -> bool:
    """Return whether a lab may need the module with this path below ``kernel/``."""
    return module.parent == Path("drivers/net") or any(module.is_relative_to(part) for part in KEPT)


def names(tree: Path) -> frozenset[str]:
    """Return the names of the modules in a ``lib/modules/RELEASE`` directory, as ``modprobe`` takes them."""
    rows = (tree / "modules.dep").read_text().splitlines()
    return frozenset(Path(row.partition(":")[0]).name.partition(".")[0].replace("-", "_") for row in rows)


def _index(target: Path) -> None:
    root = target.parents[2]
    try:
        done = subprocess.run(["depmod", "-b", root, target.name], capture_output=True, text=True, check=False)
    except OSError as error:
        raise KernelError(
            f"depmod cannot be executed ({error.strerror}), and guests need it to find modules; apt-get install kmod"
        ) from error
    if done.returncode:
        raise KernelError(f"depmod rejected the modules of {target.name} ({done.stderr.strip()}); fetch it again")


def load_order(tree: Path, wanted: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the paths of the modules `wanted`, each after those it depends on; built-in ones are left out."""
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[Path(path).name.partition(".")[0].replace("-", "_")] = path
    order: list[str] = []
    for name in wanted:
        module = by_name.get(name.replace("-", "_"))
        if module is None:
            continue
        # depmod lists dependencies with the deepest last.
        order += [path for path in [*reversed(needs[module]), module] if path not in order]
    return tuple(tree / path for path in order)


def _unpack(module: Path, target: Path) -> None:
    name = target.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".xz"):
        target.with_name(name.removesuffix(".xz")).write_bytes(lzma.decompress(module.read_bytes()))
    elif name.endswith(".ko"):
        shutil.copyfile(module, target)
    elif name.endswith(".gz"):
        target.with_name(name.removesuffix(".gz")).write_bytes(gzip.decompress(module.read_bytes()))
    elif name.endswith(".zst"):
        _decompress_zst(module, target.with_name(name.removesuffix(".zst")))


def _decompress_zst(module: Path, plain: Path) -> None:
    try:
        done = subprocess.run(
            ["zstd", "-q", "-d", "-f", "-o", plain, module], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise KernelError(
            f"zstd cannot be executed ({error.strerror}), and this kernel's modules are compressed with it; "
            "apt-get install zstd"
        ) from error
    if done.returncode:
        raise KernelError(
            f"the module {module.name} cannot be unpacked ({done.stderr.strip()}); fetch the kernel again"
        )
