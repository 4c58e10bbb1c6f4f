"""Which modules a guest loads first, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.errors import KernelError
from rttcheck.kernels import modules


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A module tree as depmod leaves it."""
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/netfs/netfs.ko:\n"
        "kernel/net/9p/9pnet.ko: kernel/fs/netfs/netfs.ko\n"
        "kernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n"
        "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n"
    )
    return tmp_path


def test_what_a_module_needs_comes_before_it_and_once(tree: Path) -> None:
    order = modules.load_order(tree, ("9pnet_virtio", "9p"))
    assert [module.name for module in order] == ["netfs.ko", "9pnet.ko", "9pnet_virtio.ko", "9p.ko"]


def test_what_is_built_in_is_left_out(tree: Path) -> None:
    assert modules.load_order(tree, ("virtio_pci",)) == ()


def test_a_dash_is_an_underscore(tree: Path) -> None:
    assert modules.load_order(tree, ("9pnet-virtio",))[-1].name == "9pnet_virtio.ko"


def test_a_package_without_modules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="contains no kernel modules"):
        modules.find_tree(tmp_path)


def test_a_failure_of_depmod_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "depmod").write_text("#!/bin/sh\necho 'depmod: bad weather' >&2; exit 1\n")
    (tmp_path / "depmod").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(KernelError, match="bad weather"):
        modules.install(tmp_path / "nothing", tmp_path / "lib/modules/6.99")
