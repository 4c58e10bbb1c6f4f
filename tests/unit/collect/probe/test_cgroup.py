"""Which cgroup a sockops program is attached to, on planted mount tables: version 1, version 2, both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rttcheck.collect.probe import cgroup
from rttcheck.collect.probe.cgroup import Hierarchy, below, hierarchies, open_cgroup, own_path
from rttcheck.errors import CapabilityError

UNIFIED = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:3 master:1 - cgroup2 cgroup2 rw
"""
LEGACY = """\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
39 31 0:36 /docker/7 /sys/fs/cgroup/pids\\040too rw,relatime - cgroup cgroup rw,pids
"""


@pytest.mark.parametrize(
    ("mountinfo", "found"),
    [
        (UNIFIED, (Hierarchy(2, "/sys/fs/cgroup", "/"),)),
        (HYBRID, (Hierarchy(1, "/sys/fs/cgroup/cpu", "/"), Hierarchy(2, "/sys/fs/cgroup/unified", "/"))),
        (LEGACY, (Hierarchy(1, "/sys/fs/cgroup/cpu", "/"), Hierarchy(1, "/sys/fs/cgroup/pids too", "/docker/7"))),
        ("", ()),
        ("22 27 0:21 / /a-b rw - ext4 cgroup2 rw\n", ()),
    ],
    ids=["unified", "hybrid", "legacy", "none", "misleading"],
)
def test_hierarchies_are_read_from_the_mount_table(mountinfo: str, found: tuple[Hierarchy, ...]) -> None:
    assert hierarchies(mountinfo) == found


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/user.slice/session-1.scope\n", "/user.slice/session-1.scope"),
        ("9:name=systemd:/x\n8:pids:/y\n0::/\n", "/"),
        ("9:name=systemd:/x\n8:pids:/y\n", None),
        ("10::/no\n", None),
    ],
)
def test_the_own_cgroup_is_the_one_of_version_2(text: str, path: str | None) -> None:
    assert own_path(text) == path


@pytest.mark.parametrize(
    ("point", "root", "path", "place"),
    [
        ("/sys/fs/cgroup", "/", "/", "/sys/fs/cgroup"),
        ("/sys/fs/cgroup", "/", "/a/b", "/sys/fs/cgroup/a/b"),
        ("/cg", "/docker/7", "/docker/7", "/cg"),
        ("/cg", "/docker/7", "/docker/7/x", "/cg/x"),
        ("/cg", "/docker/7", "/docker/77", None),
        ("/cg", "/docker/7", "/", None),
        ("/cg", "/", "/../other", None),
        ("/cg", "/", "/..", None),
        ("/", "/", "/a", "/a"),
    ],
)
def test_a_cgroup_is_found_below_what_is_mounted(point: str, root: str, path: str, place: str | None) -> None:
    assert below(Hierarchy(2, point, root), path) == place


def planted(directory: Path, mountinfo: str, own: str) -> dict[str, Path]:
    files = {"mountinfo": directory / "mountinfo", "cgroup": directory / "own"}
    files["mountinfo"].write_text(mountinfo)
    files["cgroup"].write_text(own)
    return files


def test_the_mounted_hierarchy_is_used_and_closed(tmp_path: Path) -> None:
    (tmp_path / "cg" / "mine").mkdir(parents=True)
    files = planted(tmp_path, f"1 2 0:3 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n", "0::/mine\n")
    with open_cgroup(**files) as found:
        assert found.where == f"the cgroup {tmp_path}/cg/mine"
        assert os.fstat(found.fd).st_ino == (tmp_path / "cg" / "mine").stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(found.fd)


@pytest.mark.parametrize(
    ("mountinfo", "words"), [(LEGACY, "has only cgroup version 1"), ("", "has no cgroups mounted")]
)
def test_without_version_2_and_with_a_kernel_that_refuses_one_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mountinfo: str, words: str
) -> None:
    no_such_call = 100_000
    monkeypatch.setattr(cgroup, "_FSOPEN", no_such_call)
    with pytest.raises(CapabilityError, match=rf"{words}.*mount -t cgroup2.*unified_cgroup_hierarchy"):
        open_cgroup(**planted(tmp_path, mountinfo, "1:cpu:/\n")).__enter__()
