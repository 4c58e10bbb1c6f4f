"""A kernel that is locked down for confidentiality: what it says does not name the lockdown, rttcheck does.

Programs that read kernel memory with a helper function are refused there. fexit and tracepoint load members of
structures of a known type, which is allowed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from rttcheck.kernels.guest import GuestSettings

Launch = Callable[..., "subprocess.Popen[bytes]"]

LOCKED = """
import subprocess
from pathlib import Path
from rttcheck.collect.probe.probe import open_probe, probe_support
from rttcheck.errors import CapabilityError
subprocess.run(["mount", "-t", "securityfs", "none", "/sys/kernel/security"], check=True)
for mode in ("integrity", "confidentiality"):
    Path("/sys/kernel/security/lockdown").write_text(mode)
    for attempt in probe_support():
        print(mode, attempt.backend, attempt.ok, attempt.remedy, attempt.reason, sep="|", flush=True)
try:
    with open_probe("kprobe"):
        print("sentence|none", flush=True)
except CapabilityError as error:
    print("sentence", error, sep="|", flush=True)
"""


def test_a_locked_down_kernel_is_named_by_every_probe_that_it_refuses_and_in_one_sentence(
    settings: GuestSettings, launch: Launch
) -> None:
    process = launch(settings, "-c", LOCKED)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err.decode()
    lines = [line.split("|", 4) for line in out.decode().splitlines()]
    assert {(name, ok) for mode, name, ok, *_ in lines[:-1] if mode == "integrity" and name != "bcc"} == {
        (name, "True") for name in ("fexit", "kprobe", "sockops", "tracepoint")
    }
    locked = {name: (ok, remedy, reason) for mode, name, ok, remedy, reason in lines[:-1] if mode == "confidentiality"}
    assert [locked[name][0] for name in ("fexit", "tracepoint")] == ["True", "True"]
    for name in ("kprobe", "sockops", "bcc"):
        ok, remedy, reason = locked[name]
        assert (ok, remedy) == ("False", "boot it with lockdown=none, or without Secure Boot")
        assert reason.startswith("the kernel is locked down, none integrity [confidentiality], so that no program may")
    sentence = lines[-1][1]
    assert sentence.count("locked down") == 1
    assert "none integrity [confidentiality]: boot it with lockdown=none, or without Secure Boot, or use" in sentence
