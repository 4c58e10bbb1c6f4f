"""A kernel against itself is the same; 3 us planted in it are found, proven and put down to where they were planted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rttcheck.cli.exit_status import ExitStatus
from rttcheck.compare.path import STAGES
from rttcheck.kernels.guest import GuestSettings
from tests.guest.planted_delays import PLACES

PROJECT = Path(__file__).parents[2]
ROUNDS = 6
LOOKS = 5
"""As the command does, which records more rounds where these cannot tell: one run's handshake may be longer."""
BY_US = 3

Launch = Callable[..., "subprocess.Popen[bytes]"]

RECORD = f"""
import sys
from pathlib import Path
from tests.guest.planted_delays import record
record(Path(sys.argv[1]), int(sys.argv[2]), {ROUNDS}, {BY_US})
"""


def compared(first: Path, second: Path) -> tuple[int, dict[str, Any]]:
    """Exit status of the command, and what it says of one scenario on both sides."""
    command = [sys.executable, "-m", "rttcheck.cli", "compare", str(first), str(second), "--json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    (scenario,) = json.loads(done.stdout)["scenarios"]
    return done.returncode, dict(scenario)


def undecided(scenario: dict[str, Any]) -> list[Any]:
    """What of a scenario cannot be told."""
    return [one for one in (*scenario["distributions"], *scenario["counts"]) if one["answer"] == "cannot tell"]


def of_client(scenario: dict[str, Any], part: str) -> dict[str, Any]:
    """The median of a part of the way of the client's data samples."""
    wanted = {"side": "client", "kind": "data", "part": part, "figure": "median"}
    (found,) = [one for one in scenario["distributions"] if one.items() >= wanted.items()]
    return dict(found)


def test_three_planted_microseconds_are_put_down_to_their_place_and_none_are_found_where_none_were_planted(
    settings: GuestSettings, launch: Launch, show: Callable[[str], None], tmp_path: Path
) -> None:
    for look in range(LOOKS):
        process = launch(replace(settings, silence_s=120.0), "-c", RECORD, str(tmp_path), str(1 + look * ROUNDS))
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, (out + err).decode()
        show(out.decode().splitlines()[0])
        answers = {name: compared(tmp_path / "as it is", tmp_path / name) for name in ("again", *PLACES)}
        unknown = {name: undecided(scenario) for name, (_, scenario) in answers.items()}
        if not any(unknown.values()):
            break
        show(f"cannot tell after {(look + 1) * ROUNDS} rounds: {unknown}")
    status, scenario = answers.pop("again")
    assert (status, scenario["answer"]) == (ExitStatus.PASSED, "same"), unknown["again"]
    assert scenario["runs"] == [(look + 1) * ROUNDS] * 2
    for place, (status, scenario) in answers.items():
        whole = of_client(scenario, "round trip")
        show(f"{BY_US} us at {place}: {whole['by_us']} us, {whole['interval_us']}, of which {whole['from_us']}")
        assert (status, whole["answer"]) == (ExitStatus.FAILED, "changed")
        assert abs(whole["by_us"] - BY_US) < 0.5
        assert 0 < whole["interval_us"][0] < BY_US < whole["interval_us"][1]
        assert list(whole["from_us"]) == [place]
        stages = {stage: of_client(scenario, stage)["answer"] for stage in STAGES}
        assert stages == {stage: "changed" if stage == place else "same" for stage in STAGES}
