"""Modules of a kernel package, uncompressed for guests, and the errors when that fails."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from rttcheck.errors import KernelError
from rttcheck.kernels import modules

CONTENT = b"\x7fELF, as far as anybody here knows"


def tree_with(directory: Path, name: str, content: bytes) -> Path:
    """A package's tree of modules with one in it."""
    tree = directory / "usr/lib/modules/6.12.0"
    (tree / "kernel/net").mkdir(parents=True)
    (tree / "kernel/net" / name).write_bytes(content)
    return tree


def installed(tree: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is in the target's net directory; depmod is left out, which takes real modules only."""
    monkeypatch.setattr(modules, "_index", lambda _: None)
    modules.install(tree, target)
    net = target / "kernel/net"
    assert all(module.read_bytes() == CONTENT for module in net.iterdir())
    return [module.name for module in net.iterdir()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sch.ko", CONTENT),
        ("sch.ko.xz", lzma.compress(CONTENT)),
        ("sch.ko.gz", gzip.compress(CONTENT)),
    ],
    ids=["as they are", "xz", "gzip"],
)
def test_modules_are_plain_in_a_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    assert installed(tree_with(tmp_path, name, content), tmp_path / "target", monkeypatch) == ["sch.ko"]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_modules_are_plain_in_a_guest_where_zstd_compressed_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = subprocess.run(["zstd", "-q", "-c"], input=CONTENT, capture_output=True, check=True).stdout
    tree = tree_with(tmp_path, "sch.ko.zst", compressed)
    assert installed(tree, tmp_path / "target", monkeypatch) == ["sch.ko"]


def test_a_missing_zstd_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match=r"zstd cannot be executed .*No such file.*; apt-get install zstd"):
        installed(tree_with(tmp_path, "sch.ko.zst", b""), tmp_path / "target", monkeypatch)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_a_module_that_zstd_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KernelError, match=r"the module sch\.ko\.zst cannot be unpacked .*; fetch the kernel again"):
        installed(tree_with(tmp_path, "sch.ko.zst", CONTENT), tmp_path / "target", monkeypatch)
