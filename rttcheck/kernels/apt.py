"""Debian's signed archive, read with a private apt.

The private apt has its configuration, lists and downloads below one directory. It neither reads nor changes the
machine's sources, lists and hooks, but uses its proxies. Apt checks signatures against Debian's archive keyring.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.cache import Progress

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org"
UNREACHABLE = "apt could not"
"""The beginning of messages of failures after which a cached kernel is used."""
FRESH_S = 24 * 3600.0
"""A package list younger than this is not downloaded again."""

_READING = 2
"""Version of ``images.json``; increased when the same lists give other images, as when images whose modules are gone
were left out."""

_IMAGE = re.compile(r"linux-image-(?P<release>\d+\.\d+\.[0-9A-Za-z.+~-]*?)-(?P<flavour>(?:rt-)?amd64)")


@dataclass(frozen=True, slots=True)
class ArchiveSuite:
    """One suite of the archive, as in ``dists/NAME``."""

    name: str

    @property
    def line(self) -> str:
        """Its line in ``sources.list``."""
        where = "debian-security" if self.name.endswith("-security") else "debian"
        return f"deb [arch=amd64 signed-by={KEYRING}] {MIRROR}/{where} {self.name} main"


SUITES = tuple(
    ArchiveSuite(name)
    for name in (
        "trixie-security",
        "trixie",
        "trixie-backports",
        "bookworm-security",
        "bookworm",
        "bookworm-backports",
        "bullseye-security",
        "sid",
    )
)
"""All suites that are read, the preferred first: of two builds of one version the earlier suite's is taken. Which
kernel series a suite holds is read from its package list."""


class IncompleteLists(KernelError):
    """The lists of some suites could not be read; those of the others are up to date."""


@dataclass(frozen=True, slots=True)
class ImagePackage:
    """One kernel image package: ``linux-image-6.12.117+deb13-amd64``, version ``6.12.117-1``."""

    name: str
    version: str
    release: str
    flavour: str
    rank: int

    @property
    def upstream(self) -> tuple[int, ...]:
        """The kernel version in the package's version: (6, 12, 117)."""
        return tuple(int(part) for part in re.split(r"[-~+]", self.version)[0].split(".") if part.isdigit())

    @property
    def series(self) -> str:
        """Its series: ``"6.12"``."""
        return ".".join(str(part) for part in self.upstream[:2])

    @property
    def spec(self) -> str:
        """The spec of exactly this kernel: ``debian:6.12.117+deb13``, ``debian:6.1.0-56-rt``."""
        return f"debian:{self.release}" + ("-rt" if self.flavour.startswith("rt-") else "")

    @property
    def order(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """Sort key: the newest is last; of equal versions, the one of the preferred suite."""
        return (self.upstream, -self.rank, tuple(int(part) for part in re.findall(r"\d+", self.version)))


class Archive:
    """Debian's archive, for the given suites, through a private apt in `directory`.

    Every method raises `KernelError` with apt's first error message when it fails.
    """

    def __init__(self, directory: Path, suites: Sequence[ArchiveSuite] = SUITES) -> None:
        self.directory = directory
        self.suites = tuple(suites)

    def refresh(self, *, progress: Progress, within_s: float = FRESH_S) -> None:
        """Update the suites' lists unless they are younger than ``within_s`` seconds. Apt checks the signatures.

        Raises `IncompleteLists` when some suites could not be read, `KernelError` when none could.
        """
        if self.is_fresh(within_s):
            return
        progress(f"reading the package lists of Debian's archive ({len(self.suites)} suites)")
        self._configure()
        done = _run(["apt-get", "update", "--error-on=any"], env=self._environment())
        if done.returncode:
            # Some lists may have changed.
            (self.directory / "images.json").unlink(missing_ok=True)
            output = done.stdout + done.stderr
            others = 0 < len(self._failing(output)) < len(self.suites) and not _is_disk_full(output)
            raise (IncompleteLists if others else KernelError)(_refusal("read the package lists of", output))
        (self.directory / "stamp").write_text(self._wanted)

    def _failing(self, output: str) -> list[ArchiveSuite]:
        """Return the suites that apt's error lines name, as a word or as a part of an address."""
        errors = [line for line in output.splitlines() if line.startswith(("E:", "Err:"))]
        words = {word for line in errors for word in re.split(r"[\s/]+", line)}
        return [suite for suite in self.suites if suite.name in words]

    @property
    def asked(self) -> float | None:
        """When the cached lists were read from the archive, seconds since the epoch; None if there are none."""
        try:
            return (self.directory / "stamp").stat().st_mtime
        except OSError:
            return None

    def is_fresh(self, within_s: float = FRESH_S) -> bool:
        """Return whether there are lists of these suites that are younger than ``within_s`` seconds."""
        asked = self.asked
        if asked is None or time.time() - asked >= within_s:
            return False
        return (self.directory / "stamp").read_text() == self._wanted

    @property
    def _wanted(self) -> str:
        return "\n".join(sorted(suite.name for suite in self.suites))

    def images(self) -> tuple[ImagePackage, ...]:
        """Return all kernel images in the cached lists, the oldest first.

        Cloud kernels (no 9p) and images whose modules are no longer in the archive are left out.
        """
        # Apt takes seconds to read its lists, each time.
        if self.asked is None:
            return self._read_images()
        known = self.directory / "images.json"
        read_of = {"reading": _READING, "asked": self.asked, "suites": [suite.name for suite in self.suites]}
        try:
            kept = json.loads(known.read_text())
            if kept["of"] == read_of:
                return tuple(ImagePackage(**row) for row in kept["images"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        images = self._read_images()
        with contextlib.suppress(OSError):
            fresh = known.with_suffix(".new")
            fresh.write_text(json.dumps({"of": read_of, "images": [asdict(image) for image in images]}))
            fresh.rename(known)
        return images

    def _read_images(self) -> tuple[ImagePackage, ...]:
        names = [name for name in self._apt("apt-cache", "pkgnames", "linux-image-").split() if _IMAGE.fullmatch(name)]
        if not names:
            return ()
        found: dict[tuple[str, str], ImagePackage] = {}
        for row in self._apt("apt-cache", "madison", *names).splitlines():
            name, version, source = (field.strip() for field in row.split("|"))
            match = _IMAGE.fullmatch(name)
            if match is None or not source.endswith("Packages") or "-cloud" in name:
                continue
            package = ImagePackage(name, version, match["release"], match["flavour"], self._rank(source))
            known = found.get((name, version))
            if known is None or package.rank < known.rank:
                found[name, version] = package
        return tuple(sorted(self._whole(found.values()), key=lambda package: package.order))

    def _whole(self, images: Iterable[ImagePackage]) -> list[ImagePackage]:
        """Return those of `images` whose parts are all in the lists.

        The signed packages (image, binary) come from a source package of their own, and the archive keeps them after
        the modules of a superseded kernel are gone: 6.19, 7.0 and 7.1 in trixie-backports in November 2026.
        """
        wanted = {(image.name, image.version): image for image in images}
        output = self._apt("apt-cache", "show", *(f"{name}={version}" for name, version in wanted)) if wanted else ""
        parts: dict[tuple[str, str], list[str]] = {}
        for stanza in output.split("\n\n"):
            fields = dict(re.findall(r"(?m)^(Package|Version|Depends): (.*)$", stanza))
            version = fields.get("Version", "")
            parts[fields.get("Package", ""), version] = _parts_named(fields.get("Depends", ""), version)
        names = sorted({name for several in parts.values() for name in several})
        rows = self._apt("apt-cache", "madison", *names).splitlines() if names else []
        have = {tuple(field.strip() for field in row.split("|")[:2]) for row in rows}
        return [
            image for key, image in wanted.items() if all((name, image.version) in have for name in parts.get(key, ()))
        ]

    def suite_of(self, package: ImagePackage) -> str:
        """Return the name of the suite that has `package`."""
        return self.suites[package.rank].name if package.rank < len(self.suites) else ""

    def parts(self, name: str, version: str) -> tuple[str, ...]:
        """Return the package `name` and the packages of the same version that it depends on.

        An image's contents are in several packages since 6.19. Raises `KernelError` when the archive has no such
        package (any more).
        """
        output = self._apt("apt-cache", "show", f"{name}={version}")
        depends = next((line for line in output.splitlines() if line.startswith("Depends:")), "")
        return (name, *_parts_named(depends, version))

    def newest(self, name: str) -> str:
        """Return the newest version of the package `name` in the lists. Raises `KernelError` if there is none."""
        rows = self._apt("apt-cache", "madison", name).splitlines()
        if not rows:
            raise KernelError(f"Debian's archive has no package {name}; ask for one that it has")
        return rows[0].split("|")[1].strip()

    def download(self, parts: Sequence[str], version: str, into: Path, *, progress: Progress) -> tuple[Path, ...]:
        """Download the packages to `into` and return the ``.deb`` files; apt verifies their checksums with the list."""
        wanted = [f"{part}={version}" for part in parts]
        whole = sum(int(size) for size in re.findall(r"(?m)^Size: (\d+)$", self._apt("apt-cache", "show", *wanted)))
        of = f" of {whole / 1e6:.0f}" if whole else ""
        with subprocess.Popen(
            ["apt-get", "download", "-q", *wanted],
            cwd=into,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                while True:
                    try:
                        output, _ = process.communicate(timeout=2.0)
                        break
                    except subprocess.TimeoutExpired:
                        have = sum(_sizes(into)) + sum(_sizes(self.directory / "cache/archives/partial"))
                        progress(f"downloading {parts[0]}: {have / 1e6:.0f}{of} MB")
            finally:
                process.kill()
        debs = sorted(into.glob("*.deb"))
        if process.returncode or len(debs) != len(parts):
            raise KernelError(_refusal(f"download {parts[0]} from", output))
        return tuple(debs)

    def _rank(self, source: str) -> int:
        for rank, suite in enumerate(self.suites):
            if f" {suite.name}/" in source:
                return rank
        return len(self.suites)

    def _configure(self) -> None:
        if not KEYRING.exists():
            raise KernelError(
                f"Debian's archive keys are not in {KEYRING}; install them: apt-get install debian-archive-keyring"
            )
        for part in ("etc", "state/lists/partial", "cache/archives/partial"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        (self.directory / "etc/sources.list").write_text("".join(f"{suite.line}\n" for suite in self.suites))
        (self.directory / "apt.conf").write_text(self._configuration())

    def _configuration(self) -> str:
        """Return the text of the file that APT_CONFIG names, which replaces the machine's own configuration.

        Of the machine's settings, only the ``Acquire`` tree (proxies, retries, timeouts) is kept.
        """
        machine = _run(["apt-config", "dump", "Acquire"], env=dict(os.environ)).stdout
        own = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": str(self.directory / "etc/sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::Etc::trusted": "/dev/null",
            "Dir::Etc::trustedparts": "/dev/null",
            "Dir::State": str(self.directory / "state"),
            "Dir::State::status": "/dev/null",
            "Dir::Cache": str(self.directory / "cache"),
            # They take 100 MB of disk and only help programs that read the lists often.
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "Acquire::Languages": "none",
            "Acquire::AllowInsecureRepositories": "false",
            "APT::Get::AllowUnauthenticated": "false",
            # The cache usually lies under a home directory, where the _apt user cannot write.
            "APT::Sandbox::User": "",
            "APT::Architecture": "amd64",
            "Debug::NoLocking": "true",
        }
        kept = [row for row in machine.splitlines() if not row.startswith(("Acquire::Languages", "Acquire::AllowIns"))]
        return "\n".join([*kept, *(f'{key} "{value}";' for key, value in own.items())]) + "\n"

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "APT_CONFIG": str(self.directory / "apt.conf"), "LC_ALL": "C.UTF-8"}

    def _apt(self, *command: str, failed: str = "read") -> str:
        done = _run(list(command), env=self._environment())
        if done.returncode:
            raise KernelError(_refusal(failed, done.stdout + done.stderr))
        return done.stdout


def _parts_named(depends: str, version: str) -> list[str]:
    """Return the packages of exactly `version` in a line ``Depends``, without those that an image can do without."""
    names = re.findall(rf"(linux-[^\s,]+) \(= {re.escape(version)}\)", depends)
    if any(name.startswith("linux-modules-") for name in names):
        return names
    # linux-base-* of 6.18 has scripts only, and is gone from the archive while the image is still there.
    return [name for name in names if not name.startswith("linux-base-")]


def _sizes(directory: Path) -> Iterator[int]:
    """Yield the sizes of the packages in it, complete or not; apt renames them meanwhile."""
    for part in directory.glob("*.deb*"):
        with contextlib.suppress(FileNotFoundError):
            yield part.stat().st_size


def _run(command: list[str], *, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise KernelError(
            f"{command[0]} is not installed, and kernels from Debian's archive are fetched with it; on a machine "
            "without apt give the path of a kernel image"
        ) from error


def _refusal(what: str, output: str) -> str:
    """Return the message for a failure of apt; `what` was tried, `output` is what apt wrote."""
    if _is_disk_full(output):
        return f"apt could not {what} Debian's archive: the disk is full; free some space"
    lines = output.splitlines()
    errors = [line.removeprefix("E:").strip() for line in lines if line.startswith("E:")]
    reason = errors[0] if errors else (lines[-1].strip() if lines else "it gave no reason")
    return f"{UNREACHABLE} {what} Debian's archive ({reason}); check the network or the proxy"


def _is_disk_full(output: str) -> bool:
    return any(text in output for text in ("No space left", "enough free space", "write error"))


def series_of(images: Iterable[ImagePackage]) -> tuple[str, ...]:
    """Return the series of `images`, the oldest first."""
    numbers = {image.upstream[:2] for image in images}
    return tuple(".".join(map(str, number)) for number in sorted(numbers))
