"""The tables of the saboteur's faults, from entries that are made up."""

from __future__ import annotations

from dataclasses import replace

from tests.saboteur.ledger import Entry
from tests.saboteur.table import tables

EARLY = Entry(
    where="6.12", fault="stamps early, 200 us", scenario="bbr", probe="fexit", engine="netem", hits=7, could=7,
    outcome="failed", layer="sample",
)  # fmt: skip


def _row(text: str, begin: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {begin} |"))


def test_a_fault_that_is_found_wherever_it_acted_is_one_row_without_exceptions() -> None:
    unused = replace(EARLY, scenario="loss", hits=0, outcome="passed", layer="")
    text = tables([EARLY, unused])
    row = _row(text, "stamps early, 200 us")
    assert row == "| stamps early, 200 us | segments but the SYN are stamped before they leave | sample | 1 of 1 |  |"
    assert _row(text, "stamps early").endswith("| 200 us |")
    found, untried = text.split("### What was not tried in the whole suite")
    assert found.rstrip().endswith("Nothing of the above.")
    assert "| first-acked longer, 5 us |" not in found, "an empty row says nothing"
    assert "first-acked longer, 5 us; " in untried
    assert "stamps early, 200 us;" not in untried


def test_exceptions_are_named_by_scenario_and_by_what_they_came_to() -> None:
    missed = replace(EARLY, scenario="loss", outcome="passed", layer="")
    others = (replace(EARLY, scenario="step", layer="link"), replace(EARLY, scenario="ipv6", outcome="inconclusive"))
    lost = replace(EARLY, scenario="rtt-1ms", outcome="", error="the guest died")
    text = tables([EARLY, missed, *others, lost])
    row = _row(text, "stamps early, 200 us")
    assert "| 1 of 4 | 6.12: " in row
    for said in ("loss passed", "step link is blamed", "ipv6 inconclusive", "rtt-1ms not recorded"):
        assert said in row
    assert _row(text, "stamps early").endswith("| none |")
    assert "- stamps early, 200 us: 6.12: loss passed" in text


def test_each_kernel_has_a_column_and_a_fault_must_be_found_on_all() -> None:
    text = tables([EARLY, replace(EARLY, where="6.1", outcome="passed", layer="")])
    assert "| found in, 6.12 | found in, 6.1 |" in text
    assert "| 1 of 1 | 0 of 1 | 6.1: bbr passed |" in _row(text, "stamps early, 200 us")
    assert _row(text, "stamps early").endswith("| none |")


def test_a_fault_that_never_acted_is_a_limit() -> None:
    text = tables([replace(EARLY, hits=0, outcome="passed", layer="")])
    assert "| path not used |" in _row(text, "stamps early, 200 us")
    assert "- never acted in any scenario: stamps early, 200 us" in text


def test_a_sound_kernel_that_does_not_pass_is_counted() -> None:
    sound = replace(EARLY, fault="no fault", hits=0, outcome="passed", layer="")
    text = tables([sound, replace(sound, scenario="loss", outcome="failed", layer="link")])
    assert "1 of 2 scenarios passed" in text
