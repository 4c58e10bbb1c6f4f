"""Resolving a name to a kernel, with a stand-in for apt: no network, real packages, real dpkg."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from rttcheck.errors import KernelError
from rttcheck.kernels import apt, archive
from rttcheck.kernels.apt import KEYRING, SUITES, Archive, ArchiveSuite
from rttcheck.kernels.kernel import BootableKernel
from tests.support.kernel_modules import has_netem

MADISON = """\
linux-image-6.12.9+deb13-amd64 | 6.12.9-1 | http://deb.debian.org/debian trixie/main amd64 Packages
linux-image-6.12.117+deb12-amd64 | 6.12.117-1~deb12u1 | http://x bookworm-security/main amd64 Packages
linux-image-6.12.117+deb13-amd64 | 6.12.117-1 | http://x trixie-security/main amd64 Packages
linux-image-6.12.117+deb13-rt-amd64 | 6.12.117-1 | http://x trixie-security/main amd64 Packages
linux-image-6.12.118+deb13-cloud-amd64 | 6.12.118-1 | http://x trixie-security/main amd64 Packages
linux-image-6.1.0-56-amd64 | 6.1.192-2 | http://x bookworm-security/main amd64 Packages
"""
NAMES = "\n".join(line.split()[0] for line in MADISON.splitlines()) + "\n"

APT_GET = """#!/bin/sh
echo "$@" >>"$STAND_IN/asked"
[ -e "$STAND_IN/offline" ] && { echo "E: Could not resolve 'deb.debian.org'" >&2; exit 100; }
case "$1" in
update)
    if [ -e "$STAND_IN/stale" ] && grep -q " sid " "${APT_CONFIG%/*}/etc/sources.list"; then
        echo "E: Release file for http://x/sid/InRelease is expired" >&2
        exit 100
    fi
    rm -f "$STAND_IN/superseded" ;;
download)
    if [ -e "$STAND_IN/superseded" ]; then
        echo "E: Failed to fetch http://x/linux-image_1_amd64.deb  404  Not Found" >&2
        exit 100
    fi
    for part; do
        name=${part%%=*}
        case "$name" in
            "$part") ;;
            linux-headers-*) cp "$STAND_IN/${name##*-}-headers.deb" "./${name}_1_amd64.deb" ;;
            *) cp "$STAND_IN/${name%%-6*}.deb" "./${name}_1_amd64.deb" ;;
        esac
    done ;;
esac
"""
APT_CACHE = """#!/bin/sh
cat "$STAND_IN/$1"
"""
APT_CONFIG = """#!/bin/sh
echo 'Acquire::http::Proxy "http://proxy.example:3128";'
echo 'Acquire::Languages "de";'
"""


def package(directory: Path, release: str) -> None:
    """A kernel package of `release` as Debian makes them, but for its size."""
    root = directory / "root"
    modules = root / "usr/lib/modules" / release
    for name in ("net/sched/sch_netem", "drivers/gpu/huge", "fs/9p/9p"):
        file = modules / f"kernel/{name}.ko.xz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(lzma.compress(b"not really ELF"))
    for listing in ("modules.order", "modules.builtin"):
        (modules / listing).write_text("")
    (root / "boot").mkdir()
    (root / f"boot/vmlinuz-{release}").write_bytes(b"image")
    (root / f"boot/config-{release}").write_bytes(b"config")
    pack(root, directory / "linux-image.deb")


def pack(root: Path, deb: Path) -> None:
    """Make `deb` of what lies below `root`, with a maintainer script that must not run."""
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: linux-image\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody <n@example.org>\nDescription: none\n"
    )
    script = root / "DEBIAN/postinst"
    script.write_text(f"#!/bin/sh\ntouch {deb.parent}/ran\n")
    script.chmod(0o755)
    subprocess.run(["dpkg-deb", "--build", "-Znone", root, deb], check=True, capture_output=True)


def split(directory: Path, release: str) -> None:
    """The package of `package`, as Debian divides it since 7.3: the image's own holds nothing."""
    whole = directory / "root"
    shutil.rmtree(whole / "DEBIAN")
    tree = f"usr/lib/modules/{release}"
    for part, moved in (("linux-binary", ("vmlinuz", "config")), ("linux-modules", ()), ("linux-image", ())):
        root = directory / part
        (root / tree).mkdir(parents=True)
        for name in moved:
            (whole / f"boot/{name}-{release}").rename(root / tree / name)
        if part == "linux-modules":
            shutil.copytree(whole / tree, root / tree, dirs_exist_ok=True)
        pack(root, directory / f"{part}.deb")
    (directory / "show").write_text(
        f"Package: linux-image-{release}\nDepends: initramfs-tools (>= 0.120), linux-binary-{release} (= 6.12.117-1), "
        f"linux-modules-{release} (= 6.12.117-1)\n"
    )


def headers(directory: Path, release: str) -> None:
    """The two packages of a kernel's headers: what is the flavour's, and what is common."""
    for name, files in (
        ("amd64", ("include/generated/autoconf.h", "arch/x86/include/generated/asm/x.h", "scripts/huge")),
        ("common", ("include/linux/kconfig.h", "arch/x86/include/asm/page.h")),
    ):
        root = directory / f"headers-{name}"
        for file in files:
            path = root / f"usr/src/linux-headers-{release}-{name}" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        pack(root, directory / f"{name}-headers.deb")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs that are found before apt's, and of what they answer."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("apt-get", APT_GET), ("apt-cache", APT_CACHE), ("apt-config", APT_CONFIG)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "madison").write_text(MADISON)
    (programs / "pkgnames").write_text(NAMES)
    (programs / "show").write_text("Package: linux-image\nDepends: kmod, initramfs-tools (>= 0.120)\n")
    package(programs, "6.12.117+deb13-amd64")
    monkeypatch.setenv("STAND_IN", str(programs))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin")
    return programs


def asked(stand_in: Path) -> list[str]:
    file = stand_in / "asked"
    return file.read_text().splitlines() if file.exists() else []


def quiet(_line: str) -> None:
    """Progress that is not checked."""


def fetch(spec: str, tmp_path: Path) -> BootableKernel:
    return archive.fetch(spec, progress=quiet, root=tmp_path / "cache")


def test_the_newest_of_a_series_is_fetched_and_unpacked(stand_in: Path, tmp_path: Path) -> None:
    kernel = fetch("debian:6.12", tmp_path)
    assert kernel.release == "6.12.117+deb13-amd64"
    assert kernel.version == "6.12.117-1"
    assert kernel.image.read_bytes() == b"image"
    assert has_netem(kernel)
    assert kernel.modules is not None
    assert (kernel.modules / "kernel/net/sched/sch_netem.ko").read_bytes() == b"not really ELF"
    assert not (kernel.modules / "kernel/drivers/gpu").exists()
    assert not (stand_in / "ran").exists(), "a maintainer script was run"


def test_a_kernel_in_several_packages_is_put_together(stand_in: Path, tmp_path: Path) -> None:
    split(stand_in, "6.12.117+deb13-amd64")
    kernel = archive.fetch("debian:6.12", root=tmp_path / "cache", progress=lambda _line: None)
    assert kernel.image.read_bytes() == b"image"
    assert has_netem(kernel)
    asked = [line for line in (stand_in / "asked").read_text().splitlines() if line.startswith("download")]
    assert [word.partition("-6")[0] for word in asked[0].split()[2:]] == [
        "linux-image",
        "linux-binary",
        "linux-modules",
    ]


def test_a_cached_kernel_needs_no_request(stand_in: Path, tmp_path: Path) -> None:
    first = fetch("debian:6.12", tmp_path)
    before = asked(stand_in)
    assert len(before) == 2
    assert fetch("debian:6.12", tmp_path) == first
    assert fetch("debian:6.12.117+deb13", tmp_path) == first
    assert asked(stand_in) == before


def test_lists_that_name_what_has_left_the_archive_are_asked_for_again(stand_in: Path, tmp_path: Path) -> None:
    archive.whole_archive(tmp_path / "cache").refresh(progress=quiet)
    an_hour_ago = time.time() - 3600
    os.utime(tmp_path / "cache/apt/all/stamp", (an_hour_ago, an_hour_ago))
    (stand_in / "superseded").touch()
    messages: list[str] = []
    kernel = archive.fetch("debian:6.12", progress=messages.append, root=tmp_path / "cache")
    assert kernel.image.read_bytes() == b"image"
    assert sum(line.startswith("update") for line in asked(stand_in)) == 2
    assert any("404  Not Found" in line and line.endswith("; its lists may be too old") for line in messages)


def test_lists_that_were_just_asked_for_are_not_asked_for_again(stand_in: Path, tmp_path: Path) -> None:
    archive.whole_archive(tmp_path / "cache").refresh(progress=quiet)
    (stand_in / "superseded").touch()
    with pytest.raises(KernelError, match="404  Not Found"):
        fetch("debian:6.12", tmp_path)
    assert sum(line.startswith("update") for line in asked(stand_in)) == 1


def test_without_network_an_old_answer_is_used(stand_in: Path, tmp_path: Path) -> None:
    first = fetch("debian:6.12", tmp_path)
    answers = tmp_path / "cache/answers.json"
    answers.write_text(json.dumps({"debian:6.12": {"release": first.release, "time": 0}}))
    (tmp_path / "cache/apt/all/stamp").unlink()
    (stand_in / "offline").touch()
    messages: list[str] = []
    assert archive.fetch("debian:6.12", progress=messages.append, root=tmp_path / "cache") == first
    assert "using the cached 6.12.117+deb13-amd64" in messages[-1]


def test_without_network_and_cache_the_error_is_one_sentence_with_apts_message(stand_in: Path, tmp_path: Path) -> None:
    (stand_in / "offline").touch()
    with pytest.raises(KernelError, match=r"Could not resolve 'deb\.debian\.org'.*check the network or the proxy"):
        fetch("debian:6.12", tmp_path)
    assert not (tmp_path / "cache/kernels").exists()


@pytest.mark.usefixtures("stand_in")
def test_the_error_for_an_unknown_series_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"no kernel debian:9\.9; it has debian:6\.1, debian:6\.12: name one"):
        fetch("debian:9.9", tmp_path)


@pytest.mark.usefixtures("stand_in")
def test_the_error_for_an_unknown_release_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"of that series it has 6\.12\.117\+deb13, .*: name one of them"):
        fetch("debian:6.12.118+deb13", tmp_path)


def test_another_flavour_is_another_kernel(stand_in: Path, tmp_path: Path) -> None:
    fetch("debian:6.12-rt", tmp_path)
    assert any("linux-image-6.12.117+deb13-rt-amd64=6.12.117-1" in line for line in asked(stand_in))


def test_a_package_that_cannot_be_unpacked_leaves_nothing(stand_in: Path, tmp_path: Path) -> None:
    (stand_in / "linux-image.deb").write_bytes(b"no package at all")
    with pytest.raises(KernelError, match="cannot be unpacked"):
        fetch("debian:6.12", tmp_path)
    assert list((tmp_path / "cache/kernels").iterdir()) == []


@pytest.mark.usefixtures("stand_in")
def test_apt_is_private_and_keeps_the_machines_proxy(tmp_path: Path) -> None:
    fetch("debian:6.12", tmp_path)
    configuration = (tmp_path / "cache/apt/all/apt.conf").read_text()
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in configuration
    assert 'Acquire::Languages "none";' in configuration
    assert '"de"' not in configuration
    assert 'Dir::Etc::parts "/dev/null";' in configuration
    assert f'Dir::State "{tmp_path}/cache/apt/all/state";' in configuration
    sources = (tmp_path / "cache/apt/all/etc/sources.list").read_text().splitlines()
    assert all(f"signed-by={KEYRING}" in line for line in sources)
    assert [line.split()[-2] for line in sources] == [suite.name for suite in SUITES]


@pytest.mark.usefixtures("stand_in")
def test_of_two_builds_of_one_version_the_preferred_suites_is_taken(tmp_path: Path) -> None:
    asked_first = Archive(tmp_path / "apt", [ArchiveSuite("bookworm-security"), ArchiveSuite("trixie-security")])
    asked_first.refresh(progress=quiet)
    newest = [image for image in asked_first.images() if image.flavour == "amd64"][-1]
    assert newest.release == "6.12.117+deb12"


def test_headers_lie_where_a_guest_looks_for_them(stand_in: Path, tmp_path: Path) -> None:
    headers(stand_in, "6.12.117+deb13")
    (stand_in / "show").write_text(
        "Depends: linux-headers-6.12.117+deb13-common (= 6.12.117-1), linux-kbuild-6.12.117+deb13\n"
    )
    bare = fetch("debian:6.12", tmp_path)
    assert bare.headers is None
    kernel = archive.fetch("debian:6.12", headers=True, progress=quiet, root=tmp_path / "cache")
    assert kernel == bare
    assert kernel.headers is not None
    assert kernel.modules is not None
    assert (kernel.modules / "build").resolve() == kernel.headers
    for name in ("linux/kconfig.h", "generated/autoconf.h"):
        assert (kernel.modules / "build/include" / name).exists()
    assert (kernel.headers / "arch/x86/include/generated/asm/x.h").exists()
    assert not (kernel.headers / "scripts").exists()
    downloads = [line.split()[2:] for line in asked(stand_in) if line.startswith("download")]
    assert downloads[-1] == [
        "linux-headers-6.12.117+deb13-amd64=6.12.117-1",
        "linux-headers-6.12.117+deb13-common=6.12.117-1",
    ]
    before = asked(stand_in)
    assert archive.fetch("debian:6.12", headers=True, progress=quiet, root=tmp_path / "cache") == kernel
    assert asked(stand_in) == before


def test_headers_that_are_none_leave_the_kernel_without(stand_in: Path, tmp_path: Path) -> None:
    headers(stand_in, "6.12.117+deb13")
    shutil.rmtree(stand_in / "headers-amd64")
    with pytest.raises(KernelError, match=r"6\.12\.117\+deb13-amd64 has no include/linux/kconfig\.h; fetch"):
        archive.fetch("debian:6.12", headers=True, progress=quiet, root=tmp_path / "cache")
    assert fetch("debian:6.12", tmp_path).headers is None


def test_headers_of_a_kernel_that_left_the_archive_are_an_error(stand_in: Path, tmp_path: Path) -> None:
    fetch("debian:6.12", tmp_path)
    rows = [line for line in MADISON.splitlines() if "6.12.117+deb13-amd64" not in line]
    (stand_in / "madison").write_text("\n".join(rows))
    shutil.rmtree(tmp_path / "cache/apt")
    with pytest.raises(KernelError, match=r"no headers for the cached 6\.12\.117.* any more; .*debian:6\.12$"):
        archive.fetch("debian:6.12.117+deb13", headers=True, progress=quiet, root=tmp_path / "cache")


@pytest.mark.parametrize("spec", ["debian:6.12", "debian:6.12.117", "debian:6.12.117+deb13"])
def test_without_network_what_is_cached_is_found_by_every_name(stand_in: Path, tmp_path: Path, spec: str) -> None:
    first = fetch("debian:6.12.117+deb13", tmp_path)
    shutil.rmtree(tmp_path / "cache/apt")
    (stand_in / "offline").touch()
    assert fetch(spec, tmp_path) == first
    with pytest.raises(KernelError, match="could not"):
        fetch("debian:6.12-rt", tmp_path)


def test_after_a_fetch_others_make_room_but_not_what_is_in_use(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTTCHECK_CACHE_LIMIT", "1K")
    old = fetch("debian:6.12", tmp_path)
    package_of_another(stand_in)
    with archive.at_hand("debian:6.12", progress=quiet, root=tmp_path / "cache"):
        new = fetch("debian:6.1", tmp_path)
        assert old.image.exists()
    assert new.image.exists()
    shutil.rmtree(new.image.parent)
    fetch("debian:6.1", tmp_path)
    assert not old.image.exists()


def package_of_another(stand_in: Path) -> None:
    """Let the archive's images be of 6.1 from now on."""
    for left in ("root", "linux-image.deb"):
        shutil.rmtree(stand_in / left, ignore_errors=True)
    package(stand_in, "6.1.0-56-amd64")


def test_a_kernel_that_was_pruned_before_it_was_used_is_fetched_again(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = archive.fetch
    gone: list[Path] = []

    def fetch_and_lose(*words: object, **keywords: object) -> BootableKernel:
        kernel = really(*words, **keywords)  # type: ignore[arg-type]  # passed on as they came
        if not gone:
            gone.append(kernel.image)
            shutil.rmtree(kernel.image.parent)
        return kernel

    monkeypatch.setattr(archive, "fetch", fetch_and_lose)
    with archive.at_hand("debian:6.12", progress=quiet, root=tmp_path / "cache") as kernel:
        assert kernel.image.exists()
    assert sum(line.startswith("download") for line in asked(stand_in)) == 2


def test_apt_reads_its_lists_once(stand_in: Path, tmp_path: Path) -> None:
    lists = Archive(tmp_path / "apt", [ArchiveSuite("trixie-security")])
    lists.refresh(progress=quiet)
    first = lists.images()
    (stand_in / "madison").write_text("")
    assert lists.images() == first
    os.utime(tmp_path / "apt/stamp", (1, 1))
    assert lists.images() == ()


@pytest.mark.usefixtures("stand_in")
def test_lists_as_an_older_rttcheck_read_them_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = Archive(tmp_path / "apt", [ArchiveSuite("trixie-security")])
    lists.refresh(progress=quiet)
    with monkeypatch.context() as older:
        older.setattr(apt, "_READING", apt._READING - 1)
        older.setattr(Archive, "_read_images", lambda _: ())
        assert lists.images() == ()
    assert lists.images() != ()


def test_the_running_kernel_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="needs no fetching"):
        fetch("host", tmp_path)


def test_an_image_contains_its_release(tmp_path: Path) -> None:
    image = bytearray(0x1000)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x100).to_bytes(2, "little")
    image[0x300:0x320] = b"6.99.1-mine (me@here) #1 SMP".ljust(0x20, b"\0")
    (tmp_path / "bzImage").write_bytes(image)
    kernel = fetch(str(tmp_path / "bzImage"), tmp_path)
    assert (kernel.release, kernel.modules, has_netem(kernel)) == ("6.99.1-mine", None, False)


def test_a_file_that_is_no_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(b"\x7fELF" + bytes(0x1000))
    with pytest.raises(KernelError, match="no x86 kernel image"):
        fetch(str(tmp_path / "bzImage"), tmp_path)


def test_a_series_is_found_in_whichever_suite_has_it(stand_in: Path, tmp_path: Path) -> None:
    name = "linux-image-7.4.1+deb14-amd64"
    row = f"{name} | 7.4.1-1~bpo13+1 | http://x trixie-backports/main amd64 Packages\n"
    (stand_in / "madison").write_text(MADISON + row)
    (stand_in / "pkgnames").write_text(f"{NAMES}{name}\n")
    shutil.copyfile(stand_in / "linux-image.deb", stand_in / f"{name}.deb")
    fetch("debian:7.4", tmp_path)
    assert asked(stand_in)[-1].endswith(f"{name}=7.4.1-1~bpo13+1")


def test_a_stale_suite_does_not_keep_from_a_kernel_of_another(stand_in: Path, tmp_path: Path) -> None:
    (stand_in / "stale").touch()
    lines: list[str] = []
    assert archive.fetch("debian:6.12", root=tmp_path / "cache", progress=lines.append).image.exists()
    assert any("sid/InRelease is expired" in line and line.endswith("using the other suites") for line in lines)
    answer = json.loads((tmp_path / "cache/answers.json").read_text())["debian:6.12"]
    assert time.time() - answer["time"] > archive.ANSWER_S - apt.FRESH_S - 60, "it is kept for a day, not a week"
    # The lists do not count as complete: they are read again for the next kernel.
    (stand_in / "stale").unlink()
    fetch("debian:6.1", tmp_path)
    assert sum(line.startswith("update") for line in asked(stand_in)) == 2


def test_a_stale_suite_does_not_hide_what_the_others_have(stand_in: Path, tmp_path: Path) -> None:
    (stand_in / "stale").touch()
    with pytest.raises(
        KernelError, match=r"no kernel debian:6\.12\.1\+deb13; of that series it has .*6\.12\.117\+deb13"
    ):
        archive.fetch("debian:6.12.1+deb13", root=tmp_path / "cache", progress=lambda _line: None)


def test_a_stale_suite_is_named_where_no_other_has_the_series(stand_in: Path, tmp_path: Path) -> None:
    (stand_in / "stale").touch()
    with pytest.raises(KernelError, match=r"sid/InRelease is expired"):
        archive.fetch("debian:7.3", root=tmp_path / "cache", progress=lambda _line: None)


SUPERSEDED = """\
Package: linux-image-6.12.118+deb13-amd64
Version: 6.12.118-1
Depends: kmod, linux-base-6.12.118+deb13-amd64 (= 6.12.118-1), linux-modules-6.12.118+deb13-amd64 (= 6.12.118-1)

Package: linux-image-6.12.117+deb13-amd64
Version: 6.12.117-1
Depends: kmod, linux-base-6.12.117+deb13-amd64 (= 6.12.117-1)
"""


def superseded(stand_in: Path, *others: str) -> None:
    """The archive has an image 6.12.118 whose modules are a package of their own, and of its other parts `others`."""
    rows = ["linux-image-6.12.118+deb13-amd64", *others]
    where = "6.12.118-1 | http://x trixie-security/main amd64 Packages"
    (stand_in / "madison").write_text(MADISON + "".join(f"{name} | {where}\n" for name in rows))
    (stand_in / "pkgnames").write_text(NAMES + "linux-image-6.12.118+deb13-amd64\n")
    (stand_in / "show").write_text(SUPERSEDED)


def newest(directory: Path) -> str:
    lists = Archive(directory, [ArchiveSuite("trixie-security")])
    lists.refresh(progress=quiet)
    return [image for image in lists.images() if image.flavour == "amd64"][-1].release


@pytest.mark.parametrize("left", ["base", "modules"])
def test_an_image_a_part_of_which_has_left_the_archive_is_not_offered(
    stand_in: Path, tmp_path: Path, left: str
) -> None:
    kept = {"base", "modules"} - {left}
    superseded(stand_in, *(f"linux-{part}-6.12.118+deb13-amd64" for part in kept))
    assert newest(tmp_path / "apt") == "6.12.117+deb13"


def test_an_image_all_of_whose_parts_are_there_is_offered(stand_in: Path, tmp_path: Path) -> None:
    superseded(stand_in, "linux-base-6.12.118+deb13-amd64", "linux-modules-6.12.118+deb13-amd64")
    assert newest(tmp_path / "apt") == "6.12.118+deb13"


def test_an_image_that_holds_its_modules_needs_no_base_package(stand_in: Path, tmp_path: Path) -> None:
    superseded(stand_in)
    kernel = fetch("debian:6.12.117+deb13", tmp_path)
    assert has_netem(kernel)
    assert [line.split()[2:] for line in asked(stand_in) if line.startswith("download")] == [
        ["linux-image-6.12.117+deb13-amd64=6.12.117-1"]
    ]
