"""The Python that was frozen with a guest is its session's Python: root, command line, imports, and edited sources."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import rttcheck
import rttcheck_netns
from rttcheck.kernels.guest import GuestSettings, launcher_command
from tests.guest.conftest import PROJECT, Launch, own_kernels

INSIDE = """
import json, os, random, subprocess, sys, time
began = time.monotonic()
import numpy, pytest, rttcheck.harness
imports_s = time.monotonic() - began
# An orphan: its parent ends before it does, and PID 1 has to reap it.
orphan = subprocess.check_output(["sh", "-c", "sleep 0.2 >&- & echo $!"], text=True).strip()
deadline = time.monotonic() + 20.0
while os.path.exists(f"/proc/{orphan}") and time.monotonic() < deadline:
    os.sched_yield()
values = numpy.random.default_rng(1).integers(0, 1 << 62, size=(100, 500))
wrong = sum((numpy.diff(row[numpy.argsort(row)]) < 0).any() for row in values)
print(json.dumps({
    "wrong": int(wrong),
    "argv": sys.argv, "cwd": os.getcwd(), "root": os.readlink("/proc/self/root"), "imports_s": imports_s,
    "clock": os.environ["RTTCHECK_CLOCK"], "numbers": random.random(), "input": sys.stdin.read(),
    "user_namespace": subprocess.run(["unshare", "--user", "true"]).returncode,
    "reaped": not os.path.exists(f"/proc/{orphan}"),
    "same_root": os.stat("/proc/1/root/usr").st_ino == os.stat("/usr").st_ino,
}))
sys.exit(7)
"""


def run_inside(settings: GuestSettings, launch: Launch) -> dict[str, object]:
    process = launch(settings, "-c", INSIDE, "first", "second one")
    out, err = process.communicate(b"some input", timeout=400)
    assert process.returncode == 7, (out + err).decode()
    return dict(json.loads(out))


def test_a_thawed_python_is_the_sessions_python(
    settings: GuestSettings, launch: Launch, show: Callable[[str], None]
) -> None:
    # A frozen guest of other sources may be there: the first session uses it, the second makes one of these.
    run_inside(settings, launch)
    one, two = (run_inside(settings, launch) for _ in range(2))
    assert one["argv"] == ["-c", "first", "second one"]
    assert one["cwd"] == str(PROJECT)
    assert (one["root"], one["same_root"], one["input"], one["clock"]) == ("/", True, "some input", "virtual")
    assert (one["user_namespace"], one["reaped"]) == (0, True)
    assert one["numbers"] != two["numbers"]
    assert one["wrong"] == 0, "the emulator sorts wrongly"
    show(f"the imports took {one['imports_s']} s")
    # From the host's files they take seconds.
    assert isinstance(one["imports_s"], float)
    assert one["imports_s"] < 0.01


def test_other_command_lines_have_an_interpreter_of_their_own(
    settings: GuestSettings, launch: Launch, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; print(sys.argv[1:], 'numpy' in sys.modules); sys.exit(3)\n")
    process = launch(settings, str(script), "argument")
    out, err = process.communicate(timeout=400)
    assert (process.returncode, out) == (3, b"['argument'] False\n"), err.decode()


def test_an_edited_file_is_seen_by_the_next_session(settings: GuestSettings, tmp_path: Path) -> None:
    tree, cache = tmp_path / "tree", tmp_path / "cache"
    for package in (rttcheck, rttcheck_netns):
        source = Path(package.__path__[0])
        shutil.copytree(source, tree / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    own_kernels(cache)
    environment = {**os.environ, "PYTHONPATH": str(tree), "RTTCHECK_CACHE": str(cache)}

    def inside(code: str) -> str:
        command = [*launcher_command(settings), "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    look = "import rttcheck.harness as h; print(h.__file__, getattr(h, 'EDITED', 'as it was'))"
    assert inside(look) == f"{tree}/rttcheck/harness.py as it was"
    with (tree / "rttcheck" / "harness.py").open("a") as file:
        file.write("EDITED = 'edited'\n")
    assert inside(look) == f"{tree}/rttcheck/harness.py edited"
    # The frozen guest was used all the same; only a second session with these sources makes another.
    assert len(list((cache / "frozen").iterdir())) == 1
    assert inside(look) == f"{tree}/rttcheck/harness.py edited"
    assert len(list((cache / "frozen").iterdir())) == 2
