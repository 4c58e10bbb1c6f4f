"""A guest on another machine, reached through a real sshd: the scenario's verdict and its recording are here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rttcheck.kernels.cache import cache_root
from rttcheck.record.recording import Recording
from tests.support.other_machine import PROJECT, elsewhere


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.skipif(shutil.which("sshd") is None, reason="sshd is not installed: apt-get install openssh-server")
def test_a_scenario_is_judged_on_a_guest_elsewhere(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    hidden = (PROJECT / "rttcheck", PROJECT / "netns", PROJECT / "tests")
    with elsewhere(tmp_path / "elsewhere", hidden=hidden, cache=cache_root()) as other:
        command = [sys.executable, "-m", "pytest", "-m", "rtt", "tests/rtt", "-k", "rtt-40ms", "-v"]
        command += ["-p", "no:cacheprovider", "--rtt-kernel", "debian:6.12", "--rtt-jobs", "0"]
        command += ["--rtt-on", other.destination, "--rtt-ssh-config", str(other.config)]
        done = subprocess.run(
            [*command, "--rtt-recordings", str(recordings)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            preexec_fn=other.inside(),
            timeout=420,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED tests/rtt/test_named_scenarios.py::test_scenario[rtt-40ms@debian:6.12]" in done.stdout
    assert "booting debian:6.12 on elsewhere" in done.stdout
    (recording,) = recordings.rglob("rtt-40ms.rttrec")
    assert Recording.load(recording).events.size > 0
    (console,) = (tmp_path / "consoles").iterdir()
    assert "exit 0" in console.read_text()
