"""However a session ends, its guest ends with it, and says how."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rttcheck.kernels.console import read_console_tail
from rttcheck.kernels.guest import EXIT_LOST, EXIT_USAGE, GuestSettings, launcher_command
from tests.guest.conftest import own_kernels
from tests.support.console_marks import read_marks

PROJECT = Path(__file__).parents[2]

Launch = Callable[..., "subprocess.Popen[bytes]"]

FOREVER = "print('up', flush=True); import time; time.sleep(1e9)"


def test_a_kernel_that_does_not_exist_is_one_sentence(settings: GuestSettings, launch: Launch) -> None:
    process = launch(replace(settings, kernel="debian:6.12.0+deb99"), "-c", "pass")
    out, err = process.communicate(timeout=200)
    assert process.returncode == EXIT_USAGE
    assert out == b""
    sentence = err.decode().splitlines()[-1]
    assert sentence.startswith("rttcheck: Debian's archive has no kernel debian:6.12.0+deb99; of that series it has")


def test_a_panic_ends_at_once_with_the_consoles_tail(
    settings: GuestSettings, launch: Launch, show: Callable[[str], None]
) -> None:
    crash = "print('up', flush=True); open('/proc/sysrq-trigger', 'w').write('c')"
    process = launch(settings, "-c", crash)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    show(f"status {process.returncode} {time.monotonic() - began:.1f} s after the panic")
    assert process.returncode == EXIT_LOST
    assert b"the guest debian:6.12 died" in err
    assert b"sysrq triggered crash" in err
    assert settings.console is not None
    assert "sysrq triggered crash" in read_console_tail(settings.console, lines=60)


def test_a_killed_launcher_takes_its_guest_along(
    settings: GuestSettings, launch: Launch, emulator_of: Callable[[int], int], is_gone: Callable[..., bool]
) -> None:
    process = launch(settings, "-c", FOREVER)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    guest = emulator_of(process.pid)
    process.kill()
    assert is_gone(guest, within_s=10.0)


def test_a_killed_session_takes_its_launcher_and_guest_along(
    settings: GuestSettings, emulator_of: Callable[[int], int], is_gone: Callable[..., bool]
) -> None:
    # The session is one more process between us and the launcher, as a pytest is.
    session = (
        "import subprocess, sys\n"
        "launcher = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "print(launcher.pid, flush=True)\n"
        "launcher.wait()\n"
    )
    command = [sys.executable, "-c", session, *launcher_command(settings), "-c", FOREVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=PROJECT) as process:
        try:
            assert process.stdout is not None
            launcher = int(process.stdout.readline())
            assert process.stdout.readline() == b"up\n"
            guest = emulator_of(launcher)
        finally:
            process.kill()
        assert is_gone(launcher, within_s=10.0)
        assert is_gone(guest, within_s=10.0)


def test_a_stuck_guest_is_lost_at_its_deadline(settings: GuestSettings, launch: Launch) -> None:
    process = launch(replace(settings, silence_s=8.0), "-c", FOREVER)
    _, err = process.communicate(timeout=200)
    assert process.returncode == EXIT_LOST
    assert b"sent nothing for 8 s of host time" in err


def test_a_frozen_guest_that_does_not_thaw_is_booted(
    settings: GuestSettings,
    launch: Launch,
    show: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "cache"
    own_kernels(cache)
    monkeypatch.setenv("RTTCHECK_CACHE", str(cache))
    release = "import os; print(os.uname().release)"
    process = launch(settings, "-c", release)
    told, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    (state,) = (cache / "frozen").glob("*/state")
    state.write_bytes(b"no guest at all")
    process = launch(settings, "-c", release)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, told), err.decode()
    assert b"booting it instead" in err
    assert not state.exists()
    assert settings.console is not None
    marks = {event: seconds for seconds, event in read_marks(settings.console)}
    show(f"cold boot: init after {marks['init'] - marks['power-on']:.1f} s")


def test_nothing_is_left_in_the_hosts_tree(settings: GuestSettings, launch: Launch, tmp_path: Path) -> None:
    scratch = PROJECT / f"written-by-a-guest-{os.getpid()}"
    process = launch(settings, "-c", f"open({str(scratch)!r}, 'w').write('x'); print(open({str(scratch)!r}).read())")
    out, _ = process.communicate(timeout=200)
    assert (process.returncode, out) == (0, b"x\n")
    assert not scratch.exists()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["console"]
