"""`rttcheck judge` as a person types it: the run's own verdict from the file, sentences for what is no recording."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.judge.verdict import judge
from rttcheck.record.recording import Recording
from tests.support.planted import record


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


def saved(directory: Path, name: str, recording: Recording) -> Path:
    return recording.save(directory / f"{name}.rttrec")


def test_the_verdict_is_the_one_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = record(client=[10_040] * 100)
    path = saved(tmp_path, "half", recording)
    assert main(["judge", str(path)]) == ExitStatus.FAILED
    told = capsys.readouterr()
    assert told.out == judge(recording, path=path).render(100) + "\n"
    assert "FAILED planted: look at the nominal layer" in told.out
    assert told.err == ""


def test_a_recording_that_passes_ends_with_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(saved(tmp_path, "good", record()))]) == ExitStatus.PASSED
    assert capsys.readouterr().out.startswith("PASSED planted\n")


def test_the_inconclusive_fails_only_when_strict(tmp_path: Path) -> None:
    path = str(saved(tmp_path, "lossy", record(lost=3)))
    assert main(["judge", path]) == ExitStatus.PASSED
    assert main(["judge", path, "--strict"]) == ExitStatus.FAILED


def test_several_files_end_with_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = saved(tmp_path, "good", record()), saved(tmp_path, "bad", record(name="bad", client=[10_040] * 100))
    assert main(["judge", str(good), str(bad)]) == ExitStatus.FAILED
    out = capsys.readouterr().out
    assert out.index("PASSED planted") < out.index("FAILED bad")
    assert out.rstrip().endswith("1 passed, 1 failed")


@pytest.mark.parametrize("damage", ["short", "flipped", "text", "gone", "empty"])
def test_a_damaged_file_is_refused_with_what_is_wrong_and_the_others_are_judged(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, broken = saved(tmp_path, "good", record()), saved(tmp_path, "broken", record())
    whole = broken.read_bytes()
    middle = len(whole) // 3
    contents = {
        "short": whole[: len(whole) // 2],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0x55]) + whole[middle + 1 :],
        "text": b"no recording at all\n",
        "empty": b"",
    }
    if damage == "gone":
        broken.unlink()
    else:
        broken.write_bytes(contents[damage])
    assert main(["judge", str(broken), str(good)]) == ExitStatus.UNABLE
    told = capsys.readouterr()
    assert "PASSED planted" in told.out
    assert str(broken) in told.err
    assert len(told.err.splitlines()) == 1
    assert "Traceback" not in told.err


def test_a_scenario_of_another_version_is_refused_with_that_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = record()
    later = dataclasses.replace(recording, scenario={**recording.scenario, "warp": 9}, machine={"rttcheck": "9.9.9"})
    assert main(["judge", str(saved(tmp_path, "later", later))]) == ExitStatus.UNABLE
    told = capsys.readouterr()
    assert "warp" in told.err
    assert "9.9.9" in told.err


def test_json_holds_rows_verdicts_and_what_was_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = saved(tmp_path, "good", record())
    assert main(["judge", "--json", str(good), str(tmp_path / "gone.rttrec")]) == ExitStatus.UNABLE
    document = json.loads(capsys.readouterr().out)
    assert document["exit_status"] == ExitStatus.UNABLE
    assert [result["scenario"] for result in document["results"]] == ["planted"]
    assert document["results"][0]["verdict"]["findings"][0]["outcome"] == "passed"
    assert "gone.rttrec" in document["refused"][0]


def test_no_file_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["judge"])
    assert ended.value.code == ExitStatus.USAGE
