"""The reference of keywords is complete, its examples are valid, and docs/scenarios.md is generated from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.scenario import reference
from rttcheck.scenario.link import DIRECTION_KEYWORDS, LINK_KEYWORDS
from rttcheck.scenario.model import KEYWORDS, Scenario
from rttcheck.scenario.reference import LAB, LINK, OTHER, TRAFFIC, Keyword, references
from rttcheck.scenario.toml_file import load_scenarios

DOCUMENT = Path(__file__).parents[3] / "docs" / "scenarios.md"

TOP = [keyword for keyword in references() if keyword.section in (OTHER, LINK, LAB, TRAFFIC)]


def test_every_keyword_of_the_model_is_listed_once() -> None:
    assert sorted(keyword.name for keyword in TOP) == sorted((*KEYWORDS, "delay"))


def test_a_keyword_that_is_not_listed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "LINK_KEYWORDS", (*LINK_KEYWORDS, "weather"))
    with pytest.raises(ValueError, match="Link: the reference and the model differ in weather"):
        references()


@pytest.mark.parametrize("keyword", references(), ids=lambda keyword: f"{keyword.section} {keyword.name}")
def test_the_example_is_a_scenario_that_uses_the_keyword(keyword: Keyword) -> None:
    Scenario.make(**keyword.example)
    assert f'"{keyword.name}"' in json.dumps(keyword.example) or keyword.default != "required"


@pytest.mark.parametrize("keyword", TOP, ids=lambda keyword: keyword.name)
def test_the_default_is_the_model_s(keyword: Keyword) -> None:
    words = re.match(r"(true|false|-?\d+(?:\.\d+)?[a-z%]*)(?=$|[ ;,])", keyword.default)
    if words is None or keyword.name not in keyword.example:
        return
    text = words[1]
    value = {"true": True, "false": False}.get(text, int(text) if text.lstrip("-").isdigit() else text)
    left_out = {
        name: given for name, given in keyword.example.items() if name not in (keyword.name, "steps", "traffic")
    }
    if keyword.name in ("jitter", "reorder", "loss", "rate", "duplicate", "corrupt"):
        left_out = {"rtt": "20ms"}
    if keyword.name == "interval":
        left_out["traffic"] = "paced"
    assert Scenario.make(**left_out) == Scenario.make(**{**left_out, keyword.name: value})


def test_keywords_of_one_direction_and_of_no_check_are_marked() -> None:
    assert {keyword.name for keyword in TOP if keyword.per_direction} == {"delay", *DIRECTION_KEYWORDS}
    unchecked = {keyword.name for keyword in references() if not keyword.asserted}
    assert unchecked == {name for name in DIRECTION_KEYWORDS if name.endswith("_correlation")}


def test_the_page_is_the_one_that_the_command_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--keywords", "--markdown"]) == ExitStatus.PASSED
    assert capsys.readouterr().out == DOCUMENT.read_text(encoding="utf-8"), (
        "run `rttcheck run --keywords --markdown > docs/scenarios.md`"
    )


def test_the_page_s_file_can_be_loaded(tmp_path: Path) -> None:
    toml = DOCUMENT.read_text(encoding="utf-8").partition("In pytest")[0]
    block = [line[4:] for line in toml.splitlines() if line.startswith("    ")]
    path = tmp_path / "links.toml"
    path.write_text("\n".join(block))
    assert [scenario.name for scenario in load_scenarios(path)] == ["far-away", "lopsided"]


def test_the_table_and_the_json_have_every_keyword(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--keywords"]) == ExitStatus.PASSED
    text = capsys.readouterr().out
    assert all(re.search(rf"^{keyword.name}\b", text, re.MULTILINE) for keyword in references())
    assert main(["run", "--keywords", "--json"]) == ExitStatus.PASSED
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == 2
    assert [row["name"] for row in document["keywords"]] == [keyword.name for keyword in references()]


def test_markdown_alone_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "rtt-40ms", "--markdown"])
    assert ended.value.code == ExitStatus.USAGE
    assert "--markdown is only for --keywords" in capsys.readouterr().err
