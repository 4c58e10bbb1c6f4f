"""Histograms of tcprtt and bpftrace, as they were really printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.nettrace.message import AnalyzerError
from rttcheck.nettrace.tool_table import Row, ToolTable, parse_bpftrace, parse_tcprtt
from rttcheck.record.histogram import Histogram, Unit

CAPTURES = Path(__file__).parents[2] / "data" / "observers" / "linux-6.12.111"


def test_tcprtt_of_all_addresses_is_one_table_in_microseconds() -> None:
    (table,) = parse_tcprtt((CAPTURES / "tcprtt-libbpf.txt").read_text())
    assert (table.name, table.unit, table.average, table.total) == ("All Addresses = ******", Unit.US, 22_359, 83)
    assert table.rows[-1] == Row(16_384, 32_767, 83)
    assert table.as_histogram(Unit.US) == Histogram.of([20_000] * 83, Unit.US)


def test_tcprtt_by_address_is_a_table_each_in_milliseconds() -> None:
    tables = parse_tcprtt((CAPTURES / "tcprtt-libbpf-ms-byraddr.txt").read_text())
    assert [(table.name, table.average, table.total) for table in tables] == [
        ("Remote Address = 10.9.0.1", 22, 31),
        ("Remote Address = 10.9.0.2", 22, 31),
    ]
    assert tables[0].as_histogram(Unit.MS) == Histogram.of([20_000] * 31, Unit.MS)


def test_bpftraces_log2_histogram_is_ours_without_the_calls_that_had_no_sample() -> None:
    by_name = {table.name: table for table in parse_bpftrace((CAPTURES / "bpftrace-kprobe-hist.txt").read_text())}
    table = by_name["h"]
    assert table.rows[0] == Row(None, -1, 2)
    assert table.rows[1] == Row(0, 0, 0)
    assert table.rows[-1] == Row(32_768, 65_535, 1)
    assert table.total == 86
    assert table.as_histogram(Unit.US) == Histogram.of([20_000] * 83 + [40_000], Unit.US)


def test_bpftraces_linear_histogram_has_rows_of_one_millisecond() -> None:
    by_name = {table.name: table for table in parse_bpftrace((CAPTURES / "bpftrace-kprobe-hist.txt").read_text())}
    linear = by_name["us"]
    assert linear.total == 86
    assert linear.rows[-1] == Row(64_000, 64_999, 1)
    with pytest.raises(AnalyzerError, match=r"from 0 to 999 .* fits into no log2 bucket"):
        linear.as_histogram(Unit.US)


def test_a_table_is_not_taken_for_another_unit_than_it_says() -> None:
    table = ToolTable(name="t", unit=Unit.MS, rows=(Row(16, 31, 1),))
    with pytest.raises(AnalyzerError, match="'t' is in ms and was asked for in us"):
        table.as_histogram(Unit.US)


def test_the_overflow_bucket_takes_all_rows_above() -> None:
    table = ToolTable(name="t", unit=None, rows=(Row(65_536, 131_071, 2), Row(131_072, None, 3)))
    assert table.as_histogram(Unit.US).counts[16] == 5


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_tcprtt, "Tracing TCP RTT for 8 secs.\n\nfailed to load BPF\n"),
        (parse_tcprtt, "         0 -> 1          : 0        |          |\n"),
        (parse_bpftrace, "Attaching 1 probe...\nERROR: no\n"),
        (parse_bpftrace, "[0, 1000)              0 |     |\n"),
    ],
)
def test_a_line_that_is_no_part_of_a_table_is_refused_with_its_number(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(AnalyzerError, match=r"line \d was expected to be a line of"):
        parse(text)
