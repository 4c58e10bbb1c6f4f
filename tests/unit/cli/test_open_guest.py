"""A guest that runs one request after the other, whose launcher is a gateway on this machine: requests, pauses, end."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rttcheck.harness
from rttcheck.cli import guest_run, local_run
from rttcheck.cli.request import RunRequest, ScenarioRequest
from rttcheck.errors import GuestLost
from rttcheck.kernels.guest import GuestSettings
from tests.support.channel import Channel

REQUEST = RunRequest(
    kernel="debian:6.12",
    clock="virtual",
    probe="auto",
    recordings="recordings",
    scenarios=(ScenarioRequest(keywords={"name": "first", "rtt": "40ms"}, source="first"),),
)

ANSWERING = """\
import os, subprocess, sys
from rttcheck.kernels.parent_death import die_with_parent
qemu = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], preexec_fn=die_with_parent())
channel.send({"event": "ready", "qemu": qemu.pid})
for request in iter(channel.receive, None):
    name = request["scenarios"][0]["source"]
    if name == "dies":
        print("rttcheck: the guest debian:6.12 died", file=sys.stderr, flush=True)
        qemu.kill()
        os._exit(20)
    channel.send({"event": "result", "row": {"scenario": name}})
"""


@contextmanager
def opened(monkeypatch: pytest.MonkeyPatch, clock: str = "virtual") -> Iterator[guest_run.OpenGuest]:
    def command(settings: GuestSettings) -> list[str]:
        assert (settings.clock, settings.silence_s) == (clock, guest_run.OPEN_SILENCE_S)
        return [sys.executable]

    monkeypatch.setattr(guest_run, "launcher_command", command)
    monkeypatch.setattr(guest_run, "SERVE", ANSWERING)
    with guest_run.open_guest("debian:6.12", clock, console=Path("A.log"), rw=Path("A"), note=lambda _: None) as guest:
        yield guest


def request(name: str) -> RunRequest:
    return dataclasses.replace(REQUEST, scenarios=(ScenarioRequest(keywords={"name": name}, source=name),))


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stops(pid: int) -> bool:
    """Whether the process stops within five seconds: a signal takes its time on a busy machine."""
    deadline = time.monotonic() + 5
    while state_of(pid) != "T" and time.monotonic() < deadline:
        os.sched_yield()
    return state_of(pid) == "T"


def test_one_order_after_the_other_and_nothing_moves_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch) as guest:
        ready, result = guest.events(request("first"))
        assert result["row"]["scenario"] == "first"
        assert stops(ready["qemu"])
        assert [event["row"]["scenario"] for event in guest.events(request("second"))] == ["second"]
        assert stops(ready["qemu"])


def test_two_guests_work_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch) as one, opened(monkeypatch) as other:
        first, second = one.events(request("first")), other.events(request("second"))
        asked, _ = [next(first), next(second)]
        list(second)
        assert state_of(asked["qemu"]) != "T"
        assert [event["row"]["scenario"] for event in first] == ["first"]
        third = one.events(request("third"))
        # Nobody has asked for an event yet.
        deadline = time.monotonic() + 5
        while state_of(asked["qemu"]) == "T" and time.monotonic() < deadline:
            os.sched_yield()
        assert state_of(asked["qemu"]) != "T"
        assert [event["row"]["scenario"] for event in third] == ["third"]


def test_real_time_goes_on_between_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch, clock="real") as guest:
        ready, _ = guest.events(request("first"))
        assert state_of(ready["qemu"]) != "T"


def test_a_guest_that_dies_at_an_order_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch) as guest:
        list(guest.events(request("first")))
        with pytest.raises(GuestLost, match=r"^the guest debian:6\.12 died$"):
            list(guest.events(request("dies")))
        with pytest.raises(GuestLost, match="ended before its last scenario"):
            list(guest.events(request("third")))


def test_the_guests_side_runs_requests_with_one_probe_up_to_the_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places: list[Path] = []
    opens: list[str] = []

    class Harness:
        recordings: Any = None
        collector = SimpleNamespace(engine="netem", probe=SimpleNamespace(backend="fexit", tried=()))

        def run(self, scenario: Any, **_: Any) -> Any:
            places.append(self.recordings)
            verdict = SimpleNamespace(render=lambda *_, **__: "", as_dict=dict)
            return SimpleNamespace(verdict=verdict, row=lambda: {"scenario": scenario.name})

    @contextmanager
    def open_harness(**_: Any) -> Iterator[Harness]:
        opens.append("")
        yield Harness()

    monkeypatch.setattr(rttcheck.harness, "open_harness", open_harness)
    requests = [dataclasses.replace(REQUEST, recordings=str(tmp_path / name)) for name in ("1", "2", "last")]
    channel = Channel(requests)
    local_run.serve_requests(channel)
    assert [event["event"] for event in channel.sent] == ["ready", *["begin", "result"] * 3]
    assert len(opens) == 1
    assert [place.parent.name for place in places] == ["1", "2", "last"]


def test_the_guests_side_judges_nothing_for_who_does_so_himself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Harness:
        recordings: Any = None
        collector = SimpleNamespace(engine="netem", probe=SimpleNamespace(backend="fexit", tried=()))

        def record(self, scenario: Any) -> tuple[None, Path]:
            return None, self.recordings / f"{scenario.name}.rttrec"

    monkeypatch.setattr(rttcheck.harness, "open_harness", lambda **_: nullcontext(Harness()))
    channel = Channel([dataclasses.replace(REQUEST, recordings=str(tmp_path), judge=False)])
    local_run.serve_requests(channel)
    *_, result = channel.sent
    assert Path(result["row"]["recording"]).name == "first.rttrec"
    assert result["verdict"] is None
