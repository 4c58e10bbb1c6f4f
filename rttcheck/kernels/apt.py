"""Debian's signed archive, seen through an apt of our own.

Owns a private apt (configuration, lists and downloads under one directory): the machine's sources, lists and hooks are
neither read nor touched, its proxies are honoured. Signatures are checked against Debian's archive keyring, by apt.
Refuses to know what a kernel is for.
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
"""How the sentence of a failure begins that a cached kernel is the answer to."""
FRESH_S = 24 * 3600.0
"""A package list younger than this is not asked for again."""

_READING = 2
"""Of what is kept of apt's lists; goes up when the same lists come to something else, as when images whose modules are
gone were left out."""

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
        """The kernel's own version, from the package's: (6, 12, 117)."""
        return tuple(int(part) for part in re.split(r"[-~+]", self.version)[0].split(".") if part.isdigit())

    @property
    def series(self) -> str:
        """The series that it belongs to: ``"6.12"``."""
        return ".".join(str(part) for part in self.upstream[:2])

    @property
    def spec(self) -> str:
        """How a user names exactly this one: ``debian:6.12.117+deb13``, ``debian:6.1.0-56-rt``."""
        return f"debian:{self.release}" + ("-rt" if self.flavour.startswith("rt-") else "")

    @property
    def order(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """Sort key: the newest, and of equals the one from the preferred suite, comes last."""
        return (self.upstream, -self.rank, tuple(int(part) for part in re.findall(r"\d+", self.version)))


class Archive:
    """Debian's archive through a private apt in `directory`, for the given suites.

    Every method raises `KernelError` with apt's own last words when it fails.
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
        progress(f"asking Debian's archive which kernels there are ({len(self.suites)} suites)")
        self._configure()
        done = _run(["apt-get", "update", "--error-on=any"], env=self._environment())
        if done.returncode:
            # Some lists may have changed.
            (self.directory / "images.json").unlink(missing_ok=True)
            output = done.stdout + done.stderr
            kind = IncompleteLists if 0 < len(self._failing(output)) < len(self.suites) else KernelError
            raise kind(_refusal("read the package lists of", output))
        (self.directory / "stamp").write_text(self._wanted)

    def _failing(self, output: str) -> list[ArchiveSuite]:
        """Return the suites that apt's error lines name, as a word or as a part of an address."""
        errors = [line for line in output.splitlines() if line.startswith(("E:", "Err:"))]
        words = {word for line in errors for word in re.split(r"[\s/]+", line)}
        return [suite for suite in self.suites if suite.name in words]

    @property
    def asked(self) -> float | None:
        """When the lists at hand were read from the archive, seconds since the epoch; None where there are none."""
        try:
            return (self.directory / "stamp").stat().st_mtime
        except OSError:
            return None

    def is_fresh(self, within_s: float = FRESH_S) -> bool:
        """Whether the lists at hand are those of the suites, and younger than ``within_s``."""
        asked = self.asked
        if asked is None or time.time() - asked >= within_s:
            return False
        return (self.directory / "stamp").read_text() == self._wanted

    @property
    def _wanted(self) -> str:
        return "\n".join(sorted(suite.name for suite in self.suites))

    def images(self) -> tuple[ImagePackage, ...]:
        """All kernel images in the lists at hand, the oldest first.

        Left out are cloud kernels, which have no 9p, and those whose modules the archive has no longer.
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
        """Those of `images` all of whose parts are in the lists.

        What is signed (the image, the binary) is a source package of its own, and the archive keeps it when the modules
        of a superseded kernel are gone: so it was with 6.19, 7.0 and 7.1 in trixie-backports in November 2026.
        """
        wanted = {(image.name, image.version): image for image in images}
        told = self._apt("apt-cache", "show", *(f"{name}={version}" for name, version in wanted)) if wanted else ""
        parts: dict[tuple[str, str], list[str]] = {}
        for stanza in told.split("\n\n"):
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
        """The name of the suite that offers `package`."""
        return self.suites[package.rank].name if package.rank < len(self.suites) else ""

    def parts(self, name: str, version: str) -> tuple[str, ...]:
        """The package `name` and those of just its version that it depends on: an image's contents since 6.19.

        Raises `KernelError` when the archive has no such package (any more).
        """
        told = self._apt("apt-cache", "show", f"{name}={version}")
        depends = next((line for line in told.splitlines() if line.startswith("Depends:")), "")
        return (name, *_parts_named(depends, version))

    def newest(self, name: str) -> str:
        """The newest version of the package `name` in the lists at hand; raises `KernelError` where there is none."""
        rows = self._apt("apt-cache", "madison", name).splitlines()
        if not rows:
            raise KernelError(f"Debian's archive has no package {name}; ask for one that it has")
        return rows[0].split("|")[1].strip()

    def download(self, parts: Sequence[str], version: str, into: Path, *, progress: Progress) -> tuple[Path, ...]:
        """The ``.deb`` files of the packages in `into`, their checksums verified by apt against the signed list."""
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
        """What APT_CONFIG points at: it is read first, and turns apt away from the machine's own files.

        Of the machine's settings the ``Acquire`` tree (proxies, retries, timeouts) is kept; hooks are not.
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
            # Worth 100 MB of disk to who asks often; we ask once a week.
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
    """The packages of just `version` in a line ``Depends``, but for what an image that holds its modules can lack."""
    names = re.findall(rf"(linux-[^\s,]+) \(= {re.escape(version)}\)", depends)
    if any(name.startswith("linux-modules-") for name in names):
        return names
    # Of 6.18 it holds scripts only, and is gone from the archive while the image is still there.
    return [name for name in names if not name.startswith("linux-base-")]


def _sizes(directory: Path) -> Iterator[int]:
    """Of the packages in it, whole or not; apt moves them about meanwhile."""
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
    if any(words in output for words in ("No space left", "enough free space", "write error")):
        return f"apt could not {what} Debian's archive: the disk is full; free some space"
    lines = output.splitlines()
    errors = [line.removeprefix("E:").strip() for line in lines if line.startswith("E:")]
    reason = errors[0] if errors else (lines[-1].strip() if lines else "it gave no reason")
    return f"{UNREACHABLE} {what} Debian's archive ({reason}); check the network or the proxy"


def series_of(images: Iterable[ImagePackage]) -> tuple[str, ...]:
    """The series among `images`, the oldest first."""
    numbers = {image.upstream[:2] for image in images}
    return tuple(".".join(map(str, number)) for number in sorted(numbers))
