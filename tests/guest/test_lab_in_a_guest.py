"""The lab's tests on a kernel that lacks nothing: what is skipped on this machine's kernel is run here."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace

from rttcheck.kernels.guest import GuestSettings

Launch = Callable[..., "subprocess.Popen[bytes]"]

WITHOUT = ": this kernel has "
"""The reason of a test for kernels that lack something: rightly skipped on one that lacks nothing."""


def test_every_lab_test_passes_and_none_is_skipped_for_want_of_anything(
    settings: GuestSettings, launch: Launch, show: Callable[[str], None]
) -> None:
    process = launch(
        replace(settings, silence_s=200.0),
        *("-u", "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-v", "-rs", "--color=no"),
        # What a bad machine is told, and how another one is reached, does not hang on the kernel.
        *("tests/lab", "--ignore=tests/lab/packaging", "--ignore=tests/lab/machine", "--ignore=tests/lab/remote"),
        # Time that counts instructions has no noise.
        "--ignore=tests/lab/noise",
        # A relay waits for the time of day: no use where time counts instructions, and netem is there.
        *("-k", "not relay"),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.close()
    lines = []
    for raw in process.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        lines.append(line)
        if re.search(r" (PASSED|FAILED|SKIPPED|ERROR) ", line):
            show(line)
    status = process.wait(timeout=30)
    text = "\n".join([*lines, process.stderr.read().decode("utf-8", "replace")])
    assert status == 0, text
    assert " passed" in lines[-1], text
    skipped = [line for line in lines if line.startswith("SKIPPED ") and WITHOUT not in line]
    assert skipped == []
