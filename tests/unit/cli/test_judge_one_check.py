"""`rttcheck judge --check ID`: what one check found, its own exit status, and ids that do not exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.record.recording import Recording
from tests.faults.sample_faults import resampled

RECORDING = Path(__file__).parents[2] / "faults" / "recordings" / "ping-pong.rttrec"


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel whose samples are all 30 us above what stamps and clock say, in its run and not in its control run."""
    faulty = resampled(lambda us: us + 30)(Recording.load(RECORDING))
    return faulty.save(tmp_path_factory.mktemp("late") / "late.rttrec")


def test_what_a_check_found_is_shown_alone(late: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(late), "--check", "sample.exact"]) == ExitStatus.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed sample.exact (samples are the ACK's time minus their segment's stamp): ")
    assert "30 us above it" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["expected", "seen"]


def test_the_status_is_that_of_the_checks_alone(late: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(late), "--check", "control:sample.exact"]) == ExitStatus.PASSED
    assert "passed control:sample.exact (control run: " in capsys.readouterr().out
    assert main(["judge", str(late)]) == ExitStatus.FAILED


def test_a_check_that_was_not_made_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(RECORDING), "--check", "link.relay-account"]) == ExitStatus.PASSED
    assert capsys.readouterr().out.startswith("not applicable link.relay-account: ")


def test_json_has_the_findings_of_the_checks_only(late: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["judge", str(late), "--json", "--check", "arithmetic.rto", "--check", "sample.exact"])
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert {found["key"] for found in result["verdict"]["findings"]} == {"arithmetic.rto", "sample.exact"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("sample.exat", "did you mean sample.exact?"), ("nonsense", "`rttcheck checks` lists them")],
)
def test_a_check_that_does_not_exist_is_refused_with_the_nearest(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="4"):
        main(["judge", str(RECORDING), "--check", name])
    assert f"there is no check {name}: {hint}" in capsys.readouterr().err
