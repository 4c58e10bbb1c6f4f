"""The host's side of a run in a guest, over a launcher that is a script: what it says, how it ends, what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rttcheck.cli import guest_run
from rttcheck.cli.request import Event, RunRequest, ScenarioRequest
from rttcheck.errors import GuestLost, KernelError, RttcheckError
from rttcheck.kernels.guest import GuestSettings
from rttcheck.remote.agent import wait_for_exit

REQUEST = RunRequest(
    kernel="debian:6.12",
    clock="virtual",
    probe="auto",
    recordings="recordings",
    scenarios=(ScenarioRequest(keywords={"name": "first", "rtt": "40ms"}, source="first"),),
)

READY = {"event": "ready", "kernel": "6.12.117"}


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The script that runs in the launcher's place; it finds `say` and `request` defined. Write it before use."""
    script = tmp_path / "launcher.py"
    prelude = tmp_path / "prelude.py"
    prelude.write_text(
        "import json, os, sys\n"
        "def say(event): print(json.dumps(event), flush=True)\n"
        "def tell(line): print(line, file=sys.stderr, flush=True)\n"
        "request = json.loads(sys.stdin.readline())\n"
    )

    def command(settings: GuestSettings) -> list[str]:
        assert settings.console == Path("consoles") / "6.12.117.log"
        code = f"exec(open({str(prelude)!r}).read()); exec(open({str(script)!r}).read())"
        return [sys.executable, "-c", code]

    monkeypatch.setattr(guest_run, "launcher_command", command)
    return script


def events(notes: list[str] | None = None) -> list[Event]:
    return list(guest_run.run_in_guest(REQUEST, "6.12.117", note=(notes if notes is not None else []).append))


def test_the_order_goes_in_and_the_events_come_out(launcher: Path) -> None:
    launcher.write_text(
        "say({'event': 'ready'})\nsay({'event': 'begin', 'scenario': request['scenarios'][0]['source']})\n"
    )
    assert events() == [{"event": "ready"}, {"event": "begin", "scenario": "first"}]


def test_what_else_is_printed_there_is_passed_on_as_a_note(launcher: Path) -> None:
    launcher.write_text(
        "tell('rttcheck: booting for the first time')\n"
        'print(\'{"no": "event"}\')\n'
        "print('[1, 2', flush=True)\n"
        "say({'event': 'ready'})\n"
    )
    notes: list[str] = []
    assert events(notes) == [{"event": "ready"}]
    assert sorted(notes) == ["[1, 2", "booting for the first time", '{"no": "event"}']


def test_a_lost_guest_is_one_error_with_the_console_and_is_not_told_twice(launcher: Path) -> None:
    launcher.write_text(
        "say({'event': 'ready'})\n"
        "tell('rttcheck: the guest debian:6.12 died')\n"
        "tell('Kernel panic - not syncing')\n"
        "tell('rttcheck launcher: 3.1 s lost: died')\n"
        "sys.exit(20)\n"
    )
    notes: list[str] = []
    with pytest.raises(GuestLost, match=r"^the guest debian:6\.12 died$") as lost:
        events(notes)
    assert lost.value.console_tail == "Kernel panic - not syncing\nrttcheck launcher: 3.1 s lost: died"
    assert notes == []


def test_a_guest_that_cannot_be_started_is_the_launchers_sentence(launcher: Path) -> None:
    launcher.write_text("tell('rttcheck: virtme-ng is not installed; pip install virtme-ng')\nsys.exit(4)\n")
    with pytest.raises(KernelError, match=r"^virtme-ng is not installed; pip install virtme-ng$"):
        events()


def test_a_traceback_in_the_guest_is_shown_with_its_status(launcher: Path) -> None:
    launcher.write_text("tell('Traceback (most recent call last):')\ntell('ZeroDivisionError')\nsys.exit(1)\n")
    with pytest.raises(RttcheckError, match=r"(?s)ended with status 1.*Traceback.*ZeroDivisionError"):
        events()


def test_a_refusal_that_was_an_event_is_not_raised_again(launcher: Path) -> None:
    launcher.write_text("say({'event': 'refused', 'sentence': 'no probe', 'status': 3})\nsys.exit(3)\n")
    assert events() == [{"event": "refused", "sentence": "no probe", "status": 3}]


def test_a_launcher_that_hangs_is_a_lost_guest(launcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_run, "_BACKSTOP_S", 0.2)
    monkeypatch.setattr(guest_run, "_PAUSE_S", 0.05)
    launcher.write_text("import signal; signal.pause()\n")
    with pytest.raises(GuestLost, match=r"the launcher of the guest debian:6\.12 has written nothing"):
        events()


def test_leaving_early_ends_the_launcher_in_order(launcher: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    launcher.write_text(
        "import signal\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(told)!r}, 'w').write('term'), sys.exit(0)))\n"
        "say({'event': 'ready', 'pid': os.getpid()})\n"
        "while True: signal.pause()\n"
    )
    with closing(guest_run.run_in_guest(REQUEST, "6.12.117", note=print)) as coming:
        pid = next(coming)["pid"]
    assert wait_for_exit(pid, within_s=10.0)
    assert told.read_text() == "term"


def test_a_launcher_that_does_not_listen_is_killed(launcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_run, "_LEAVE_S", 0.2)
    launcher.write_text(
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "say({'event': 'ready', 'pid': os.getpid()})\n"
        "while True: signal.pause()\n"
    )
    with closing(guest_run.run_in_guest(REQUEST, "6.12.117", note=print)) as coming:
        pid = next(coming)["pid"]
    assert wait_for_exit(pid, within_s=10.0)


def test_the_launcher_dies_with_a_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from rttcheck.cli import guest_run; from rttcheck.cli.request import RunRequest\n"
        'script = \'import os, signal; print(\\\'{"event": "ready", "pid": %d}\\\' % os.getpid(), flush=True); '
        "signal.pause()'\n"
        "guest_run.launcher_command = lambda settings: [sys.executable, '-c', script]\n"
        "request = RunRequest(kernel='debian:6.12', clock='virtual', probe='auto', recordings='r', scenarios=())\n"
        "for event in guest_run.run_in_guest(request, 'r', note=print): print(event['pid'], flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path, text=True) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        running.send_signal(signal.SIGKILL)
    assert wait_for_exit(pid, within_s=10.0)


def test_ctrl_c_at_the_terminal_reaches_the_run_alone(launcher: Path) -> None:
    launcher.write_text("say({'event': 'ready', 'group': os.getpgrp(), 'pid': os.getpid()})\n")
    (ready,) = events()
    assert ready["group"] == ready["pid"] != os.getpgrp()


def test_events_survive_the_way_as_json() -> None:
    assert guest_run._event(json.dumps(READY)) == READY
    for line in ("", "null", "3", "[]", '{"row": 1}', "{"):
        assert guest_run._event(line) is None
