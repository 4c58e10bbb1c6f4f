"""A session's phases, deadlines and ends, with a stand-in for QEMU."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels.boot import wait_for_init
from rttcheck.kernels.console import Console
from rttcheck.kernels.emulator import Emulator, NotThawed
from rttcheck.kernels.guest import GuestSettings
from rttcheck.kernels.machine import PORTS, GuestMachine
from rttcheck.kernels.qemu import Qemu
from rttcheck.kernels.session import GuestSession

FAKE = Path(__file__).parents[2] / "support" / "fake_qemu.py"
SETTINGS = GuestSettings(kernel="debian:6.12", boot_s=20.0, gateway_s=20.0, silence_s=20.0)


def machine(behaviour: str) -> GuestMachine:
    # QEMU's options for the monitor follow; a Python program leaves them alone.
    ports = tuple(f"{{{port}}}" for port in PORTS)
    return GuestMachine((sys.executable, str(FAKE), *ports, behaviour), image=FAKE)


class Run:
    """One session with the stand-in, its input and output in files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.console = Console()
        self.input = b""
        self.out = b""
        self.err = b""

    def __call__(self, behaviour: str, settings: GuestSettings = SETTINGS, *, frozen: Path | None = None) -> int:
        file = self.directory / "in"
        file.write_bytes(self.input)
        with file.open("rb") as stdin:
            return self.on(stdin.fileno(), behaviour, settings, frozen=frozen)

    def on(self, stdin: int, behaviour: str, settings: GuestSettings, *, frozen: Path | None = None) -> int:
        """With an input of the caller's."""
        session = GuestSession(argv=["true"], cwd=self.directory)
        with TemporaryFile() as stdout, TemporaryFile() as stderr:
            try:
                return Emulator(machine(behaviour), settings, self.console, frozen=frozen).run(
                    session, rw=self.directory, stdin=stdin, stdout=stdout.fileno(), stderr=stderr.fileno()
                )
            finally:
                self.out, self.err = (os.pread(file.fileno(), 1 << 24, 0) for file in (stdout, stderr))


@pytest.fixture
def held_open() -> Iterator[int]:
    """An input that says nothing and does not end: a controller that is thinking."""
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run one session."""
    return Run(tmp_path)


def test_bytes_go_both_ways_and_the_status_is_pythons(run: Run) -> None:
    run.input = bytes(range(256)) * 20_000
    assert run("echo") == 7
    assert run.out == run.input
    assert run.err == b"to standard error"


def test_all_output_before_the_end_arrives(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Read in small pieces, so that much is left when the process has ended.
    monkeypatch.setattr("rttcheck.kernels.stream._CHUNK", 1000)
    assert run("talkative") == 0
    assert len(run.out) == 3_000_000


def test_stages_are_marked_on_the_console(run: Run) -> None:
    run("echo")
    stages = [line.split(" s ")[1] for line in run.console.tail.splitlines() if " s " in line]
    assert stages == ["power-on", "init", "start of Python", "exit 7", "power-off"]


def test_a_guest_that_dies_is_lost_with_the_tail_of_its_console(run: Run) -> None:
    with pytest.raises(GuestLost) as lost:
        run("panic")
    why = "died after a kernel panic (Kernel panic - not syncing: sysrq triggered crash)"
    assert str(lost.value) == f"the guest debian:6.12 {why}"
    first, *_, last = lost.value.console_tail.splitlines()
    assert first == "Kernel panic - not syncing: sysrq triggered crash"
    assert last.endswith(f" s lost: {why}")


def test_a_guest_that_is_killed_on_the_host_has_that_reason(run: Run) -> None:
    with pytest.raises(GuestLost, match=r"was killed on the host \(SIGKILL\)"):
        run("killed")


def test_a_qemu_that_cannot_run_is_lost_with_its_message(run: Run) -> None:
    with pytest.raises(GuestLost, match="exit status is 1") as lost:
        run("broken")
    assert "no such device" in lost.value.console_tail


@pytest.mark.parametrize(
    ("behaviour", "deadline", "reason"),
    [
        ("stuck_in_boot", {"boot_s": 0.3}, "did not boot within 0 s of host time"),
        ("stuck_in_python", {"gateway": True, "gateway_s": 0.3}, "its Python did not answer within 0 s"),
        ("stuck_after_a_byte", {"silence_s": 1.0}, "sent nothing for 1 s of host time"),
        ("stuck_after_a_byte", {"overall_s": 1.0}, "was not finished after 1 s of host time"),
    ],
)
def test_a_stuck_guest_is_lost_at_its_deadline(
    run: Run, held_open: int, behaviour: str, deadline: dict[str, float], reason: str
) -> None:
    with pytest.raises(GuestLost, match=reason):
        run.on(held_open, behaviour, replace(SETTINGS, **deadline))  # type: ignore[arg-type]  # one of several types each


def test_a_frozen_guest_that_does_not_go_on_can_be_booted_instead(run: Run, tmp_path: Path) -> None:
    run.input = b"not a byte of this is taken"
    state = tmp_path / "state"
    state.touch()
    with pytest.raises(NotThawed):
        run("broken", frozen=state)


def test_a_frozen_guest_that_was_removed_meanwhile_can_be_booted_instead(run: Run, tmp_path: Path) -> None:
    with pytest.raises(NotThawed, match=r"^the frozen guest .*/state cannot be read \(No such file or directory\)$"):
        run("echo", frozen=tmp_path / "state")


def test_a_gateways_guest_leaves_when_its_controller_does(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rttcheck.kernels.emulator._LEAVE_S", 0.3)
    with pytest.raises(GuestLost, match="did not end after its input was closed"):
        run("stuck_in_python", replace(SETTINGS, gateway=True))


def test_waiting_for_init_ends_with_its_hello(tmp_path: Path) -> None:
    with Qemu(machine("echo"), rw=tmp_path) as qemu:
        wait_for_init(qemu, Console(), deadline_s=20.0, virtual=False)


def test_waiting_for_init_has_a_deadline(tmp_path: Path) -> None:
    with Qemu(machine("stuck_in_boot"), rw=tmp_path) as qemu, pytest.raises(GuestLost, match="before its deadline"):
        wait_for_init(qemu, Console(), deadline_s=0.3, virtual=False)


def test_a_qemu_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    nowhere = GuestMachine(("/no/such/qemu",), image=FAKE)
    with pytest.raises(KernelError, match="QEMU cannot be executed"), Qemu(nowhere, rw=tmp_path):
        pass


def test_descriptors_do_not_leak(run: Run) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    run("echo")
    assert sorted(Path("/proc/self/fd").iterdir()) == before
