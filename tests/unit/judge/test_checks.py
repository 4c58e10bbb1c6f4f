"""The list of checks: whole, with ids that are unique, and the page that is made of it."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest

import rttcheck.judge
from rttcheck.cli import main
from rttcheck.cli.checks import all_checks
from rttcheck.judge.check import Check
from rttcheck.judge.checks import BY_ID, CHECKS
from rttcheck.judge.findings import Layer

DOCUMENT = Path(__file__).parents[3] / "docs" / "checks.md"


def declared() -> set[str]:
    """Ids of all checks that any module of the judge has."""
    found = set()
    for module in pkgutil.walk_packages(rttcheck.judge.__path__, "rttcheck.judge."):
        for value in vars(importlib.import_module(module.name)).values():
            values = value.values() if isinstance(value, dict) else [value]
            found |= {one.id for one in values if isinstance(one, Check)}
    return found


def test_every_check_that_is_declared_is_listed() -> None:
    assert declared() == set(BY_ID)


def test_ids_are_unique_and_name_their_layer() -> None:
    ids = [check.id for check in all_checks()]
    assert len(ids) == len(set(ids))
    for check in all_checks():
        assert re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", check.id), check.id
        assert check.id.startswith(f"{check.layer.value}."), check.id


def test_checks_are_listed_from_the_wire_to_the_reader() -> None:
    order = list(Layer)
    places = [order.index(check.layer) for check in CHECKS]
    assert places == sorted(places)


def test_the_page_is_the_one_that_the_command_makes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks", "--markdown"]) == 0
    assert capsys.readouterr().out == DOCUMENT.read_text()


def test_a_layer_of_the_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks", "--layer", "sample", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == 2
    assert {check["layer"] for check in document["checks"]} == {"sample"}
    exact = next(check for check in document["checks"] if check["id"] == "sample.exact")
    assert exact["needs"] == {"every_sample": False, "all_of": [], "any_of": ["sample_us", "last_rtt_us"]}


def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 120 for line in lines)
    assert {line.split()[0] for line in lines if line and not line.startswith(" ")} >= set(BY_ID)


def test_an_unknown_layer_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="4"):
        main(["checks", "--layer", "lnk"])
    assert "there is no layer lnk: choose from kernel, link, eligibility, sample" in capsys.readouterr().err
