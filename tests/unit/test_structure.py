"""The structure of the tree: who may import whom, one identity for each module, no symbolic links."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import rttcheck
import rttcheck_netns
from rttcheck.collect.bpf_files import BPF

PROJECT = Path(__file__).parents[2]


def test_imports_go_in_the_directions_of_pyproject(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(PROJECT / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out


def test_each_module_has_one_name() -> None:
    assert Path(rttcheck.__file__) == PROJECT / "rttcheck" / "__init__.py"
    assert Path(rttcheck_netns.__file__) == PROJECT / "netns" / "rttcheck_netns" / "__init__.py"
    assert BPF == PROJECT / "bpf"
    assert find_spec("rttcheck.netns") is None
    assert find_spec("rttcheck.bpf") is None


def test_a_process_elsewhere_imports_the_same(tmp_path: Path) -> None:
    code = "import rttcheck, rttcheck_netns; print(rttcheck.__file__, rttcheck_netns.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [rttcheck.__file__, rttcheck_netns.__file__]


def test_no_file_of_the_tree_is_a_symbolic_link() -> None:
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git repository")
    links = [line for line in listed.stdout.splitlines() if line.startswith("120000")]
    assert links == []
