"""The file of a soak: whole or not at all, gone on from, and never another soak's."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rttcheck.errors import RecordingError, ScenarioError
from rttcheck.soak import ledger as ledger_module
from rttcheck.soak.ledger import Ledger, load, opened
from tests.support.soaked import BAD, BUSY, GONE, GOOD, QUIET, UNSURE, suite

NAMES = ("rtt-40ms", "loss")


def kept(path: Path, suites: int = 2) -> Path:
    with opened(path, scenarios=NAMES, boot="thawed", resume=False) as ledger:
        for number in range(1, suites + 1):
            ledger.add(suite(number, [GOOD, BAD, UNSURE, GONE], condition=BUSY if number % 2 else QUIET))
    return path


def test_suites_come_back_as_they_were_kept(tmp_path: Path) -> None:
    path = kept(tmp_path / "deep" / "soak.json")
    with opened(path, scenarios=NAMES, boot="thawed", resume=True) as ledger:
        assert ledger.suites == [
            suite(1, [GOOD, BAD, UNSURE, GONE], condition=BUSY),
            suite(2, [GOOD, BAD, UNSURE, GONE], condition=QUIET),
        ]
        assert (ledger.done(BUSY), ledger.done(QUIET)) == (1, 1)
        ledger.add(suite(3))
    assert len(load(path).suites) == 3


def test_what_ended_it_is_forgotten_when_it_goes_on(tmp_path: Path) -> None:
    path = kept(tmp_path / "soak.json")
    with _resumed(path) as ledger:
        ledger.ending = "interrupted"
        ledger.save()
    assert load(path).ending == "interrupted"
    with _resumed(path) as ledger:
        assert ledger.ending == ""


def test_a_person_or_a_program_finds_the_report_above_the_suites(tmp_path: Path) -> None:
    told = json.loads(kept(tmp_path / "soak.json").read_text())
    assert list(told)[-2:] == ["report", "suites"]
    assert [one["suites"] for one in told["report"]["conditions"]] == [1, 1, 2]
    assert told["scenarios"] == list(NAMES)


def test_a_soak_without_a_suite_is_a_whole_file_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "soak.json", NAMES, "thawed")
    ledger.save()
    assert load(ledger.path).suites == []


def test_an_earlier_soak_is_not_overwritten(tmp_path: Path) -> None:
    path = kept(tmp_path / "soak.json")
    before = path.read_bytes()
    with pytest.raises(ScenarioError, match=r"holds 2 suites of an earlier soak: continue it with --resume"):
        kept(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", [0.0, 0.2, 0.6, 0.999])
def test_a_file_cut_short_is_refused_and_left_alone(tmp_path: Path, part: float) -> None:
    path = kept(tmp_path / "soak.json")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * (len(whole) - 2))])
    before = path.read_bytes()
    with pytest.raises(RecordingError, match="is not a complete soak"), _resumed(path):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told["suites"][0].pop("runs"),
        lambda told: told["suites"][0]["runs"][0].update(extra=1),
        lambda told: told["suites"][1].update(number="x"),
        lambda told: told.pop("boot"),
    ],
)
def test_a_file_with_something_missing_is_refused(
    tmp_path: Path, damage: Callable[[dict[str, object]], object]
) -> None:
    path = kept(tmp_path / "soak.json")
    told = json.loads(path.read_text())
    damage(told)
    path.write_text(json.dumps(told))
    with pytest.raises(RecordingError, match="is not a complete soak"):
        load(path)


def test_other_scenarios_boots_or_code_are_another_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept(tmp_path / "soak.json")
    for scenarios, boot in ((NAMES[:1], "thawed"), (NAMES, "fresh")):
        with (
            pytest.raises(ScenarioError, match="other scenarios or boots"),
            opened(path, scenarios=scenarios, boot=boot, resume=True),
        ):
            pass
    monkeypatch.setattr(ledger_module, "code_digest", lambda: "another")
    with pytest.raises(ScenarioError, match="a soak of another version of the code"), _resumed(path):
        pass


def test_two_soaks_do_not_write_one_file(tmp_path: Path) -> None:
    path = kept(tmp_path / "soak.json")
    with _resumed(path), pytest.raises(RecordingError, match="another soak is writing"), _resumed(path):
        pass
    with _resumed(path) as ledger:
        assert len(ledger.suites) == 2


def test_a_save_that_fails_leaves_the_last_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept(tmp_path / "soak.json")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with _resumed(path) as ledger:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(RecordingError, match="No space left on device"):
            ledger.add(suite(3))
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == [".soak.json.lock", "soak.json"]


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RecordingError, match="cannot be written to"),
        opened(tmp_path / "file" / "soak.json", scenarios=NAMES, boot="thawed", resume=False),
    ):
        pass


def _resumed(path: Path) -> AbstractContextManager[Ledger]:
    return opened(path, scenarios=NAMES, boot="thawed", resume=True)
