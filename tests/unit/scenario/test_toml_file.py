from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.errors import ScenarioError
from rttcheck.scenario.model import Scenario
from rttcheck.scenario.toml_file import load_scenarios

GOOD = """
[scenario.far-away]
rtt = "300ms"
count = 40

[scenario."one way lossy"]
out = { delay = "20ms", loss = "1%" }
back = "20ms"
traffic = { kind = "paced", interval = "5ms" }

[[scenario.stepped.steps]]
after = 50
rtt = "40ms"
"""


def load(tmp_path: Path, text: str) -> tuple[Scenario, ...]:
    path = tmp_path / "wan.toml"
    path.write_text(text)
    return load_scenarios(path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ScenarioError) as refused:
        load(tmp_path, text)
    assert str(refused.value).startswith(str(tmp_path / "wan.toml"))
    return str(refused.value).removeprefix(str(tmp_path / "wan.toml"))


def test_a_file_holds_the_scenarios_that_python_would_make(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == (
        Scenario.make(name="far-away", rtt="300ms", count=40),
        Scenario.make(
            name="one way lossy",
            out={"delay": "20ms", "loss": "1%"},
            back="20ms",
            traffic={"kind": "paced", "interval": "5ms"},
        ),
        Scenario.make(name="stepped", steps=[{"after": 50, "rtt": "40ms"}]),
    )


def test_an_unknown_key_names_file_and_table_and_the_nearest_known_one(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, '[scenario.far]\nrtt = "40ms"\njiter = "2ms"\n')
    assert sentence == ', [scenario.far]: a scenario has no keyword "jiter": did you mean "jitter"?'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[scenarios.far]\nrtt = "40ms"\n', 'has no keyword "scenarios": did you mean "scenario"?'),
        ("[scenario.far]\nrtt = 40\n", '[scenario.far]: rtt=40 has no unit: write rtt="40ms"'),
        ("[scenario.far\n", "is not TOML"),
        ("", "has no scenario"),
        ("scenario = 5\n", "has no scenario"),
        ("[scenario]\nfar = 5\n", "[scenario.far] is 5, not a table"),
        ('[scenario.far]\nname = "near"\n', "has two names"),
        ("[scenario.far]\nrtt = 2026-01-01\n", "[scenario.far]"),
    ],
)
def test_a_file_that_makes_no_sense_says_where(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.toml cannot be read \(No such file"):
        load_scenarios(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wan.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="is not TOML"):
        load_scenarios(path)
