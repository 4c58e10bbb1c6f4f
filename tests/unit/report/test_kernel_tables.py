"""The tables of docs/kernels.md, made of recordings of one kernel that are given the names of several."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels import BEGIN, END, QUEUE, QUIET, Suite, link, queue, settings, stages, suites, tables, version
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.samples import Side
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording

RECORDINGS = Path(__file__).parents[2] / "faults/recordings"
OLD, NEW = "5.10.0-46-amd64", "6.12.117+deb13-amd64"


def of_kernel(source: str, name: str, kernel: str) -> Recording:
    """A recording as another kernel's, of another scenario."""
    recording = Recording.load(RECORDINGS / f"{source}.rttrec")
    return replace(recording, kernel=kernel, scenario={**recording.scenario, "name": name})


def later(recording: Recording, by_us: int) -> Recording:
    """The same with every segment stamped that much earlier than it was: only the sender takes longer."""
    events = recording.events.copy()
    for field in ("first_rtt_us", "last_rtt_us", "sample_us", "rs_rtt_us"):
        events[field] = np.where(events[field] >= 0, events[field] + by_us, events[field])
    return replace(recording, events=events)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line][2:]


def test_kernels_are_in_the_order_of_their_versions() -> None:
    releases = ["7.3.4+deb13-amd64", "6.12.117+deb13-amd64", "6.1.0-56-amd64", "5.10.0-46-amd64"]
    assert sorted(releases, key=version) == releases[::-1]


def test_recordings_are_found_by_their_kernel_and_scenario(tmp_path: Path) -> None:
    older = "6.9.12-amd64"
    for kernel in (NEW, older):
        for name in (QUEUE, QUIET):
            of_kernel("ping-pong", name, kernel).save(tmp_path / kernel / f"{name}.rttrec")
    found = suites(tmp_path)
    assert list(found) == [older, NEW]
    assert list(found[older]) == [QUIET, QUEUE], "the library's order"


def test_what_a_kernel_takes_longer_is_in_its_stage_alone() -> None:
    quiet = of_kernel("ping-pong", QUIET, OLD)
    slow = later(of_kernel("ping-pong", QUIET, NEW), 7)
    client, server, slow_client, slow_server = cells(stages({OLD: {QUIET: quiet}, NEW: {QUIET: slow}}))
    assert [row[:2] for row in (client, server, slow_client)] == [
        ["5.10", "client"],
        ["5.10", "server"],
        ["6.12", "client"],
    ]
    for before, after in ((client, slow_client), (server, slow_server)):
        assert int(after[2]) - int(before[2]) == 7
        assert float(after[3]) - float(before[3]) == pytest.approx(7.0)
        assert after[4:8] == before[4:8]


def test_a_link_is_told_by_what_it_takes_over_its_delay() -> None:
    recording = of_kernel("ping-pong", QUIET, OLD)
    evidence = Evidence.of(recording)
    (row, _) = cells(stages({OLD: {QUIET: recording}}))
    assert row[2] == str(int(np.median(evidence.values_us[evidence.data & (evidence.sides == Side.CLIENT)])))
    over = [float(cell) for cell in row[3:8]]
    assert all(0 < one < 40 for one in over)
    # 40 ms are injected, and medians of parts add up to that of the whole but for their own spread.
    assert sum(over) == pytest.approx(float(row[2]) - 40_000, abs=2.0)


def test_what_the_link_takes_is_told_by_direction_and_of_data_apart() -> None:
    quiet = of_kernel("ping-pong", QUIET, OLD)
    wire = quiet.wire.copy()
    wire["time_ns"][(wire["point"] == Point.LINK_FAR) & (wire["outgoing"] == 1) & (wire["payload"] > 0)] += 3_000
    before, after = cells(link({OLD: {QUIET: quiet}, NEW: {QUIET: replace(quiet, kernel=NEW, wire=wire)}}))
    changes = [float(one) - float(other) for one, other in zip(after[1:], before[1:], strict=True)]
    assert changes == pytest.approx([3.0, 0.0, 0.0, 0.0], abs=0.05)
    assert all(0 < float(cell) < 40 for cell in before[1:])


def test_only_settings_that_differ_are_told() -> None:
    one = of_kernel("ping-pong", QUIET, OLD)
    name = next(iter(one.sysctls))
    other = replace(one, kernel=NEW, sysctls={**one.sysctls, name: "another", "net.ipv4.new": "1"})
    assert cells(settings({OLD: {QUIET: one}, NEW: {QUIET: other}})) == sorted(
        [[name, one.sysctls[name], "another"], ["net.ipv4.new", "absent", "1"]]
    )


def test_a_kernel_without_a_scenario_is_left_out_of_its_table_only() -> None:
    kernels: dict[str, Suite] = {
        OLD: {QUIET: of_kernel("ping-pong", QUIET, OLD)},
        NEW: {QUEUE: of_kernel("loss", QUEUE, NEW)},
    }
    assert [row[0] for row in cells(queue(kernels))] == ["6.12"]
    text = tables(kernels)
    assert "| 5.10 | client |" in text
    assert "| 6.12 | client |" not in text


def test_the_tables_take_their_place_in_a_file(tmp_path: Path) -> None:
    of_kernel("ping-pong", QUIET, OLD).save(tmp_path / "in" / OLD / "one.rttrec")
    document = tmp_path / "kernels.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    command = [sys.executable, "-m", "benchmarks.kernels", str(tmp_path / "in"), "--write", str(document)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN}\n## Verdicts")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text


def test_a_directory_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no recordings"):
        suites(tmp_path)
