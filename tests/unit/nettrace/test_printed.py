"""Real outputs of nettrace, read whole and printed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.nettrace.event_line import EMPHASIS
from rttcheck.nettrace.message import COLOUR_CODE, AnalyzerError, Dialect
from rttcheck.nettrace.printed import PrintedTrace
from rttcheck.record.histogram import HistogramError, Unit

OBSERVERS = Path(__file__).parents[2] / "data" / "observers"
CAPTURES = sorted(OBSERVERS.glob("*/nettrace-*.txt"))


def capture(name: str) -> PrintedTrace:
    return PrintedTrace.parse((OBSERVERS / name).read_text())


def test_there_are_captures_of_both_versions_and_both_kernels() -> None:
    assert len(CAPTURES) == 9


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_capture_is_read_and_its_parts_printed_the_same(path: Path) -> None:
    text = path.read_text()
    plain = COLOUR_CODE.sub("", text)
    read = PrintedTrace.parse(text)
    assert read.ended
    assert read.tables or read.lines
    printed = "".join(table.render() for table in read.tables)
    printed += "".join(f"{line.render()}\n" for line in read.lines)
    kept = [line for line in plain.splitlines() if line.startswith(("[", " ", "rtt distribution"))]
    assert printed.splitlines() == kept


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_capture_holds_no_more_than_its_own_total(path: Path) -> None:
    read = PrintedTrace.parse(path.read_text())
    assert read.total is not None
    assert read.skipped == 0
    assert read.lost is None
    assert len(read.lines) <= read.total
    if read.tables:
        assert read.tables[-1].total == read.total


def test_the_older_versions_colours_are_printed_as_they_were() -> None:
    path = OBSERVERS / "linux-6.12.111" / "nettrace-1.2.11-a-rtt-detail.txt"
    lines = [line for line in path.read_text().splitlines() if "tcp_ack_update_rtt" in line]
    read = PrintedTrace.parse(path.read_text())
    assert len(lines) == 6
    assert [line.render(colour=EMPHASIS) for line in read.lines] == lines


def test_the_two_versions_speak_different_dialects() -> None:
    older = capture("linux-6.12.111/nettrace-1.2.11-a-rtt-detail.txt")
    newer = capture("linux-6.12.111/nettrace-head-rtt-detail.txt")
    assert {line.message.dialect for line in older.lines if line.message} == {Dialect.WHOLE}
    assert {line.message.dialect for line in newer.lines if line.message} == {Dialect.DECIMAL}
    assert older.lines[0].message is not None
    assert older.lines[0].message.first_us == 20_000
    assert newer.lines[0].message is not None
    assert newer.lines[0].message.first_us == 20_781


def test_a_table_in_microseconds_that_says_ms_is_read_as_it_says() -> None:
    last = capture("linux-6.1.192/nettrace-head-rtt.txt").tables[-1]
    assert last.unit is Unit.MS
    assert last.total == 204
    assert last.counts[14:16] == (202, 2)


def test_a_long_line_says_processor_process_and_namespace() -> None:
    line = capture("linux-6.12.111/nettrace-head-rtt-detail-detail.txt").lines[2]
    assert line.circumstances is not None
    assert (line.circumstances.cpu, line.circumstances.process, line.circumstances.pid) == (1, "ksoftirqd/1", 27)
    assert (line.circumstances.interface, line.circumstances.netns, line.circumstances.key) == ("", 0, 0)


def test_an_event_that_was_printed_after_the_end_is_one_of_the_run() -> None:
    read = capture("linux-6.1.192/nettrace-head-rtt-detail.txt")
    assert read.ended
    assert read.lines[-1].timestamp_us == 36_359_617


def test_a_filter_of_30_ms_left_one_event_of_64_ms() -> None:
    read = capture("linux-6.12.111/nettrace-head-filter-srtt-30.txt")
    assert [line.message.first_us for line in read.lines if line.message] == [64_455]


def test_a_lost_count_is_read() -> None:
    assert (
        PrintedTrace.parse("begin trace...\nend trace...\ntotal event: 3, 0 context skipped\nlost event: 2\n").lost == 2
    )


def test_a_line_that_belongs_nowhere_is_refused_with_its_number() -> None:
    with pytest.raises(AnalyzerError, match=r"line 2 .* found 'Segmentation fault'"):
        PrintedTrace.parse("begin trace...\nSegmentation fault\n")


def test_a_broken_table_is_refused_with_the_line_it_begins_in() -> None:
    text = (OBSERVERS / "linux-6.12.111" / "nettrace-1.2.11-a-rtt.txt").read_text()
    with pytest.raises(HistogramError, match=r"begins in line 63 cannot be read: line 6 of a table is"):
        PrintedTrace.parse(text[:3300] + text[3300:].replace("0.9761", "0.9760", 1))
