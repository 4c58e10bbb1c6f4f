"""A kernel that complains in a guest: the test in which it did fails, by name, and no other; one that dies is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rttcheck.judge.findings import Layer
from rttcheck.judge.verdict import judge
from rttcheck.kernels.guest import EXIT_LOST
from rttcheck.record.recording import Recording

PROJECT = Path(__file__).parents[2]

# Who asks the kernel for a key waits, in a state that no signal ends, for the program that the kernel starts to find it
# (call_usermodehelper_keys(), UMH_WAIT_PROC): an honest complaint to be had from user space, with any kernel.
TESTS = """
import ctypes
import os
import pathlib
import subprocess
import sys

import pytest

from rttcheck.kernel_log.reader import open_kernel_log

pytestmark = pytest.mark.rtt

INIT_MODULE = 175
REQUEST_KEY = 249
ENDBR64 = bytes.fromhex("f30f1efa")
READ_FROM_NULL = bytes.fromhex("31c08b00")
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
CAP_SYSLOG = 34


def asking(name):
    helper = pathlib.Path("/sbin/request-key")
    helper.write_text("#!/bin/sh\\nexec sleep 4\\n")
    helper.chmod(0o755)
    pathlib.Path("/proc/sys/kernel/hung_task_timeout_secs").write_text("1")
    code = (
        f"import ctypes; libc = ctypes.CDLL(None); libc.prctl({PR_SET_NAME}, {name!r}.encode()); "
        f"libc.syscall({REQUEST_KEY}, b'user', {name!r}.encode(), b'x', 0)"
    )
    return subprocess.Popen([sys.executable, "-S", "-c", code])


def test_a_task_hangs(lab):
    asking("hanging").wait(timeout=60)


@pytest.mark.rtt(rtt="10ms", count=10)
def test_the_next_is_innocent(rtt):
    found = [finding.outcome for finding in rtt().verdict.findings if finding.layer == "kernel"]
    assert found == ["passed"]


def test_a_task_hangs_that_may():
    asking("known").wait(timeout=60)


def test_a_program_says_it():
    for text in ("<4>WARNING: CPU: 0 PID: 1 at fs/x.c:1 f+0x1/0x2", "<2>kernel BUG at fs/x.c:1!", "Call Trace:"):
        pathlib.Path("/dev/kmsg").write_text(f"{text}\\n")


def test_what_is_overwritten_is_counted():
    pathlib.Path("/proc/sys/kernel/printk_devkmsg").write_text("on\\n")
    with open_kernel_log() as log, open("/dev/kmsg", "wb", buffering=0) as said:
        said.write(b"<7>the first\\n")
        assert [record.text for record in log.read() if not record.is_from_kernel] == ["the first"]
        for number in range(2_000):
            said.write(b"<7>%05d%s\\n" % (number, b"x" * 100))
        heard = log.take()
    told = [record.text for record in heard.records if not record.is_from_kernel]
    assert told[-1].startswith("01999")
    assert heard.lost == int(told[0][:5]) > 0


def test_who_may_not_read_is_told_so():
    code = "from rttcheck.kernel_log.reader import open_kernel_log as o\\nwith o() as log: print(log.take().unseen)"
    without = lambda: ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYSLOG)
    done = subprocess.run([sys.executable, "-c", code], preexec_fn=without, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "/dev/kmsg cannot be read (Operation not permitted), which takes CAP_SYSLOG", done


@pytest.mark.rtt(rtt="10ms", count=350)
def test_a_scenario_in_which_a_task_hangs(rtt):
    hanging = asking("beside")
    result = rtt(check=False)
    hanging.wait(timeout=60)
    assert result.verdict.guilty == "kernel"


def test_the_kernel_dies():
    # Each function of a module begins with a landing pad; here with "xor %eax, %eax; mov (%rax), %eax". A signature
    # that does not fit is refused, none is not.
    place = pathlib.Path(f"/lib/modules/{os.uname().release}/kernel/drivers/net/dummy.ko")
    module, _, _ = place.read_bytes().replace(ENDBR64, READ_FROM_NULL).partition(b"~Module signature appended~")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(INIT_MODULE, module, len(module), b"") == 0, os.strerror(ctypes.get_errno())
"""

KNOWN = """
[[splat]]
pattern = "task known:"
reason = "it waits for a key that comes late"
until = "the key comes in time"
"""

OUTCOMES = {
    "test_a_task_hangs": "FAILED",
    "test_the_next_is_innocent": "PASSED",
    "test_a_task_hangs_that_may": "PASSED",
    "test_a_program_says_it": "PASSED",
    "test_what_is_overwritten_is_counted": "PASSED",
    "test_who_may_not_read_is_told_so": "PASSED",
    "test_a_scenario_in_which_a_task_hangs": "PASSED",
}


def there(directory: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module in another directory, where Python would not find the project by itself."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session was started."""
    return tmp_path_factory.mktemp("splats")


@pytest.fixture(scope="module")
def session(directory: Path) -> subprocess.CompletedProcess[str]:
    """All of these tests on one kernel, whose first guest the last of them takes along, and with it a second one."""
    (directory / "test_it.py").write_text(TESTS)
    (directory / "known.toml").write_text(KNOWN)
    words = ["-p", "no:cacheprovider", "-m", "rtt", "-v", "-rA", "--rtt-kernel", "debian:6.12"]
    words += ["--rtt-allow-splats", "known.toml", "--rtt-recordings", str(directory / "recordings")]
    return there(directory, "pytest", *words)


def test_a_kernels_complaint_fails_the_test_in_which_it_came(
    session: subprocess.CompletedProcess[str], directory: Path
) -> None:
    said = session.stdout + session.stderr
    for name, outcome in OUTCOMES.items():
        assert f"{outcome} test_it.py::{name}[@debian:6.12]" in said, f"{name}: {said}"
    assert re.search(r"the kernel complained (\d+ times )?during this test: INFO: task hanging:", said), said
    assert "kernel splat (hung task)" in said
    assert "kernel splat (hung task), allowed until the key comes in time: it waits for a key that comes late" in said
    assert "call_usermodehelper" in said
    (path,) = (directory / "recordings").rglob("*hangs.rttrec")
    verdict = judge(Recording.load(path))
    assert verdict.guilty is Layer.KERNEL
    assert "task beside:" in verdict.findings[0].message
    assert "machine's own" not in verdict.findings[0].message


def test_a_kernel_that_oopses_takes_its_guest_along_and_is_quoted(session: subprocess.CompletedProcess[str]) -> None:
    said = session.stdout + session.stderr
    assert session.returncode == EXIT_LOST, said
    why = (
        "lost during test_it.py::test_the_kernel_dies[@debian:6.12]: it died after a kernel panic "
        "(BUG: kernel NULL pointer dereference, address: 0000000000000000)"
    )
    assert f"debian:6.12 was {why}; it is tried once more, in a fresh guest" in said, said
    # Both guests, each from the first line of what it died of to its end.
    told = said.partition("guest lost: debian:6.12")[2]
    ends = re.findall(rf"the guest debian:6.12 was {re.escape(why)}; the end of its console \(.*\):\n(.*)\n", told)
    assert len(ends) == 2, told
    assert all("] BUG: kernel NULL pointer dereference" in line for line in ends), told
    assert told.count("] Kernel panic - not syncing: Fatal exception") == 2, told
    assert "LOST debian:6.12: 1 test has no result" in told
    assert "1 failed, 6 passed, 1 lost" in told, told
