"""`rttcheck doctor`: what a person and a program are told, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.doctor import capabilities as looked_at
from rttcheck.doctor.capability import GUEST, HOST, OPTIONAL, Capability
from rttcheck.doctor.kernel_choice import choose_kernel
from rttcheck.report.capability_table import render

LONG_REMEDY = "apt install linux-modules-extra-6.8.0-1029-azure (Ubuntu; on Debian use the kernel that is no cloud one)"

NETEM = Capability(
    name="sch_netem",
    found=False,
    detail="the kernel says: Specified qdisc kind is unknown",
    remedy=LONG_REMEDY,
    lack="no sch_netem",
    needed_for=HOST,
)
QEMU = Capability(name="qemu-system-x86_64", found=True, detail="/usr/bin/qemu-system-x86_64", needed_for=GUEST)
NO_QEMU = replace(QEMU, found=False, detail="none", remedy="apt install qemu-system-x86", lack="no qemu")
UNTRIED = Capability(name="probe fexit", found=False, detail="not tested: needs root", needed_for=HOST)
KVM = Capability(name="KVM", found=True, detail="whether it works is tested by booting", needed_for=OPTIONAL)

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Call it with the capabilities that this machine is to have."""

    def has(*known: Capability) -> None:
        monkeypatch.setattr(looked_at, "capabilities", lambda: known)

    return has


def test_a_machine_that_can_judge_in_a_guest_is_fine_and_says_why_a_guest(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(NETEM, QEMU, KVM)
    assert main(["doctor"]) == ExitStatus.PASSED
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "auto would use: a guest of debian:6.12 in virtual time, because: no sch_netem"
    row = next(line for line in lines if "Specified qdisc kind is unknown" in line)
    assert row.split()[:2] == ["MISSING", "sch_netem"]


def test_a_machine_that_can_judge_nothing_has_status_1_and_says_what_to_do(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(NETEM, NO_QEMU)
    assert main(["doctor"]) == ExitStatus.FAILED
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("auto cannot use any kernel: the running kernel cannot be judged (no sch_netem)")
    assert "apt install qemu-system-x86" in last


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_remedy_is_one_line_however_narrow_the_terminal_so_that_it_can_be_copied(width: int) -> None:
    text = render((NETEM, QEMU), choose_kernel((NETEM, QEMU)), "", width=width, colour=False)
    assert f"  sch_netem  {LONG_REMEDY}" in text.splitlines()


def test_what_was_not_tried_is_unknown_and_not_missing() -> None:
    known = (NETEM, UNTRIED, QEMU)
    text = render(known, choose_kernel(known), "", width=100, colour=False)
    assert next(line for line in text.splitlines() if "not tested" in line).startswith("unknown")


def test_what_an_alternative_stands_in_for_does_not_shout() -> None:
    fexit = replace(UNTRIED, lack="fexit refused (EPERM)", detail="EPERM", alternatives=("probe kprobe",))
    kprobe = Capability(name="probe kprobe", found=True, detail="attached", needed_for=HOST)
    text = render((fexit, kprobe), choose_kernel((fexit, kprobe)), "", width=100, colour=False)
    assert next(line for line in text.splitlines() if "EPERM" in line).startswith("missing")


def test_colours_are_there_only_when_asked_for() -> None:
    known = (NETEM, QEMU)
    plain = render(known, choose_kernel(known), "", width=100, colour=False)
    coloured = render(known, choose_kernel(known), "", width=100, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[1;31mMISSING" in coloured


def test_brackets_in_the_kernels_words_are_text() -> None:
    odd = replace(NETEM, detail="[red]no[/red] [qdisc]", remedy="set [x]")
    text = render((odd, QEMU), choose_kernel((odd, QEMU)), "", width=100, colour=False)
    assert "[red]no[/red] [qdisc]" in text
    assert "set [x]" in text


def test_json_has_everything_and_the_choice(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(NETEM, QEMU, KVM)
    assert main(["doctor", "--json"]) == ExitStatus.PASSED
    document = json.loads(capsys.readouterr().out)
    assert document["possible"] is True
    assert document["auto"] == {"kernel": "debian:6.12", "clock": "virtual", "reasons": ["no sch_netem"]}
    assert [known["name"] for known in document["capabilities"]] == ["sch_netem", "qemu-system-x86_64", "KVM"]
    assert document["capabilities"][0]["remedy"] == LONG_REMEDY
    assert document["capabilities"][0]["needed_for"] == "running kernel"


def test_json_of_a_machine_that_can_judge_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(NETEM, NO_QEMU)
    assert main(["doctor", "--json"]) == ExitStatus.FAILED
    document = json.loads(capsys.readouterr().out)
    assert (document["possible"], document["auto"]) == (False, None)
    assert "no qemu" in document["refusal"]
