"""Several kernels' results beside each other, on a terminal and in Markdown."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from rttcheck.report.markdown import markdown, placed
from rttcheck.report.matrix import Matrix, labels
from rttcheck.report.matrix_table import matrix_lines
from rttcheck.report.terminal import Row

KERNELS = [f"debian:{series}" for series in ("5.10", "6.1", "6.12", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3")]
NAMES = ["rtt-1ms", "rtt-300ms", "normal-jitter"]


def row(kernel: str, scenario: str, outcome: str = "passed", **more: str | int) -> dict[str, str | int | float]:
    release = f"{kernel.removeprefix('debian:')}.7-amd64"
    figures: dict[str, str | int | float] = {"p50_us": 300_030, "injected": "300ms", "kernel": release}
    return {"scenario": scenario, "asked": kernel, "outcome": outcome, "clock": "virtual", **figures, **more}


def whole(count: int = 9) -> list[dict[str, str | int | float]]:
    return [row(kernel, name) for kernel in KERNELS[:count] for name in NAMES]


def test_scenarios_go_down_and_kernels_across() -> None:
    lines = matrix_lines([row("host", "loss", p50_us=20_100), row("debian:6.1", "loss", p50_us=20_032)], 80)
    assert lines[1].split() == ["scenario", "host", "6.1"]
    assert lines[2].split() == ["loss", "20100", "20032"]
    assert any(line.startswith("6.1") and "1 passed" in line and "6.1.7-amd64, virtual clock" in line for line in lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("count", [2, 5, 9])
def test_no_line_is_too_long_and_no_kernel_is_left_out(count: int, width: int) -> None:
    rows = whole(count)
    rows[0].update(outcome="failed", guilty="sample", reason="values: " + "far too long " * 30)
    lines = matrix_lines(rows, width)
    assert max(map(len, lines)) <= max(width, 40)
    headings = " ".join(line for line in lines if line.startswith("scenario")).split()
    assert [word for word in headings if word != "scenario"] == [
        name.removeprefix("debian:") for name in KERNELS[:count]
    ]


def test_nine_kernels_with_medians_fit_a_hundred_columns() -> None:
    lines = matrix_lines(whole(), 100)
    assert lines[2].split() == ["rtt-1ms", *["300030"] * 9]


def test_what_did_not_pass_is_marked_and_its_reason_told_once_for_all_kernels() -> None:
    rows = whole(3)
    for one in rows:
        if one["scenario"] == "rtt-1ms" and one["asked"] != "debian:5.10":
            one.update(outcome="failed", guilty="sample", check="not above", reason=f"by {one['asked']}")
    rows[1].update(outcome="inconclusive", check="noise", reason="noise")
    rows.append({"scenario": "loss", "asked": "debian:6.1", "outcome": "lost", "reason": "it died:\nconsole"})
    lines = matrix_lines(rows, 100)
    cells = {line.split()[0]: line for line in lines if line}
    assert lines[0] == "medians of data samples in us; F failed, ? inconclusive, L lost"
    assert lines[2].count("F 300030") == 2
    assert "? 300030" in cells["rtt-300ms"]
    assert "L -" in next(line for line in lines if line.startswith("loss"))
    told = lines.index("FAILED sample: not above")
    assert lines[told + 1 : told + 3] == ["    6.1, 6.12: rtt-1ms", "    by debian:6.1"]
    told = lines.index("LOST")
    assert lines[told + 1 : told + 3] == ["    6.1: loss", "    it died:"]
    assert any(line.startswith("6.1 ") and "2 passed, 1 failed, 1 lost" in line for line in lines)


def test_one_check_is_told_once_for_scenarios_too_and_another_apart() -> None:
    rows = whole(2)
    for one in rows:
        one.update(outcome="failed", guilty="link", check="late", reason=f"by {one['p50_us']}")
    rows[0].update(check="lossy")
    rows[5].update(guilty="sample")
    told = {(problem.title, problem.places(labels(KERNELS), NAMES)) for problem in Matrix.of(rows).problems()}
    assert told == {
        ("link: lossy", "5.10: rtt-1ms"),
        ("link: late", "5.10: rtt-300ms, normal-jitter; 6.1: rtt-1ms, rtt-300ms"),
        ("sample: late", "6.1: normal-jitter"),
    }


def test_what_has_no_check_is_told_apart_by_its_reason() -> None:
    rows = whole(1)
    for number, one in enumerate(rows):
        one.update(outcome="error", reason=f"reason {number % 2}")
    assert [problem.where for problem in Matrix.of(rows).problems()] == [
        (("debian:5.10", ("rtt-1ms", "normal-jitter")),),
        (("debian:5.10", ("rtt-300ms",)),),
    ]


def test_a_kernel_that_was_lost_before_its_first_test_is_a_column_of_losses() -> None:
    gone: Row = {"scenario": "", "asked": "debian:6.1", "outcome": "lost", "reason": "it did not boot"}
    lines = matrix_lines([*whole(1), gone], 100)
    assert lines[1].split() == ["scenario", "5.10", "6.1"]
    assert [line.split()[-2:] for line in lines[2:5]] == [["L", "-"]] * 3
    assert "    6.1: all scenarios" in lines
    assert any(line.split() == ["6.1", "3", "lost"] for line in lines)
    alone = matrix_lines([gone, {**gone, "asked": "debian:6.12"}], 80)
    assert alone[2].split() == ["all", "L", "-", "L", "-"]


def test_only_what_did_not_pass_is_coloured_and_nothing_moves() -> None:
    rows = whole(9)
    rows[4].update(outcome="failed", guilty="link", check="late")
    for width in (40, 100):
        plain, coloured = matrix_lines(rows, width), matrix_lines(rows, width, colour=True)
        assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain
        assert "\x1b[31m" in "".join(coloured)
        assert "\x1b" not in "".join(plain)


def test_names_that_are_wide_on_a_terminal_keep_the_columns_straight() -> None:
    lines = matrix_lines([row("host", "遠い客"), row("host", "é"), row("debian:6.1", "遠い客")], 60)
    at = cell_len(lines[1].partition("host")[0]) + len("host")
    assert [cell_len(line.partition("300030")[0]) + len("300030") for line in lines[2:4]] == [at, at]
    assert all(cell_len(line) <= 40 for line in matrix_lines([row("host", "遠" * 40), row("x", "é" * 80)], 40))


def test_medians_give_way_as_soon_as_they_do_not_fit_and_no_sooner() -> None:
    needed = max(map(len, matrix_lines(whole(), 200)[1:5]))
    assert "300030" in matrix_lines(whole(), needed)[2]
    assert "300030" not in matrix_lines(whole(), needed - 1)[2]


def test_a_heading_that_is_wide_on_a_terminal_keeps_its_column_straight() -> None:
    lines = matrix_lines([row("./遠い客遠い客", "loss"), row("debian:6.1", "loss")], 60)
    assert cell_len(lines[1]) == cell_len(lines[2])


def test_a_line_that_is_cut_has_no_half_of_a_colour() -> None:
    rows = [row("host", "x" * 60, "failed"), row("debian:6.1", "x" * 60, "failed")]
    for line in matrix_lines(rows, 40, colour=True):
        assert cell_len(re.sub(r"\x1b\[\d+m", "", line)) <= 40
        assert line.count("\x1b[31m") == line.count("\x1b[0m")


def test_a_scenario_that_ran_twice_is_told_twice() -> None:
    matrix = Matrix.of([row("host", "a"), row("host", "a", "failed")])
    assert matrix.scenarios == ("a", "a #2")


def test_labels_are_short_and_tell_kernels_apart() -> None:
    assert labels(["host", "debian:6.1", "./linux/arch/x86/boot/bzImage"]) == {
        "host": "host",
        "debian:6.1": "6.1",
        "./linux/arch/x86/boot/bzImage": "bzImage",
    }
    assert labels(["a/bzImage", "b/bzImage"]) == {"a/bzImage": "a/bzImage", "b/bzImage": "b/bzImage"}


def test_nothing_gives_nothing() -> None:
    assert matrix_lines([], 80) == []
    assert "No scenario" in markdown([])


def test_labels_that_are_too_long_are_cut_and_still_differ() -> None:
    kernels = [f"linux-{name}/arch/x86/boot/bzImage-{'x' * 20}" for name in ("a", "b", "c")]
    found = labels(kernels)
    assert len(set(found.values())) == 3
    assert max(map(len, found.values())) <= 18


def test_markdown_is_a_table_with_details() -> None:
    rows = whole(2)
    rows[3].update(
        outcome="failed", guilty="link", check="*late*", reason="a | b <tag> ```x```", reproduce="rttcheck run rtt-1ms"
    )
    rows[4].update(scenario="a|b`*c*<d>")
    facts = [{"asked": "debian:6.1", "seconds": 31.2, "seconds_to_first_test": 7.5, "losses": ["it hung\nPANIC"]}]
    lines = markdown(rows, facts).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == "| scenario | injected | 5.10 | 6.1 |"
    assert table[2] == "| rtt-1ms | 300ms | 300030 | **FAILED** 300030 |"
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table[:6]} == {5}
    assert r"| a\|b\`\*c\*&lt;d&gt; | 300ms |  | 300030 |" in table
    assert any("31.2 s, 7.5 s of it to the first test; its guest was lost once" in line for line in table)
    told = lines.index("<details><summary>failed link: *late* (6.1: rtt-1ms)</summary>")
    # A fence inside a reason does not end the block.
    assert lines[told + 2 : told + 5] == ["````", "a | b <tag> ```x```", "````"]
    assert lines[told + 6 : told + 9] == ["```", "rttcheck run rtt-1ms", "```"]
    assert lines[lines.index("<details><summary>6.1: guest lost</summary>") + 3 :][:2] == ["it hung", "PANIC"]


def test_a_summary_stays_small_however_much_went_wrong() -> None:
    rows = whole(9)
    for number, one in enumerate(rows):
        one.update(outcome="failed", check="late", reason="x" * 100_000, reproduce=f"rttcheck run {number}")
    facts = [{"asked": kernel, "losses": ["y" * 100_000] * 2} for kernel in KERNELS]
    text = markdown(rows, facts)
    assert len(text) < 100_000
    assert "# and 17 more" in text


def test_the_table_takes_its_place_in_a_document() -> None:
    document = "# Kernels\n\n<!-- matrix -->\nold\n<!-- /matrix -->\n\nWhat was found.\n"
    once = placed("new\n", document)
    assert once == "# Kernels\n\n<!-- matrix -->\nnew\n<!-- /matrix -->\n\nWhat was found.\n"
    assert placed("new\n", once) == once
    assert placed("new\n", "old\n") == "new\n"
    assert placed("new\n", "<!-- matrix -->\nits end is missing\n") == "new\n"
