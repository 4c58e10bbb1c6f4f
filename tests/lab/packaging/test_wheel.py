"""The wheel holds all that a user needs, and lives beside the unrelated package that owns the name `netns`."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

BESIDE = """
import importlib.resources, netns, rttcheck_netns
assert netns.__file__ != rttcheck_netns.__file__, netns.__file__
assert "routed" in rttcheck_netns.__all__ and not hasattr(netns, "routed")
print(len((importlib.resources.files("rttcheck") / "bpf" / "rtt_probe.bpf.o").read_bytes()))
"""


def python(*arguments: str, path: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root"} | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=cwd,
        env=environment if path else None,
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    done = python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_the_probe_its_licence_and_the_typing_marks(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "rttcheck/py.typed",
        "rttcheck_netns/py.typed",
        "rttcheck_netns/topology.py",
        "rttcheck/bpf/rtt_probe.bpf.o",
        "rttcheck/bpf/LICENSE",
        "rttcheck/kernels/guest_init.sh",
    } <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rttcheck", "rttcheck_netns"}


def test_the_wheel_lives_beside_the_package_that_is_called_netns(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for requirement in (str(wheel), "netns==1.0"):
        done = python("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), requirement)
        if done.returncode and requirement.startswith("netns"):
            pytest.skip(f"the package netns cannot be had from the package index here: {done.stderr.strip()[-300:]}")
        assert done.returncode == 0, done.stderr
    done = python("-c", BESIDE, path=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000
