"""The tables of the saboteur's faults, from entries made by hand."""

from __future__ import annotations

from dataclasses import replace

from tests.saboteur.ledger import Entry
from tests.saboteur.table import tables

EARLY = Entry(
    where="6.12", fault="stamps early, 200 us", scenario="bbr", kernel="6.12", probe="fexit", engine="netem", hits=7,
    could=7, outcome="failed", layer="sample",
)  # fmt: skip


def _row(text: str, begin: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {begin} |"))


def test_a_fault_that_is_found_wherever_it_acted_has_no_exceptions() -> None:
    unused = replace(EARLY, scenario="loss", hits=0, outcome="passed", layer="")
    text = tables([EARLY, unused])
    assert _row(text, "stamps early") == (
        "| stamps early | segments but the SYN are stamped before they leave | sample | 200 us: A 1 of 1 |  |"
    )
    found, untried = text.split("### What was not tried in the whole suite")
    assert found.rstrip().endswith("Nothing of the above.")
    assert "| first-acked longer |" not in found, "a fault that was not tried has no row"
    assert "first-acked longer, 5 us; " in untried
    assert "stamps early, 200 us;" not in untried


def test_exceptions_are_named_by_scenario_and_result() -> None:
    missed = replace(EARLY, scenario="loss", outcome="passed", layer="")
    others = (replace(EARLY, scenario="step", layer="link"), replace(EARLY, scenario="ipv6", outcome="inconclusive"))
    lost = replace(EARLY, scenario="rtt-1ms", outcome="", error="the guest died")
    text = tables([EARLY, missed, *others, lost])
    row = _row(text, "stamps early")
    assert "| 200 us: A 1 of 4 | 200 us: A: " in row
    for result in ("loss passed", "step failed with layer link", "ipv6 inconclusive", "rtt-1ms not recorded"):
        assert result in row
    assert "- stamps early, 200 us: A: loss passed" in text


def test_sizes_of_one_kind_share_a_row() -> None:
    small = replace(EARLY, fault="stamps early, 20 us", outcome="passed", layer="")
    row = _row(tables([EARLY, small]), "stamps early")
    assert "| 20 us: A 0 of 1<br>200 us: A 1 of 1 | 20 us: A: bbr passed |" in row


def test_each_kernel_has_a_letter_and_its_own_counts() -> None:
    text = tables([EARLY, replace(EARLY, where="6.1", kernel="6.1", outcome="passed", layer="")])
    assert _row(text, "A") == "| A | 6.12 | fexit | netem | 1 | 1 | 1 | not tried |"
    assert _row(text, "B") == "| B | 6.1 | fexit | netem | 1 | 1 | 0 | not tried |"
    assert "| 200 us: A 1 of 1, B 0 of 1 | 200 us: B: bbr passed |" in _row(text, "stamps early")


def test_a_fault_that_never_acted_is_a_limit() -> None:
    text = tables([replace(EARLY, hits=0, outcome="passed", layer="")])
    assert "| 200 us: A did not act |" in _row(text, "stamps early")
    assert "- never acted in any scenario: stamps early, 200 us" in text


def test_scenarios_without_a_fault_that_do_not_pass_are_counted() -> None:
    sound = replace(EARLY, fault="no fault", hits=0, outcome="passed", layer="")
    text = tables([sound, replace(sound, scenario="loss", outcome="failed", layer="link")])
    assert _row(text, "A").endswith("| 1 of 2 (loss failed) |")
