"""Resolve a kernel's name to a kernel in the cache, and fetch it from Debian's archive where needed.

Packages are only unpacked; their maintainer scripts are not run.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels import modules
from rttcheck.kernels.apt import FRESH_S, SUITES, UNREACHABLE, Archive, ImagePackage, IncompleteLists, series_of
from rttcheck.kernels.built import kernel_at
from rttcheck.kernels.cache import Progress, cache_root, exclusive, say, staged
from rttcheck.kernels.headers import fetch_headers
from rttcheck.kernels.inventory import LISTS
from rttcheck.kernels.kernel import BootableKernel, version_key
from rttcheck.kernels.pruning import keep_within_limit
from rttcheck.kernels.spec import KernelSource, KernelSpec
from rttcheck.kernels.unpacking import unpacked
from rttcheck.kernels.use import in_use, touch

ANSWER_S = 7 * 24 * 3600.0
"""For this many seconds ``debian:6.12`` stays the same kernel, without a request to the network."""

_JUST_ASKED_S = 300.0
"""Lists younger than this many seconds are not read again after a failed download."""


def fetch(
    spec: KernelSpec | str, *, headers: bool = False, progress: Progress = say, root: Path | None = None
) -> BootableKernel:
    """Return the kernel that `spec` names, from the cache or from Debian's archive (apt checks the signatures).

    A cached kernel needs no network. With `headers` its headers are fetched too, for programs that are compiled in a
    guest. Raises `KernelError`, one sentence, when there is no such kernel (it names the nearest), when the archive
    cannot be reached and nothing is cached, when the disk is full, or when `spec` is ``host``.
    """
    spec = KernelSpec.parse(spec) if isinstance(spec, str) else spec
    root = cache_root() if root is None else root
    if spec.source is KernelSource.HOST:
        raise KernelError("the running kernel needs no fetching; name a guest's kernel as in debian:6.12")
    if spec.path is not None:
        if headers:
            raise KernelError(f"{spec} is not in Debian's archive, which has no headers for it; leave --headers out")
        kernel = kernel_at(spec.path, root=root, progress=progress)
        touch(root, kernel.release)
        return kernel
    known = _remembered(root, spec, within_s=ANSWER_S)
    if known is None or (headers and known.headers is None):
        with exclusive(root, progress=progress):
            known = _remembered(root, spec, within_s=ANSWER_S)
            # The archive has headers for its present kernels only: a series' newest may have changed since.
            if known is None or (headers and known.headers is None and spec.release is None):
                known = _from_archive(root, spec, progress)
            if headers and known.headers is None:
                fetch_headers(known, archive_of(root, spec, known, progress), progress=progress)
            touch(root, known.release)
            keep_within_limit(root, keep=(known.release,), progress=progress)
    touch(root, known.release)
    return known


@contextlib.contextmanager
def at_hand(spec: KernelSpec | str, *, progress: Progress = say, root: Path | None = None) -> Iterator[BootableKernel]:
    """Fetch a kernel as `fetch` does, and protect it from pruning while the block lasts."""
    root = cache_root() if root is None else root
    while True:
        kernel = fetch(spec, progress=progress, root=root)
        with in_use(root, kernel.release):
            # It may have been pruned between the two lines above.
            if kernel.image.exists() and (kernel.modules is None or kernel.modules.exists()):
                yield kernel
                return


def cached(root: Path | None = None) -> tuple[BootableKernel, ...]:
    """Return all kernels in the cache, the oldest version first."""
    root = cache_root() if root is None else root
    found = (path.parent for path in (root / "kernels").glob("*/kernel.json"))
    kernels = [BootableKernel.load(directory) for directory in found if not directory.name.startswith(".")]
    return tuple(sorted(kernels, key=lambda kernel: version_key(kernel.release)))


def _remembered(root: Path, spec: KernelSpec, *, within_s: float) -> BootableKernel | None:
    """Return the cached kernel that `spec` was resolved to within `within_s` seconds (an exact release: ever)."""
    if spec.release is not None:
        return next((kernel for kernel in reversed(cached(root)) if _is(kernel, spec)), None)
    try:
        answer = json.loads((root / "answers.json").read_text())[spec.text]
        if time.time() - float(answer["time"]) > within_s:
            return None
        return BootableKernel.load(root / "kernels" / str(answer["release"]))
    except (OSError, ValueError, KeyError, TypeError, KernelError):
        return None


def _is(kernel: BootableKernel, spec: KernelSpec) -> bool:
    """Return whether `spec` names this cached kernel: the same flavour, and release, version or series."""
    release = kernel.release.removesuffix(f"-{spec.flavour}")
    if release == kernel.release or release.endswith("-rt"):
        return False
    upstream = kernel.version.partition("-")[0] or release.partition("+")[0]
    if spec.release is None:
        return upstream.split(".")[:2] == spec.series.split(".")
    return spec.release in (release, upstream)


def _remember(root: Path, spec: KernelSpec, kernel: BootableKernel, *, for_s: float) -> None:
    answers = root / "answers.json"
    try:
        known = json.loads(answers.read_text())
    except (OSError, ValueError):
        known = {}
    known[spec.text] = {"release": kernel.release, "time": time.time() - (ANSWER_S - for_s)}
    fresh = answers.with_suffix(".new")
    fresh.write_text(json.dumps(known, indent=1) + "\n")
    fresh.rename(answers)


def _from_archive(root: Path, spec: KernelSpec, progress: Progress) -> BootableKernel:
    try:
        kernel = _newest(root, spec, progress)
    except KernelError as error:
        old = _remembered(root, spec, within_s=float("inf"))
        if old is None:
            old = next((kernel for kernel in reversed(cached(root)) if _is(kernel, spec)), None)
        if old is None or not str(error).startswith(UNREACHABLE):
            raise
        progress(f"{error}; using the cached {old.release}")
        return old
    # A suite that could not be read may have a newer one.
    _remember(root, spec, kernel, for_s=ANSWER_S if whole_archive(root).is_fresh() else FRESH_S)
    return kernel


def _newest(root: Path, spec: KernelSpec, progress: Progress, within_s: float = FRESH_S) -> BootableKernel:
    package, archive = _choose(root, spec, progress, within_s)
    target = root / "kernels" / f"{package.release}-{package.flavour}"
    if not (target / "kernel.json").exists():
        progress(f"fetching {package.name} {package.version} from Debian's archive")
        try:
            _install(archive, package, target, progress)
        except KernelError as error:
            # A newer package replaces an older one in the archive, and lists some hours old still name the older.
            if not str(error).startswith(UNREACHABLE) or archive.is_fresh(_JUST_ASKED_S):
                raise
            progress(f"{error}; its lists may be too old")
            return _newest(root, spec, progress, _JUST_ASKED_S)
    return BootableKernel.load(target)


def _choose(root: Path, spec: KernelSpec, progress: Progress, within_s: float) -> tuple[ImagePackage, Archive]:
    """Return the newest package that `spec` names and the archive that has it.

    The lists are updated unless they are younger than ``within_s`` seconds. Raises `KernelError` when the archive has
    no such kernel, or when the suite that may have it cannot be read.
    """
    archive = whole_archive(root)
    unread = _refreshed(archive, progress, within_s)
    images = [image for image in archive.images() if image.flavour == spec.flavour]
    matching = [image for image in images if _matches(image, spec)]
    if matching:
        if unread is not None:
            progress(f"{unread}; using the other suites")
        return matching[-1], archive
    if unread is not None and not any(image.series == spec.series for image in images):
        raise unread
    raise KernelError(_no_such_kernel(spec, images))


def _refreshed(archive: Archive, progress: Progress, within_s: float = FRESH_S) -> IncompleteLists | None:
    """Update the archive's lists; return the error where some suites could not be read."""
    try:
        archive.refresh(progress=progress, within_s=within_s)
    except IncompleteLists as error:
        return error
    return None


def whole_archive(root: Path) -> Archive:
    """Return the archive of all suites, with its lists in the cache at `root`."""
    return Archive(root / LISTS / "all", SUITES)


def archive_of(root: Path, spec: KernelSpec, kernel: BootableKernel, progress: Progress) -> Archive:
    """Return the archive if it still has exactly this kernel. Raises `KernelError` if it has only a newer one."""
    archive = whole_archive(root)
    unread = _refreshed(archive, progress)
    if any((image.name, image.version) == (kernel.package, kernel.version) for image in archive.images()):
        return archive
    if unread is not None:
        raise unread
    raise KernelError(
        f"Debian's archive has no headers for the cached {kernel.release} any more; ask for those of the newest of its "
        f"series: debian:{spec.series}"
    )


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
    parts = archive.parts(package.name, package.version)
    with staged(target) as staging:
        # Unpacked beside the target: a full disk fails here, and the staging directory is removed as a whole.
        with unpacked(archive, parts, package.version, beside=staging, progress=progress) as files:
            tree = modules.find_tree(files)
            for name in ("vmlinuz", "config"):
                # They are in /boot until 7.2, beside the modules since 7.3.
                places = (files / f"boot/{name}-{tree.name}", tree / name)
                found = next((place for place in places if place.exists()), places[0])
                shutil.copyfile(found, staging / name)
            modules.install(tree, staging / "lib/modules" / tree.name)
        kernel = BootableKernel(
            image=staging / "vmlinuz",
            modules=staging / "lib/modules" / tree.name,
            release=tree.name,
            package=package.name,
            version=package.version,
        )
        kernel.save(staging)
