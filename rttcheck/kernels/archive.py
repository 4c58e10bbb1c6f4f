"""From a kernel's name to a kernel at hand: what is cached, what Debian's archive has, how it gets here.

Owns resolving, fetching and keeping kernels. Refuses to boot them, and refuses to run anything of a package: its files
are unpacked, its maintainer scripts are not run.
"""

from __future__ import annotations

import difflib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels import modules
from rttcheck.kernels.apt import SUITES, UNREACHABLE, Archive, ImagePackage, series_of
from rttcheck.kernels.cache import Progress, cache_root, exclusive, say, staged
from rttcheck.kernels.kernel import Kernel, release_of
from rttcheck.kernels.spec import KernelSpec, Source

ANSWER_S = 7 * 24 * 3600.0
"""For so long ``debian:6.12`` stays the kernel that it was: a session does not ask the network each time."""


def fetch(spec: KernelSpec | str, *, progress: Progress = say, root: Path | None = None) -> Kernel:
    """The kernel that `spec` names, from the cache or from Debian's archive (signatures checked by apt).

    A cached kernel needs no network. Raises `KernelError`, one sentence, when there is no such kernel (it names the
    nearest), the archive cannot be reached and nothing is cached, the disk is full, or `spec` is ``host``.
    """
    spec = KernelSpec.parse(spec) if isinstance(spec, str) else spec
    root = cache_root() if root is None else root
    if spec.source is Source.HOST:
        raise KernelError("the running kernel needs no fetching; name a guest's kernel as in debian:6.12")
    if spec.path is not None:
        return from_path(spec.path)
    known = _remembered(root, spec, within_s=ANSWER_S)
    if known is not None:
        return known
    with exclusive(root, progress=progress):
        known = _remembered(root, spec, within_s=ANSWER_S)
        return known if known is not None else _from_archive(root, spec, progress)


def cached(root: Path | None = None) -> tuple[Kernel, ...]:
    """All kernels in the cache, in no particular order."""
    root = cache_root() if root is None else root
    return tuple(Kernel.load(found.parent) for found in sorted((root / "kernels").glob("*/kernel.json")))


def from_path(path: Path) -> Kernel:
    """A kernel image, a directory that holds ``boot`` and ``lib/modules``, or a build tree."""
    if path.is_dir():
        built = path / "arch/x86/boot/bzImage"
        images = [built] if built.exists() else sorted((path / "boot").glob("vmlinuz-*"))
        if not images:
            raise KernelError(
                f"{path} holds no kernel image; build arch/x86/boot/bzImage in it or give an image's path"
            )
        path = images[-1]
    release = release_of(path)
    places = [path.parent / "lib/modules", path.parent.parent / "lib/modules", path.parent.parent / "usr/lib/modules"]
    trees = [place / release for place in places if (place / release / "modules.dep").exists()]
    return Kernel(image=path, modules=trees[0] if trees else None, release=release)


def _remembered(root: Path, spec: KernelSpec, *, within_s: float) -> Kernel | None:
    """The cached kernel that `spec` was found to be, at most `within_s` seconds ago (an exact release: ever)."""
    if spec.release is not None:
        for kernel in cached(root):
            if kernel.release in (f"{spec.release}-{spec.flavour}", spec.release):
                return kernel
        return None
    try:
        answer = json.loads((root / "answers.json").read_text())[spec.text]
        if time.time() - float(answer["time"]) > within_s:
            return None
        return Kernel.load(root / "kernels" / str(answer["release"]))
    except (OSError, ValueError, KeyError, TypeError, KernelError):
        return None


def _remember(root: Path, spec: KernelSpec, kernel: Kernel) -> None:
    answers = root / "answers.json"
    try:
        known = json.loads(answers.read_text())
    except (OSError, ValueError):
        known = {}
    known[spec.text] = {"release": kernel.release, "time": time.time()}
    fresh = answers.with_suffix(".new")
    fresh.write_text(json.dumps(known, indent=1) + "\n")
    fresh.rename(answers)


def _from_archive(root: Path, spec: KernelSpec, progress: Progress) -> Kernel:
    try:
        package, archive = _choose(root, spec, progress)
    except KernelError as error:
        old = _remembered(root, spec, within_s=float("inf"))
        if old is None or not str(error).startswith(UNREACHABLE):
            raise
        progress(f"{error}; going on with the cached {old.release}")
        return old
    target = root / "kernels" / f"{package.release}-{package.flavour}"
    if not (target / "kernel.json").exists():
        progress(f"fetching {package.name} {package.version} from Debian's archive")
        _install(archive, package, target, progress)
    kernel = Kernel.load(target)
    _remember(root, spec, kernel)
    return kernel


def _choose(root: Path, spec: KernelSpec, progress: Progress) -> tuple[ImagePackage, Archive]:
    """The newest package that `spec` names: from the suites that should have it, else from all."""
    likely = [suite for suite in SUITES if suite.may_hold(spec.series)]
    images: list[ImagePackage] = []
    for suites in (likely, list(SUITES)):
        if not suites:
            continue
        archive = Archive(root / "apt" / ("all" if suites == list(SUITES) else spec.series), suites)
        try:
            archive.refresh(progress=progress)
        except KernelError:
            # A mirror that is stale in some other suite does not take away what the likely ones have said.
            if not images:
                raise
            break
        images = [image for image in archive.images() if image.flavour == spec.flavour]
        matching = [image for image in images if _matches(image, spec)]
        if matching:
            return matching[-1], archive
    raise KernelError(_no_such_kernel(spec, images))


def _matches(image: ImagePackage, spec: KernelSpec) -> bool:
    if spec.release is None:
        return image.series == spec.series
    return spec.release in (image.release, ".".join(map(str, image.upstream)))


def _no_such_kernel(spec: KernelSpec, images: Sequence[ImagePackage]) -> str:
    offered = series_of(images)
    siblings = [image.release for image in images if image.series == spec.series]
    if siblings and spec.release is not None:
        near = difflib.get_close_matches(spec.release, siblings, n=3, cutoff=0.0)
        return f"Debian's archive has no kernel {spec}; of that series it has {', '.join(near)}: name one of them"
    return f"Debian's archive has no kernel {spec}; it has debian:{', debian:'.join(offered)}: name one of them"


def _install(archive: Archive, package: ImagePackage, target: Path, progress: Progress) -> None:
    with staged(target) as staging:
        # Unpacked beside the target, so that a full disk is found here and everything goes with the staging directory.
        with tempfile.TemporaryDirectory(dir=staging, prefix="unpacked.") as scratch:
            unpacked = Path(scratch) / "root"
            for deb in archive.download(package, Path(scratch), progress=progress):
                _unpack(deb, unpacked, package, target)
            tree = modules.find_tree(unpacked)
            for name in ("vmlinuz", "config"):
                # In /boot until 7.2, beside the modules since 7.3.
                places = (unpacked / f"boot/{name}-{tree.name}", tree / name)
                found = next((place for place in places if place.exists()), places[0])
                shutil.copyfile(found, staging / name)
            modules.install(tree, staging / "lib/modules" / tree.name)
        kernel = Kernel(
            image=staging / "vmlinuz",
            modules=staging / "lib/modules" / tree.name,
            release=tree.name,
            package=package.name,
            version=package.version,
        )
        kernel.save(staging)


def _unpack(deb: Path, into: Path, package: ImagePackage, target: Path) -> None:
    try:
        done = subprocess.run(["dpkg", "-x", deb, into], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise KernelError("dpkg is missing, and Debian's kernels are unpacked with it; install dpkg") from error
    if done.returncode:
        reason = "the disk is full" if "No space left" in done.stderr else done.stderr.strip()
        raise KernelError(f"{package.name} cannot be unpacked in {target.parent} ({reason}); free some space")
