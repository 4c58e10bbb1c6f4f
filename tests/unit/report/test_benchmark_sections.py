"""The sections of docs/performance.md, which benchmarks replace one at a time, and the rows of what probes cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import summary
from benchmarks.__main__ import SECTIONS
from benchmarks.document import NoPlace, replaced
from benchmarks.probe_cost import SEGMENT, SEGMENTS, Cost, Measured, rows

DOCUMENT = Path(__file__).parents[3] / "docs" / "performance.md"


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_has_its_place_in_the_document(name: str) -> None:
    text = DOCUMENT.read_text()
    for mark in (f"<!-- measured: {name} -->", f"<!-- /measured: {name} -->"):
        assert text.split("\n").count(mark) == 1


def test_the_readmes_figures_are_those_of_the_document() -> None:
    readme = (DOCUMENT.parents[1] / "README.md").read_text()
    assert replaced(readme, "summary", summary.lines(DOCUMENT.read_text())) == readme


def test_a_figure_that_was_not_measured_is_told() -> None:
    with pytest.raises(ValueError, match=r"a guest's suite when all is installed.* run `make bench`"):
        summary.lines("nothing")


def test_a_section_is_replaced_and_nothing_else() -> None:
    text = (
        "a\n<!-- measured: one -->\nold\n<!-- /measured: one -->\nb\n<!-- measured: two -->\n<!-- /measured: two -->\n"
    )
    once = replaced(text, "one", ["new", "rows"])
    assert once == text.replace("old\n", "new\nrows\n")
    assert replaced(once, "one", ["old"]) == text


def test_a_section_without_its_marks_names_them() -> None:
    with pytest.raises(NoPlace, match="<!-- /measured: three -->"):
        replaced("<!-- measured: three -->\n", "three", [])


def test_rows_of_what_probes_cost() -> None:
    sent = SEGMENTS * SEGMENT
    measured = Measured(
        kernel="6.12",
        versions={"bpftrace": "0.17"},
        costs=(
            Cost(
                name="fexit",
                hook="return",
                records="all",
                programs=4,
                events=2_000,
                ran_ns=3_000_000,
                without_ns=100_000_000,
                with_ns=104_000_000,
            ),
            Cost(name="tool", hook="entry", records="little", why_not="not installed: apt install tool"),
        ),
    )
    *_, ours, missing = rows(measured)
    assert ours == (
        f"| fexit | return | 4 | 2,000 | 2,000 | 1,500 | {sent / 100_000:.1f}, {sent / 104_000:.1f} | all |"
    )
    assert missing == "| tool | entry | | | | | | not measured: not installed: apt install tool |"
