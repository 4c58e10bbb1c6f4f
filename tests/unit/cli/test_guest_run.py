"""The host's side of a run in a guest, whose launcher is a script that becomes a gateway: events, errors, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
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

PRELUDE = """\
import os, sys
def tell(line): print(line, file=sys.stderr, flush=True)
request = channel.receive()
"""

BECOME_GATEWAY = "exec(eval(sys.stdin.readline()))\n"

Script = Callable[..., None]


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Sets what runs in the launcher's place, ``before`` it becomes a gateway, and what is ``served`` in that."""

    def set_script(served: str = "", *, before: str = BECOME_GATEWAY) -> None:
        script = tmp_path / "launcher.py"
        script.write_text("import os, sys\ndef tell(line): print(line, file=sys.stderr, flush=True)\n" + before)
        monkeypatch.setattr(guest_run, "SERVE", PRELUDE + served)

        def command(settings: GuestSettings) -> list[str]:
            assert settings.console == Path("consoles") / "6.12.117.log"
            return [sys.executable, str(script)]

        monkeypatch.setattr(guest_run, "launcher_command", command)

    return set_script


def events(notes: list[str] | None = None) -> list[Event]:
    return list(guest_run.run_in_guest(REQUEST, "6.12.117", note=(notes if notes is not None else []).append))


def test_the_request_goes_in_and_the_events_come_out(launcher: Script) -> None:
    launcher(
        "channel.send({'event': 'ready'})\n"
        "channel.send({'event': 'begin', 'scenario': request['scenarios'][0]['source']})\n"
        "assert channel.receive() is None\n"
    )
    assert events() == [{"event": "ready"}, {"event": "begin", "scenario": "first"}]


def test_standard_error_is_passed_on_as_notes(launcher: Script) -> None:
    launcher(
        "tell('a warning')\nchannel.send({'event': 'ready'})\nprint('standard output is not', flush=True)\n",
        before="tell('rttcheck: booting for the first time')\n" + BECOME_GATEWAY,
    )
    notes: list[str] = []
    assert events(notes) == [{"event": "ready"}]
    assert notes == ["booting for the first time", "a warning"]


def test_a_lost_guest_is_one_error_with_the_console_and_is_not_told_twice(launcher: Script) -> None:
    launcher(
        "channel.send({'event': 'ready'})\n"
        "tell('rttcheck: the guest debian:6.12 died')\n"
        "tell('Kernel panic - not syncing')\n"
        "tell('rttcheck launcher: 3.1 s lost: died')\n"
        "os._exit(20)\n"
    )
    notes: list[str] = []
    with pytest.raises(GuestLost, match=r"^the guest debian:6\.12 died$") as lost:
        events(notes)
    assert lost.value.console_tail == "Kernel panic - not syncing\nrttcheck launcher: 3.1 s lost: died"
    assert notes == []


def test_a_guest_that_cannot_be_started_is_the_launchers_sentence(launcher: Script) -> None:
    launcher(before="tell('rttcheck: virtme-ng is not installed; pip install virtme-ng')\nsys.exit(4)\n")
    with pytest.raises(KernelError, match=r"^virtme-ng is not installed; pip install virtme-ng$"):
        events()


def test_a_traceback_in_the_guest_is_shown(launcher: Script) -> None:
    launcher("channel.send({'event': 'ready'})\n1 / 0\n")
    with pytest.raises(RttcheckError, match=r"(?s)the guest debian:6\.12 failed.*Traceback.*ZeroDivisionError"):
        events()


def test_python_that_dies_in_the_guest_is_shown_with_its_status(launcher: Script) -> None:
    launcher("tell('Fatal Python error: none')\nos._exit(139)\n")
    with pytest.raises(RttcheckError, match=r"(?s)ended with status 139.*Fatal Python error"):
        events()


def test_a_refusal_that_was_an_event_is_not_raised_again(launcher: Script) -> None:
    launcher("channel.send({'event': 'refused', 'sentence': 'no probe', 'status': 3})\n")
    assert events() == [{"event": "refused", "sentence": "no probe", "status": 3}]


def test_a_launcher_that_hangs_is_a_lost_guest(launcher: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_run, "_BACKSTOP_S", 0.2)
    monkeypatch.setattr(guest_run, "_PAUSE_S", 0.05)
    launcher(before="import signal; signal.pause()\n")
    with pytest.raises(GuestLost, match=r"the launcher of the guest debian:6\.12 has written nothing"):
        events()


def test_leaving_early_ends_the_launcher_in_order(launcher: Script, tmp_path: Path) -> None:
    told = tmp_path / "told"
    launcher(
        "channel.send({'event': 'ready', 'pid': os.getpid()})\nchannel.receive()\nchannel.receive()\n",
        before="import signal\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(told)!r}, 'w').write('term'), os._exit(0)))\n"
        + BECOME_GATEWAY,
    )
    with closing(guest_run.run_in_guest(REQUEST, "6.12.117", note=print)) as coming:
        pid = next(coming)["pid"]
    assert wait_for_exit(pid, within_s=10.0)
    assert told.read_text() == "term"


def test_a_launcher_that_does_not_listen_is_killed(launcher: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_run, "_LEAVE_S", 0.2)
    launcher(
        "channel.send({'event': 'ready', 'pid': os.getpid()})\nchannel.receive()\nchannel.receive()\n",
        before="import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + BECOME_GATEWAY,
    )
    with closing(guest_run.run_in_guest(REQUEST, "6.12.117", note=print)) as coming:
        pid = next(coming)["pid"]
    assert wait_for_exit(pid, within_s=10.0)


def test_the_launcher_dies_with_a_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from rttcheck.cli import guest_run; from rttcheck.cli.request import RunRequest\n"
        "guest_run.launcher_command = lambda settings: [sys.executable]\n"
        'guest_run.SERVE = \'import os; channel.send({"event": "ready", "pid": os.getpid()}); '
        "channel.receive(); channel.receive(); channel.receive()'\n"
        "request = RunRequest(kernel='debian:6.12', clock='virtual', probe='auto', recordings='r', scenarios=())\n"
        "for event in guest_run.run_in_guest(request, 'r', note=print): print(event['pid'], flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path, text=True) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        running.send_signal(signal.SIGKILL)
    assert wait_for_exit(pid, within_s=10.0)


def test_ctrl_c_at_the_terminal_reaches_the_run_alone(launcher: Script) -> None:
    launcher("channel.send({'event': 'ready', 'group': os.getpgrp(), 'pid': os.getpid()})\n")
    (ready,) = events()
    assert ready["group"] == ready["pid"] != os.getpgrp()
