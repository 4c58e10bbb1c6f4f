"""The summary of a run as a person reads it: columns, reasons, narrow terminals."""

from __future__ import annotations

import pytest

from rttcheck.report.terminal import Row, machine, paint, summary_lines, tally


def row(name: str, outcome: str = "passed", **changes: str | int | float) -> Row:
    return {
        "scenario": name,
        "outcome": outcome,
        "guilty": "",
        "reason": "",
        "injected": "40ms",
        "samples": 122,
        "min_us": 40_021,
        "p50_us": 40_035,
        "max_us": 40_101,
        "bucket": "32-63ms",
        "lost": 0,
        "kernel": "6.12.111",
        "clock": "virtual",
        "engine": "netem",
        "probe": "fexit",
        "recording": "",
        **changes,
    }


FAILED = row("far", "failed", guilty="link", reason="netem delays 19 ms and 20 ms were asked for", min_us=39_000)


def test_a_passed_scenario_is_one_line_with_its_times_in_microseconds() -> None:
    heading, names, line, count = summary_lines([row("rtt-40ms")], 100)
    assert heading == "kernel 6.12.111, virtual clock, engine netem, probe fexit"
    assert names.split() == ["scenario", "injected", "samples", "min", "us", "p50", "us", "max", "us", "bucket"]
    assert line.split() == ["passed", "rtt-40ms", "40ms", "122", "40021", "40035", "40101", "32-63ms"]
    assert count == "1 passed"


def test_what_did_not_pass_says_the_guilty_layer_and_the_reason_below_its_line() -> None:
    lines = summary_lines([row("near"), FAILED], 100)
    assert lines[3].startswith("FAILED")
    assert lines[4] == "    link: netem delays 19 ms and 20 ms were asked for"
    assert lines[-1] == "1 passed, 1 failed"


def test_numbers_stand_below_each_other() -> None:
    lines = summary_lines([row("a", min_us=7), row("long-name", min_us=1_234_567)], 120)
    ends = {line.index(number) + len(number) for line, number in zip(lines[2:], ("  7 ", " 1234567 "), strict=False)}
    assert len(ends) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = [row("a-scenario-with-quite-a-long-name"), FAILED, row("step", injected="20ms, 80ms, 20ms", lost=2)]
    assert max(map(len, summary_lines(rows, width))) <= width


def test_columns_give_way_on_a_narrow_terminal_and_the_median_stays() -> None:
    names, line, _ = summary_lines([row("rtt-40ms", injected="20ms, 80ms, 20ms")], 48)[-3:]
    assert "p50 us" in names
    assert "samples" not in names
    assert "40035" in line


def test_what_kernels_differ_in_becomes_a_column_and_the_rest_stays_in_the_heading() -> None:
    heading, names, first, second, _ = summary_lines([row("a"), row("a", kernel="6.1.192")], 120)
    assert heading == "virtual clock, engine netem, probe fexit"
    assert names.endswith("kernel")
    assert (first.split()[-1], second.split()[-1]) == ("6.12.111", "6.1.192")


def test_lost_events_have_a_column_as_soon_as_there_are_any() -> None:
    assert "lost" not in summary_lines([row("a")], 120)[1]
    lines = summary_lines([row("a"), row("b", lost=3)], 120)
    assert lines[1].endswith("lost")
    assert lines[3].endswith("3")


def test_what_was_never_measured_is_a_dash_and_no_number() -> None:
    lines = summary_lines([{"scenario": "a", "outcome": "inconclusive", "min_us": -1}], 120)
    line = next(line for line in lines if line.startswith("inconclusive"))
    assert line.split() == ["inconclusive", "a", "-", "-", "-", "-", "-"]


def test_no_rows_give_no_lines() -> None:
    assert summary_lines([], 80) == []


def test_the_tally_counts_each_outcome_and_leaves_out_what_nobody_came_to() -> None:
    rows = [row("a"), row("b", "inconclusive"), row("c", "failed"), row("d")]
    assert tally(rows) == "2 passed, 1 failed, 1 inconclusive"


def test_the_machine_is_what_all_rows_agree_on() -> None:
    assert machine([row("a"), row("b", clock="real")]) == "kernel 6.12.111, engine netem, probe fexit"


def test_only_the_outcome_at_the_beginning_of_a_line_is_painted() -> None:
    assert paint("FAILED  far  passed ") == "\x1b[31mFAILED\x1b[0m  far  passed "
    assert paint("    passed on by the link") == "    passed on by the link"
