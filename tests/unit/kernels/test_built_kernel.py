"""Kernels built by the user: their parts, and the errors for missing parts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rttcheck.errors import KernelError
from rttcheck.kernels.archive import fetch
from rttcheck.kernels.configuration import GUEST, PROBE
from rttcheck.kernels.kernel import BootableKernel
from tests.support.kernel_modules import has_netem

RELEASE = "6.99.1-mine"
BUILT_IN = "".join(f"CONFIG_{option}=y\n" for option in (*GUEST, *PROBE))


def bzimage(path: Path, release: str = RELEASE) -> None:
    image = bytearray(0x1000)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x100).to_bytes(2, "little")
    words = f"{release} (me@here) #1 SMP".encode()
    image[0x300 : 0x300 + len(words)] = words
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)


@pytest.fixture(autouse=True)
def depmod(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no program of an ordinary user's."""
    monkeypatch.setenv("PATH", "/usr/sbin:/sbin", prepend=":")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sources that are not built yet."""
    sources = tmp_path / "linux"
    (sources / "arch/x86").mkdir(parents=True)
    for name in ("Kbuild", "Makefile"):
        (sources / name).write_text("")
    return sources


def build(tree: Path, configuration: str = BUILT_IN) -> None:
    """Without modules."""
    bzimage(tree / "arch/x86/boot/bzImage")
    (tree / "include/config").mkdir(parents=True, exist_ok=True)
    (tree / "include/config/kernel.release").write_text(f"{RELEASE}\n")
    (tree / ".config").write_text(configuration)


def build_modules(tree: Path, listing: str) -> None:
    """Two that a lab may need and one that none does; `listing` is how ``modules.order`` names them."""
    names = ("net/sched/sch_netem", "fs/9p/9p", "drivers/gpu/huge")
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / f"{name}.ko").write_bytes(b"not really ELF")
    (tree / "modules.order").write_text("".join(f"{listing.format(name)}\n" for name in names))


def found(path: Path, tmp_path: Path, messages: list[str] | None = None) -> BootableKernel:
    collected = [] if messages is None else messages
    return fetch(str(path), progress=collected.append, root=tmp_path / "cache")


def test_a_tree_without_modules_is_its_image(tree: Path, tmp_path: Path) -> None:
    build(tree)
    kernel = found(tree, tmp_path)
    assert (kernel.image, kernel.modules) == (tree / "arch/x86/boot/bzImage", None)
    assert kernel.release == RELEASE
    assert found(tree / "arch/x86/boot/bzImage", tmp_path) == kernel


@pytest.mark.parametrize("listing", ["{}.o", "{}.ko", "kernel/{}.ko"])
def test_a_trees_modules_are_linked_as_they_would_be_installed(tree: Path, tmp_path: Path, listing: str) -> None:
    build(tree, BUILT_IN.replace("CONFIG_9P_FS=y", "CONFIG_9P_FS=m"))
    build_modules(tree, listing)
    before = sorted(tree.rglob("*"))
    kernel = found(tree, tmp_path)
    assert kernel.modules is not None
    assert kernel.modules.name == RELEASE
    netem = kernel.modules / "kernel/net/sched/sch_netem.ko"
    assert netem.resolve() == tree / "net/sched/sch_netem.ko"
    assert has_netem(kernel)
    assert "kernel/fs/9p/9p.ko" in (kernel.modules / "modules.dep").read_text()
    assert not (kernel.modules / "kernel/drivers").exists()
    assert (kernel.modules / "build").resolve() == tree
    assert sorted(tree.rglob("*")) == before, "the tree was written to"
    assert found(tree, tmp_path) == kernel


def test_a_module_that_was_built_anew_is_seen(tree: Path, tmp_path: Path) -> None:
    build(tree)
    build_modules(tree, "{}.o")
    first = found(tree, tmp_path)
    # Of the same size.
    netem = tree / "net/sched/sch_netem.ko"
    then = netem.stat().st_mtime_ns + 1_000_000
    os.utime(netem, ns=(then, then))
    assert found(tree, tmp_path).modules != first.modules


def test_modules_that_were_installed_into_the_tree_are_preferred(tree: Path, tmp_path: Path) -> None:
    build(tree)
    build_modules(tree, "{}.o")
    installed = tree / "lib/modules" / RELEASE
    installed.mkdir(parents=True)
    (installed / "modules.dep").write_text("")
    assert found(tree, tmp_path).modules == installed


def test_a_tree_that_is_not_built_yet_is_an_error_with_the_remedy(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"is not built yet; make -C .*/linux bzImage modules"):
        found(tree, tmp_path)


def test_an_image_older_than_its_tree_is_an_error(tree: Path, tmp_path: Path) -> None:
    build(tree)
    (tree / "include/config/kernel.release").write_text("6.99.2-mine\n")
    with pytest.raises(KernelError, match=r"is 6\.99\.1-mine and its tree is now 6\.99\.2-mine; make -C"):
        found(tree, tmp_path)


def test_the_error_names_the_options_that_a_guest_lacks(tree: Path, tmp_path: Path) -> None:
    configuration = BUILT_IN.replace("CONFIG_9P_FS=y", "CONFIG_9P_FS=m").replace(
        "CONFIG_VIRTIO_CONSOLE=y", "# CONFIG_VIRTIO_CONSOLE is not set"
    )
    build(tree, configuration)
    with pytest.raises(KernelError) as refused:
        found(tree, tmp_path)
    assert f"cannot boot as a guest: {tree}/.config has" in str(refused.value)
    assert "CONFIG_VIRTIO_CONSOLE=n, CONFIG_9P_FS=m and no module 9p; set them to y" in str(refused.value)


def test_a_kernel_without_btf_can_be_a_guest_with_a_warning(tree: Path, tmp_path: Path) -> None:
    build(tree, BUILT_IN.replace("CONFIG_DEBUG_INFO_BTF=y", "# CONFIG_DEBUG_INFO_BTF is not set"))
    messages: list[str] = []
    assert found(tree, tmp_path, messages).release == RELEASE
    assert len(messages) == 1
    assert "hides samples from most probes" in messages[0]
    assert "has CONFIG_DEBUG_INFO_BTF=n; set them to y and build it again" in messages[0]


def test_one_way_to_probe_is_enough(tree: Path, tmp_path: Path) -> None:
    build(tree, BUILT_IN.replace("CONFIG_KPROBE_EVENTS=y\n", ""))
    messages: list[str] = []
    found(tree, tmp_path, messages)
    assert messages == []


def test_a_bare_image_is_taken_as_it_is(tmp_path: Path) -> None:
    bzimage(tmp_path / "bzImage")
    kernel = found(tmp_path / "bzImage", tmp_path)
    assert (kernel.release, kernel.modules) == (RELEASE, None)


def test_an_image_with_its_configuration_beside_it_is_judged_by_that(tmp_path: Path) -> None:
    bzimage(tmp_path / "boot/vmlinuz-mine")
    (tmp_path / f"boot/config-{RELEASE}").write_text(BUILT_IN.replace("CONFIG_9P_FS=y\n", ""))
    with pytest.raises(KernelError, match="CONFIG_9P_FS=n"):
        found(tmp_path / "boot/vmlinuz-mine", tmp_path)


def test_the_newest_image_of_an_unpacked_package_is_taken(tmp_path: Path) -> None:
    for release in ("6.9.1", "6.12.1"):
        bzimage(tmp_path / f"root/boot/vmlinuz-{release}", release)
    assert found(tmp_path / "root", tmp_path).release == "6.12.1"
    shutil.rmtree(tmp_path / "root/boot")
    with pytest.raises(KernelError, match="holds no kernel image"):
        found(tmp_path / "root", tmp_path)


def test_a_release_that_is_no_name_is_refused(tmp_path: Path) -> None:
    bzimage(tmp_path / "bzImage", "../../etc")
    with pytest.raises(KernelError, match="contains no version"):
        found(tmp_path / "bzImage", tmp_path)


def test_only_kernels_of_debian_have_headers(tree: Path, tmp_path: Path) -> None:
    build(tree)
    with pytest.raises(KernelError, match="not in Debian's archive"):
        fetch(str(tree), headers=True, progress=lambda _line: None, root=tmp_path / "cache")
