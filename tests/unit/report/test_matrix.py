"""Several kernels' results beside each other, on a terminal and in Markdown."""

from __future__ import annotations

import pytest

from rttcheck.report.markdown import markdown
from rttcheck.report.matrix import Matrix, labels
from rttcheck.report.matrix_table import matrix_lines

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
            one.update(outcome="failed", guilty="sample", reason=f"too long: by {one['asked']}")
    rows[1].update(outcome="inconclusive", reason="noise")
    rows.append({"scenario": "loss", "asked": "debian:6.1", "outcome": "lost", "reason": "it died:\nconsole"})
    lines = matrix_lines(rows, 100)
    cells = {line.split()[0]: line for line in lines if line}
    assert "F 300030  F 300030" in " ".join(lines[2].split(" ")) or lines[2].count("F 300030") == 2
    assert "? 300030" in cells["rtt-300ms"]
    assert "L -" in next(line for line in lines if line.startswith("loss"))
    assert "FAILED rtt-1ms on 6.1, 6.12: sample: too long: by debian:6.1" in lines
    assert "LOST loss on 6.1: it died" in lines
    assert any(line.startswith("6.1 ") and "2 passed, 1 failed, 1 lost" in line for line in lines)


def test_different_reasons_are_told_apart() -> None:
    rows = [
        row("host", "loss", "failed", guilty="link", reason="a check: x"),
        row("debian:6.1", "loss", "failed", guilty="link", reason="another check: x"),
    ]
    assert len(Matrix.of(rows).problems()) == 2


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


def test_markdown_is_a_table_with_details() -> None:
    rows = whole(2)
    rows[3].update(outcome="failed", guilty="link", reason="late: a | b <tag> ```x```")
    facts = [{"asked": "debian:6.1", "seconds": 31.2, "seconds_to_first_test": 7.5, "losses": ["x"]}]
    lines = markdown(rows, facts).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == "| scenario | injected | 5.10 | 6.1 |"
    assert table[2] == "| rtt-1ms | 300ms | 300030 | **FAILED** 300030 |"
    assert {line.count("|") for line in table[:5]} == {5}
    assert any("31.2 s, 7.5 s of them to the first test" in line and "lost 1 times" in line for line in table)
    assert "<details><summary>rtt-1ms: failed on 6.1, the link layer</summary>" in lines
    assert "````" in lines  # a fence inside a reason does not end the block
