"""The launcher's command line: as it is written and as it is read."""

from __future__ import annotations

import shlex
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import execnet
import pytest

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels import launcher
from rttcheck.kernels.console import read_loss
from rttcheck.kernels.guest import EXIT_LOST, EXIT_USAGE, GuestSettings, gateway_spec, launcher_command
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.machine import GuestMachine
from rttcheck.kernels.qemu import Qemu


def parsed(command: list[str]) -> tuple[GuestSettings, list[str]]:
    assert command[1:3] == ["-m", "rttcheck.kernels.launcher"]
    options = launcher.command_parser().parse_args(command[3:])
    return launcher.settings_of(options), options.arguments


def test_settings_survive_the_command_line(tmp_path: Path) -> None:
    settings = GuestSettings(
        kernel="debian:6.12.107+deb13",
        clock="real",
        console=tmp_path / "a cönsole",
        rw=tmp_path,
        rw_at=Path("/elsewhere/written"),
        binds=((Path("/a b"), Path("/c=d")), (Path("/e"), Path("/f"))),
        cwd=Path("/there"),
        cpus=3,
        memory_mb=2048,
        boot_s=1.5,
        gateway_s=2.5,
        silence_s=3.5,
        overall_s=4.5,
        gateway=True,
        fresh=True,
        environment=(("NAME", "a=b \"c\" 'd'"),),
    )
    assert parsed([*launcher_command(settings), "-c", "pass"]) == (settings, ["--", "-c", "pass"])
    assert parsed(launcher_command(GuestSettings(kernel="debian:6.1")))[0] == GuestSettings(kernel="debian:6.1")


def test_a_person_names_only_the_kernel() -> None:
    options = launcher.command_parser().parse_args(["--kernel", "debian:6.1", "--", "-c", "pass"])
    assert launcher.settings_of(options) == GuestSettings(kernel="debian:6.1")
    assert options.arguments == ["--", "-c", "pass"]


def test_execnet_splits_the_spec_into_the_same_command(tmp_path: Path) -> None:
    settings = GuestSettings(kernel="debian:6.12", console=tmp_path / "with space")
    spec = execnet.XSpec(gateway_spec(settings, name="k612"))
    assert (spec.popen, spec.id) == (True, "k612")
    assert spec.python is not None
    command = shlex.split(spec.python)
    assert command[0] == sys.executable
    got, rest = parsed(command)
    assert got.gateway
    assert got.console == settings.console
    assert rest == ["--"]


def test_a_path_that_execnet_would_cut_is_refused() -> None:
    with pytest.raises(KernelError, match="cannot contain '//'"):
        gateway_spec(GuestSettings(kernel="debian:6.12", environment=(("URL", "http://x"),)), name="k")


def test_a_clock_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KernelError, match="'virtual' or 'real', not 'fast'"):
        GuestSettings(kernel="debian:6.12", clock="fast")


def test_the_guest_knows_that_it_is_one() -> None:
    settings = GuestSettings(kernel="debian:6.12", environment=(("EXTRA", "1"),))
    environment = launcher.guest_environment(
        settings, {"PATH": "/bin", "PYTEST_ADDOPTS": "-x", "SECRET": "no", "RTTCHECK_ANY": "yes", "LANG": "C.UTF-8"}
    )
    assert environment["RTTCHECK_GUEST"] == "1"
    assert environment["RTTCHECK_CLOCK"] == "virtual"
    assert environment["RTTCHECK_KERNEL"] == "debian:6.12"
    assert environment["PYTEST_ADDOPTS"] == "-x -p no:hypothesispytest"
    assert (environment["RTTCHECK_ANY"], environment["LANG"], environment["EXTRA"]) == ("yes", "C.UTF-8", "1")
    assert "SECRET" not in environment


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kernel", "nonsense"], "kernel 'nonsense' is neither 'host'"),
        (["--kernel", "host"], "the running kernel needs no fetching"),
        (["--settings", '{"kernel": "debian:6.12", "rw": "/no/such/directory"}'], "--rw /no/such/directory is no dir"),
        (
            ["--settings", '{"kernel": "debian:6.12", "environment": [["A-B", ""]]}'],
            "'A-B' is no name of an env",
        ),
        (["--settings", "debian:6.12"], "--settings debian:6.12 is invalid ("),
        (["--settings", '{"kernel": "debian:6.12", "colour": "red"}'], "--settings {"),
        (["--settings", "{}"], "--settings {} is invalid ("),
    ],
)
def test_bad_input_is_one_sentence_and_pytests_usage_status(
    arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launcher.main([*arguments, "--", "-c", "pass"]) == EXIT_USAGE
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"rttcheck: {sentence}")
    assert written.err.count("\n") == 1


@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("console", [None, Path("console")])
def test_the_end_of_the_console_is_printed_unless_a_controller_keeps_it(
    gateway: bool, console: Path | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def launch(*_: object) -> int:
        raise GuestLost("the guest died", "BUG: here\nand there")

    monkeypatch.setattr(launcher, "launch", launch)
    settings = GuestSettings(kernel="debian:6.12", gateway=gateway, console=console)
    assert launcher.main([*launcher_command(settings)[3:], "-c", "pass"]) == EXIT_LOST
    tail = "" if gateway and console else "BUG: here\nand there\n"
    assert capfd.readouterr().err == f"rttcheck: the guest died\n{tail}"


def test_a_launcher_leaves_signals_as_they_were() -> None:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        launcher.main(["--kernel", "nonsense", "--", "-c", "pass"])
        assert {signal.getsignal(number) for number in numbers} == {signal.SIG_IGN}
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that a launcher takes for one; virtme-run and QEMU are looked for in the same directory only."""
    path = tmp_path / "bzImage"
    path.touch()
    monkeypatch.setattr(
        launcher, "at_hand", lambda _: nullcontext(BootableKernel(image=path, modules=None, release="9.9"))
    )
    monkeypatch.setattr(launcher, "initramfs_of", lambda *_: path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("RTTCHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    return path


def program(path: Path, text: str, *, mode: int = 0o755) -> None:
    path.write_text(text)
    path.chmod(mode)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("#!/no/such/python\n", 0o755, "No such file or directory"),
        ("no program", 0o755, "Exec format error"),
    ],
)
def test_a_virtme_run_that_cannot_be_executed_is_one_sentence(
    image: Path, text: str, mode: int, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    virtme, console = image.with_name("virtme-run"), image.with_name("console")
    program(virtme, text, mode=mode)
    program(image.with_name("qemu-system-x86_64"), "#!/bin/sh\n")
    console.write_bytes(b"")
    settings = GuestSettings(kernel=str(image), gateway=True, console=console)
    assert launcher.main([*launcher_command(settings)[3:], "-c", "pass"]) == EXIT_USAGE
    sentence = (
        f"{virtme} cannot be executed ({why}), and guests are booted with it; pip install --force-reinstall virtme-ng"
    )
    assert capfd.readouterr().err == f"rttcheck: {sentence}\n"
    # For a report, which sees the console only.
    assert read_loss(console) == f"could not be started: {sentence}"


def test_a_qemu_that_cannot_be_executed_is_one_sentence(image: Path, tmp_path: Path) -> None:
    qemu = image.with_name("qemu-system-x86_64")
    program(qemu, "#!/bin/sh\n", mode=0o644)
    with (
        pytest.raises(
            KernelError, match=r"QEMU cannot be executed \(Permission denied: .*\), .* --reinstall qemu"
        ) as refused,
        Qemu(GuestMachine((str(qemu),), image=image), rw=tmp_path),
    ):
        pass
    assert "\n" not in str(refused.value)
