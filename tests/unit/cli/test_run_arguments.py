"""What `rttcheck run` makes of its arguments: names, files, kernels that exclude a clock, directories."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.cli.request import RunRequest, ScenarioRequest
from rttcheck.cli.run import resolve
from rttcheck.errors import ScenarioError
from rttcheck.kernel_log.allowed import read_allowed
from rttcheck.scenario.library import NAMED
from rttcheck.scenario.model import Scenario
from tests.support.channel import over_a_gateway

LINKS = """
[scenario.far]
rtt = "300ms"
loss = "1%"

[scenario.near]
rtt = "1ms"
"""


@pytest.fixture
def links(tmp_path: Path) -> Path:
    path = tmp_path / "links.toml"
    path.write_text(LINKS)
    return path


def test_a_name_is_the_librarys_scenario() -> None:
    (wanted,) = resolve(["rtt-40ms"])
    assert wanted.source == "rtt-40ms"
    assert Scenario.make(**wanted.keywords) == NAMED["rtt-40ms"]


def test_a_file_is_all_its_scenarios_and_a_name_after_a_colon_is_one(links: Path) -> None:
    assert [wanted.source for wanted in resolve([str(links)])] == [f"{links}:far", f"{links}:near"]
    assert [wanted.name for wanted in resolve([f"{links}:near", "loss"])] == ["near", "loss"]


def test_each_scenario_is_run_once_however_often_it_is_named(links: Path) -> None:
    assert [wanted.name for wanted in resolve([f"{links}:near", str(links), "loss", "loss"])] == ["near", "far", "loss"]


def test_all_is_every_scenario_of_the_library() -> None:
    assert [wanted.name for wanted in resolve([], everything=True)] == list(NAMED)


def test_two_scenarios_of_one_name_are_refused_for_their_recordings_would_collide(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[scenario.loss]\nrtt = "1ms"\n')
    with pytest.raises(ScenarioError, match=r"own\.toml:loss and loss are two scenarios of the same name: rename one"):
        resolve([str(own), "loss"])


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("rtt-41ms", "did you mean rtt-1ms or rtt-40ms"),
        ("zzzz", "there are rtt-1ms, "),
        ("LINKS:fra", "scenario 'fra' is not in LINKS: did you mean far?"),
        ("gone.toml", "gone.toml cannot be read"),
        ("some/where", "some/where cannot be read"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_is_nearest(
    argument: str, sentence: str, links: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", argument.replace("LINKS", str(links))]) == ExitStatus.USAGE
    assert sentence.replace("LINKS", str(links)) in capsys.readouterr().err


def test_a_bare_number_in_a_file_is_named_with_file_and_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bare.toml"
    path.write_text("[scenario.x]\nrtt = 40\n")
    assert main(["run", str(path)]) == ExitStatus.USAGE
    told = capsys.readouterr().err
    assert f"{path}, [scenario.x]" in told
    assert 'write rtt="40ms"' in told


def test_no_scenario_at_all_is_a_usage_error_that_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == ExitStatus.USAGE
    assert "--list shows the names" in capsys.readouterr().err


def test_the_list_shows_every_name_with_what_it_injects(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--list"]) == ExitStatus.PASSED
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMED)
    assert 'out="35ms"  back="5ms"' in next(line for line in lines if line.startswith("asymmetric"))
    step = next(line for line in lines if line.startswith("step"))
    assert re.search(r'steps=\[\{after = \d+, rtt = "80ms"\}', step)


def test_the_list_as_json_is_keywords_that_make_the_scenarios_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--list", "--json"]) == ExitStatus.PASSED
    for name, keywords in json.loads(capsys.readouterr().out).items():
        assert Scenario.make(name=name, **keywords) == NAMED[name]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--kernel", "host", "--clock", "virtual"], "whose time is real"),
        (["--kernel", "6.12"], "write debian:6.12"),
        (["--kernel", "nowhere/bzImage"], "nor a path that exists"),
    ],
)
def test_kernels_and_clocks_that_make_no_sense_are_refused_before_anything_runs(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "rtt-40ms", *words]) == ExitStatus.USAGE
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "the list of allowed splats known.toml cannot be read (No such file or directory)"),
        ('[[splat]]\npattern = "x"\nuntil = "then"\n', "entry 1 of known.toml lacks reason"),
    ],
)
def test_a_list_of_allowed_splats_that_is_none_is_refused_before_anything_runs(
    text: str | None,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("known.toml").write_text(text)
    assert main(["run", "rtt-40ms", "--kernel", "host", "--allow-splats", "known.toml"]) == ExitStatus.USAGE
    assert capsys.readouterr().err.startswith(f"rttcheck: {sentence}")


def test_the_list_in_the_help_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    _, head, rest = capsys.readouterr().out.partition("  [[splat]]\n")
    path = tmp_path / "known.toml"
    path.write_text(textwrap.dedent(head + rest.partition("\n\n")[0]))
    (entry,) = read_allowed(path)
    title = "WARNING: CPU: 0 PID: 1 at net/ipv4/tcp_input.c:3197 tcp_ack+0x1/0x2"
    assert [entry.covers(title, release) for release in ("5.10.2", "6.12.1", "7.3.4")] == [False, True, False]


def test_a_directory_that_cannot_be_made_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = ["run", "rtt-40ms", "--kernel", "host", "--recordings", str(tmp_path / "file" / "below")]
    assert main(words) == ExitStatus.UNABLE
    told = capsys.readouterr().err
    assert f"{tmp_path / 'file' / 'below'}, which cannot be created (Not a directory)" in told
    assert "--recordings" in told


def test_an_order_is_the_same_after_it_has_crossed_into_a_guest() -> None:
    request = RunRequest(
        kernel="debian:6.12",
        clock="virtual",
        probe="auto",
        recordings="/somewhere",
        scenarios=(
            ScenarioRequest(
                keywords={"name": "a", "rtt": "40ms", "steps": [{"after": 5, "rtt": "80ms"}]}, source="x:a"
            ),
        ),
        width=80,
        allowed=({"pattern": "x", "reason": "y", "until": "z", "since": "", "before": ""},),
        allow_splats="known.toml",
    )
    assert RunRequest.of_dict(over_a_gateway(request.as_dict())) == request


def test_the_command_that_reproduces_can_be_pasted_into_a_shell() -> None:
    wanted = ScenarioRequest(keywords={"name": "far away"}, source="my links.toml:far away")
    request = RunRequest(kernel="debian:6.1", clock="virtual", probe="kprobe", recordings="", scenarios=(wanted,))
    expected = "rttcheck run 'my links.toml:far away' --kernel debian:6.1 --clock virtual --probe kprobe"
    assert request.reproduce(wanted) == expected
    known = replace(request, allow_splats="what is known.toml")
    assert known.reproduce(wanted) == f"{expected} --allow-splats 'what is known.toml'"
    host = RunRequest(kernel="host", clock="real", probe="auto", recordings="", scenarios=(wanted,))
    assert host.reproduce(wanted) == "rttcheck run 'my links.toml:far away' --kernel host"
