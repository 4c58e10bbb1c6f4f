"""The result of the trial of KVM is remembered and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from rttcheck.doctor import equipment
from rttcheck.errors import GuestLost
from rttcheck.kernels import kvm
from rttcheck.kernels.machine import GuestMachine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a device that can be opened, and an empty cache."""
    device = tmp_path / "device"
    device.write_text("")
    monkeypatch.setattr(kvm, "DEVICE", device)
    monkeypatch.setattr(equipment, "KVM", device)
    monkeypatch.setenv("RTTCHECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Qemu:
    """None that runs."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the next boot works; it is taken out by that boot."""
    chances: list[bool] = []

    def boot(*_: object, **__: object) -> None:
        if not chances.pop():
            raise GuestLost("the guest did not boot before its deadline")

    monkeypatch.setattr(kvm, "Qemu", Qemu)
    monkeypatch.setattr(kvm, "wait_for_init", boot)
    return chances


def works(cache: Path) -> bool:
    return kvm.kvm_works(cast("GuestMachine", object()), root=cache)


def test_a_trial_is_made_once_and_its_reason_kept(cache: Path, boots: list[bool]) -> None:
    assert kvm.remembered_trial(cache) is None
    boots.append(False)
    assert not works(cache)
    assert not works(cache), "a second boot would have had no chance left"
    trial = kvm.remembered_trial(cache)
    assert trial is not None
    assert (trial.works, trial.why) == (False, "the guest did not boot before its deadline")


def test_a_kvm_that_works_is_remembered_too(cache: Path, boots: list[bool]) -> None:
    boots.append(True)
    assert works(cache)
    assert works(cache)


@pytest.mark.parametrize("damaged", ["", "{}", "[]", '{"works": true}'])
def test_a_damaged_answer_is_none(cache: Path, boots: list[bool], damaged: str) -> None:
    boots.append(True)
    assert works(cache)
    trial = kvm.remembered_trial(cache)
    assert trial is not None
    trial.file.write_text(damaged)
    assert kvm.remembered_trial(cache) is None


def test_an_answer_of_another_kernel_of_the_host_is_none(
    cache: Path, boots: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    boots.append(True)
    assert works(cache)
    monkeypatch.setattr("platform.release", lambda: "0.0-planted")
    assert kvm.remembered_trial(cache) is None


def reported() -> tuple[bool, str, str]:
    known = next(capability for capability in equipment.equipment() if capability.name == "KVM")
    return known.found, known.detail, known.remedy


def test_doctor_reports_the_result_and_its_time(cache: Path, boots: list[bool]) -> None:
    found, detail, _ = reported()
    assert (found, "is tested by the first guest" in detail) == (True, True)
    boots.append(False)
    works(cache)
    trial = kvm.remembered_trial(cache)
    assert trial is not None
    answer = json.loads(trial.file.read_text())
    trial.file.write_text(json.dumps({**answer, "when": 0.0}))
    found, detail, remedy = reported()
    assert not found
    assert "it failed on 19" in detail
    assert detail.endswith(": the guest did not boot before its deadline")
    assert f"rm {trial.file} repeats the test" in remedy
    trial.file.unlink()
    boots.append(True)
    works(cache)
    found, detail, remedy = reported()
    assert found
    assert detail.startswith("it works: a guest booted under it on 20")
    assert remedy == ""


def test_a_device_that_cannot_be_opened_is_not_tried(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "DEVICE", cache / "none")
    monkeypatch.setattr(equipment, "KVM", cache / "none")
    assert not works(cache)
    assert reported()[:2] == (False, f"no access to {cache / 'none'}, not needed: virtual time is emulated")
