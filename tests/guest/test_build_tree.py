"""A kernel that somebody built is booted from its tree, with the modules that lie about in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rttcheck.kernels.archive import fetch
from rttcheck.kernels.cache import cache_root
from rttcheck.kernels.guest import BOOT_VARIABLE, GuestSettings

Launch = Callable[..., "subprocess.Popen[bytes]"]

LOOK = """
import os, subprocess
from pathlib import Path
subprocess.run(["/sbin/modprobe", "sch_netem"], check=True)
print(os.uname().release, Path("/sys/module/sch_netem").exists())
print(Path("/lib/modules", os.uname().release, "kernel/net/sched/sch_netem.ko").resolve())
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Debian's kernel as if it had been built here: image, configuration, and modules where the build leaves them."""
    kernel = fetch("debian:6.12")
    assert kernel.modules is not None
    made = tmp_path / "linux"
    (made / "arch/x86/boot").mkdir(parents=True)
    (made / "include/config").mkdir(parents=True)
    shutil.copyfile(kernel.image, made / "arch/x86/boot/bzImage")
    shutil.copyfile(kernel.image.with_name("config"), made / ".config")
    (made / "include/config/kernel.release").write_text(f"{kernel.release}\n")
    for name in ("Kbuild", "Makefile"):
        (made / name).write_text("")
    order = []
    for module in sorted((kernel.modules / "kernel").rglob("*.ko")):
        place = module.relative_to(kernel.modules / "kernel")
        (made / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, made / place)
        order.append(f"{place.with_suffix('.o')}\n")
    (made / "modules.order").write_text("".join(order))
    shutil.copyfile(kernel.modules / "modules.builtin", made / "modules.builtin")
    return made


def test_a_guest_boots_from_a_build_tree_and_loads_its_modules(
    settings: GuestSettings, launch: Launch, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A frozen one would be kept, and never be used again.
    monkeypatch.setenv(BOOT_VARIABLE, "fresh")
    process = launch(replace(settings, kernel=str(tree)), "-c", LOOK)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err.decode()
    release = fetch("debian:6.12").release
    assert out.decode().splitlines() == [f"{release} True", str(tree / "net/sched/sch_netem.ko")]
    for left in (cache_root() / "trees").glob(f"{release}.*"):
        shutil.rmtree(left)
