"""The list of the saboteur's faults against the module's sources, and what is left of work that was interrupted."""

from __future__ import annotations

import re

from rttcheck.scenario.library import NAMED
from rttcheck.scenario.model import Scenario
from tests.saboteur.build import SOURCES
from tests.saboteur.catalogue import FAULTS, SCENARIOS, SOUND
from tests.saboteur.session import Recorded, Work, spread, without


def test_there_are_thirty_faults_at_least_and_each_has_a_name_of_its_own() -> None:
    assert len(FAULTS) >= 30
    assert len({fault.name for fault in FAULTS}) == len({fault.directory for fault in FAULTS}) == len(FAULTS)


def test_the_module_has_each_fault_and_each_of_the_modules_faults_is_tried() -> None:
    text = "".join(path.read_text() for path in SOURCES.glob("*.c"))
    known = set(re.findall(r'\{ "(\w+)", [^"]', text)) | set(re.findall(r"^\tSTATE\((\w+)\),$", text, re.MULTILINE))
    assert {fault.does for fault in FAULTS} == known
    assert SOUND.does not in known


def test_scenarios_are_the_named_ones_and_those_that_faults_need_besides() -> None:
    assert set(NAMED) < set(SCENARIOS)
    for name, keywords in SCENARIOS.items():
        assert Scenario.make(**keywords).name == name
    assert {scenario for fault in FAULTS for scenario in fault.tested_in} <= set(SCENARIOS)


def test_what_is_left_of_the_work_is_without_what_is_done() -> None:
    first, second = (Work(fault=fault, scenarios=("loss", "bbr")) for fault in FAULTS[:2])
    (left, other) = without([first, second], Recorded(fault=first.fault.name, scenario="loss"))
    assert (left.scenarios, other) == (("bbr",), second)
    assert without([left, other], Recorded(fault=first.fault.name, scenario="bbr")) == [second]


def test_a_fault_that_cannot_be_loaded_is_done_with() -> None:
    first, second = (Work(fault=fault, scenarios=("loss", "bbr")) for fault in FAULTS[:2])
    refused = Recorded(fault=first.fault.name, scenario="", error="refused")
    assert [each.scenario for each in spread([first, second], refused)] == ["loss", "bbr"]
    assert without([first, second], refused) == [second]
