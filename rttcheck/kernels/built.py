"""A kernel built by the user: an image, an unpacked package, or a build tree with or without modules.

Guests see a tree's modules through links in the cache, laid out as by ``make modules_install``. Nothing is written to
the tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels import modules
from rttcheck.kernels.cache import Progress, exclusive, staged
from rttcheck.kernels.configuration import Configuration, lacking_for_a_guest, lacking_for_a_probe
from rttcheck.kernels.kernel import BootableKernel, release_of, version_key

_IMAGE = Path("arch/x86/boot/bzImage")
_SOURCES = ("Kbuild", "Makefile", "arch/x86")
"""Entries that identify a directory of kernel sources, built or not."""


def kernel_at(path: Path, *, root: Path, progress: Progress) -> BootableKernel:
    """Return the kernel at `path`: a bzImage, a directory with ``boot`` and ``lib/modules``, or a build tree.

    Raises `KernelError` when there is none, when it is not built yet, or when its configuration lacks what a guest
    needs. Options that probes lack are reported to `progress`.
    """
    image = _image(path)
    release = release_of(image)
    tree = image.parents[3] if image.parts[-4:] == _IMAGE.parts else None
    if tree is not None and not _is_sources(tree):
        tree = None
    if tree is not None:
        _require_same_release(tree, release)
    found = _installed(image, tree, release)
    if found is None and tree is not None:
        found = _linked(tree, release, root, progress)
    configuration = _configuration(image, tree, release)
    if configuration is not None:
        _judge(path, configuration, found, progress)
    return BootableKernel(image=image, modules=found, release=release)


def _image(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / _IMAGE).exists():
        return path / _IMAGE
    if _is_sources(path):
        raise KernelError(f"the kernel in {path} is not built yet; make -C {path} bzImage modules")
    images = sorted((path / "boot").glob("vmlinuz-*"), key=lambda image: version_key(image.name))
    if not images:
        raise KernelError(f"{path} holds no kernel image; build {_IMAGE} in it or give an image's path")
    return images[-1]


def _is_sources(path: Path) -> bool:
    """Return whether `path` is a source or build tree. One of ``make O=`` has a Makefile of its own and no Kbuild."""
    return all((path / name).exists() for name in _SOURCES) or (path / "include/config/kernel.release").exists()


def _require_same_release(tree: Path, release: str) -> None:
    """Raise `KernelError` when image and tree differ in release: the kernel would refuse every module."""
    try:
        configured = (tree / "include/config/kernel.release").read_text().strip()
    except OSError:
        return
    if configured != release:
        raise KernelError(
            f"the image in {tree} is {release} and its tree is now {configured}; make -C {tree} bzImage modules"
        )


def _installed(image: Path, tree: Path | None, release: str) -> Path | None:
    """Return the directory of modules that were installed beside the image, or into the tree."""
    places = [
        image.parent / "lib/modules",
        image.parent.parent / "lib/modules",
        image.parent.parent / "usr/lib/modules",
    ]
    if tree is not None:
        places.append(tree / "lib/modules")
    return next((place / release for place in places if (place / release / "modules.dep").exists()), None)


def _linked(tree: Path, release: str, root: Path, progress: Progress) -> Path | None:
    """Link the modules that were built in `tree` into the cache; return None if there are none."""
    built = list(_built_modules(tree))
    if not built:
        return None
    digest = hashlib.sha256(str(tree).encode())
    for name, module in built:
        status = module.stat()
        digest.update(f"{name}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    target = root / "trees" / f"{release}.{digest.hexdigest()[:16]}"
    found = target / "lib/modules" / release
    if not found.exists():
        with exclusive(root / "locks" / target.name, progress=progress):
            if not found.exists():
                progress(f"linking the modules of {tree}")
                with staged(target) as staging:
                    modules.link(tree, built, staging / "lib/modules" / release)
    return found


def _built_modules(tree: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules of the tree's last build that guests may need: (name in the tree, file)."""
    try:
        order = (tree / "modules.order").read_text()
    except OSError:
        return
    for line in order.splitlines():
        # It lists objects since 6.3, modules before; before 5.3 with the directory of their installation.
        name = Path(line.removeprefix("kernel/")).with_suffix(".ko")
        if modules.is_kept(name) and (tree / name).exists():
            yield str(name), tree / name


def _configuration(image: Path, tree: Path | None, release: str) -> Configuration | None:
    places = [image.parent / f"config-{release}", image.parent / "config"]
    for place in places if tree is None else [tree / ".config"]:
        if place.is_file():
            return Configuration.read(place)
    return None


def _judge(path: Path, configuration: Configuration, found: Path | None, progress: Progress) -> None:
    at_hand = modules.names(found) if found is not None else frozenset()
    lacking = lacking_for_a_guest(configuration, at_hand)
    if lacking:
        raise KernelError(
            f"the kernel of {path} cannot boot as a guest: {configuration.path} has {', '.join(lacking)}; set them to "
            "y (or to m and build the modules too) and build it again"
        )
    blind = lacking_for_a_probe(configuration)
    if blind:
        progress(
            f"the kernel of {path} hides samples from most probes: {configuration.path} has {', '.join(blind)}; "
            "set them to y and build it again"
        )
