"""A recording comes back as it was written, and half a recording is never taken for a whole one."""

from __future__ import annotations

import dataclasses
import errno
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rttcheck.errors import RecordingError
from rttcheck.judge.verdict import judge
from rttcheck.record.archive import SCHEMA, Archive
from rttcheck.record.event import EVENT, Owned
from rttcheck.record.packet import WIRE
from rttcheck.record.recording import Recording, StepTaken
from rttcheck.record.tick import TICK
from rttcheck_netns.relay.packets import PACKET


def planted(events: int = 3) -> Recording:
    table = np.zeros(events, EVENT)
    table["sample_us"] = 40_035 + np.arange(events)
    wire = np.zeros(2 * events, WIRE)
    wire["seq"] = np.arange(2 * events)
    return Recording(
        scenario={"name": "forty", "rtt": "40ms"},
        kernel="6.12.0",
        clock="virtual",
        engine="netem",
        probe="fexit",
        events=table,
        histograms={"us": np.arange(17, dtype=np.uint64), "ms": np.zeros(17, np.uint64)},
        lost=0,
        control=table[:1],
        wire=wire,
        wire_facts={"points": {"client": {"captured": 6, "dropped": 1}}, "clock_step_ns": 3},
        control_wire=wire[:1],
        control_runs=(1, 0),
        noise=np.array([(997_000, 12, 1)], TICK),
        noise_facts={"period_ns": 997_000, "control": [{"count": 0}]},
        relay=np.array([(5, 9, 10, 66, 0, 1, 0, 0)], PACKET),
        packets=bytes(range(256)),
        control_flows=({"client": ["10.0.0.1", 4712], "server": ["10.0.1.1", 80]},),
        flows=({"client": ["10.0.0.1", 4711], "server": ["10.0.1.1", 80]},),
        steps=(StepTaken(at_ns=12_345, index=0),),
        sysctls={"net.ipv4.tcp_sack": "1"},
        kernel_log={"records": [[0, 4, 7, 123, "said"]], "lost": 2, "unseen": "", "shared": True, "allowed": []},
    )


def test_a_recording_comes_back_as_it_was_written(tmp_path: Path) -> None:
    before = planted()
    after = Recording.load(before.save(tmp_path / "deep" / "forty.rttrec"))
    for name in (field.name for field in dataclasses.fields(Recording)):
        one, other = getattr(before, name), getattr(after, name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes(), name
        elif name == "histograms":
            assert {unit: list(counts) for unit, counts in one.items()} == {
                unit: list(counts) for unit, counts in other.items()
            }
        else:
            assert one == other, name


def test_saving_leaves_one_file_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "forty.rttrec"
    planted(1).save(path)
    planted(5).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["forty.rttrec"]
    assert len(Recording.load(path).events) == 5


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted(1).save(tmp_path / "forty.rttrec")

    def no_space(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(RecordingError, match="No space left on device"):
        planted(5).save(path)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["forty.rttrec"]
    assert len(Recording.load(path).events) == 1


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no recording .*gone\.rttrec"):
        Recording.load(tmp_path / "gone.rttrec")


@pytest.mark.parametrize("keep", [0, 10, 400, -30])
def test_a_file_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    path = planted(200).save(tmp_path / "forty.rttrec")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RecordingError, match="not a whole recording"):
        Recording.load(path)


@pytest.mark.parametrize("member", ["events.npy", "packets.pcapng"])
def test_a_flipped_bit_is_refused(tmp_path: Path, member: str) -> None:
    path = planted(200).save(tmp_path / "forty.rttrec")
    with zipfile.ZipFile(path) as archive:
        found = archive.getinfo(member)
    content = bytearray(path.read_bytes())
    # In the middle of its compressed bytes, past its header and its name.
    content[found.header_offset + 30 + len(member) + found.compress_size // 2] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(RecordingError, match=rf"not a whole recording .*({member}|decompress)"):
        getattr(Recording.load(path), member.partition(".")[0])


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_recording_of_a_newer_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = planted().save(tmp_path / "forty.rttrec")

    def newer(members: dict[str, bytes]) -> None:
        header = json.loads(members["recording.json"])
        members["recording.json"] = json.dumps({**header, "schema": SCHEMA + 1}).encode()

    rewrite(path, newer)
    with pytest.raises(RecordingError, match=rf"schema {SCHEMA + 1} .* reads up to {SCHEMA}"):
        Recording.load(path)


def test_a_recording_without_a_table_is_refused(tmp_path: Path) -> None:
    path = planted().save(tmp_path / "forty.rttrec")

    def shorter(members: dict[str, bytes]) -> None:
        del members["events.npy"]

    rewrite(path, shorter)
    with pytest.raises(RecordingError, match=r"events\.npy"):
        Recording.load(path)


def test_any_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """The archive's own dates and the like may flip unseen; what is read is under checksums."""
    path = planted().save(tmp_path / "forty.rttrec")
    whole, before = path.read_bytes(), (planted().events.tobytes(), planted().packets)
    refused = 0
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            after = Recording.load(path)
            assert (after.events.tobytes(), after.packets) == before
        except RecordingError:
            refused += 1
    assert refused > len(whole) // 5 // 2


@pytest.mark.parametrize("change", [{"flows": None}, {"steps": [[1, 2, 3]]}, {"scenario": ...}])
def test_a_header_that_lacks_something_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = planted().save(tmp_path / "forty.rttrec")

    def poorer(members: dict[str, bytes]) -> None:
        header = {**json.loads(members["recording.json"]), **change}
        members["recording.json"] = json.dumps(
            {key: value for key, value in header.items() if value is not ...}
        ).encode()

    rewrite(path, poorer)
    with pytest.raises(RecordingError, match="not a whole recording"):
        Recording.load(path)


def test_a_recording_from_before_there_were_packets_has_none(tmp_path: Path) -> None:
    path = planted().save(tmp_path / "forty.rttrec")

    def older(members: dict[str, bytes]) -> None:
        header = json.loads(members["recording.json"])
        for name in ("wire_facts", "control_flows", "packets_bytes", "kernel_log"):
            del header[name]
        for name in ("wire.npy", "control_wire.npy", "packets.pcapng"):
            del members[name]
        members["recording.json"] = json.dumps({**header, "schema": 1}).encode()

    rewrite(path, older)
    recording = Recording.load(path)
    assert recording.wire.dtype == recording.control_wire.dtype == WIRE
    assert (len(recording.wire), len(recording.control_wire), recording.wire_facts) == (0, 0, {})
    assert (len(recording.events), recording.packets, recording.kernel_log) == (3, b"", {})


def test_a_recording_without_a_file_for_wireshark_is_whole(tmp_path: Path) -> None:
    path = dataclasses.replace(planted(), packets=b"").save(tmp_path / "forty.rttrec")
    with zipfile.ZipFile(path) as archive:
        assert "packets.pcapng" not in archive.namelist()
    assert Recording.load(path).packets == b""

    def before_there_was_one(members: dict[str, bytes]) -> None:
        header = json.loads(members["recording.json"])
        del header["packets_bytes"]
        members["recording.json"] = json.dumps(header).encode()

    rewrite(path, before_there_was_one)
    assert len(Recording.load(path).wire) == 6


def test_missing_packets_that_the_header_lists_are_an_error(tmp_path: Path) -> None:
    path = planted().save(tmp_path / "forty.rttrec")

    def poorer(members: dict[str, bytes]) -> None:
        del members["packets.pcapng"]

    rewrite(path, poorer)
    with pytest.raises(RecordingError, match=r"not a whole recording .*packets\.pcapng"):
        Recording.load(path)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = dataclasses.replace(planted(), wire=np.zeros(1, np.uint8)).save(tmp_path / "forty.rttrec")
    with pytest.raises(RecordingError, match=r"the table wire of .* holds uint8 without names of columns"):
        Recording.load(path)


def test_a_column_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    layout = [(name, "<f8" if name == "time_ns" else of, *shape) for name, of, *shape in WIRE.descr]
    path = dataclasses.replace(planted(), wire=np.zeros(1, layout)).save(tmp_path / "forty.rttrec")
    with pytest.raises(RecordingError, match=r"the column time_ns holds float64 where int64 was expected"):
        Recording.load(path)


def test_a_column_that_every_version_wrote_may_not_be_missing(tmp_path: Path) -> None:
    wire = np.zeros(2, [column for column in WIRE.descr if column[0] != "window"])
    path = dataclasses.replace(planted(), wire=wire).save(tmp_path / "forty.rttrec")
    with pytest.raises(RecordingError, match=r"the table wire of .*: the column window is missing"):
        Recording.load(path)


def test_events_from_before_the_probe_read_the_owner_have_it_unknown(tmp_path: Path) -> None:
    layout = [("reserved" if name == "owned" else name, *rest) for name, *rest in EVENT.descr]
    events = np.zeros(3, dtype=layout)
    path = dataclasses.replace(planted(), events=events, control=events).save(tmp_path / "forty.rttrec")
    recording = Recording.load(path)
    assert recording.events.dtype == recording.control.dtype == EVENT
    assert set(recording.events["owned"]) == {Owned.UNKNOWN}


def test_a_recording_from_before_noise_was_measured_has_none(tmp_path: Path) -> None:
    path = planted().save(tmp_path / "forty.rttrec")

    def older(members: dict[str, bytes]) -> None:
        header = json.loads(members["recording.json"])
        for name in ("control_runs", "noise_facts"):
            del header[name]
        for name in ("noise.npy", "relay.npy"):
            del members[name]
        members["recording.json"] = json.dumps({**header, "schema": 3}).encode()

    rewrite(path, older)
    recording = Recording.load(path)
    assert (recording.noise.dtype, recording.relay.dtype) == (TICK, PACKET)
    assert (len(recording.noise), len(recording.relay), recording.noise_facts, recording.control_runs) == (0, 0, {}, ())
    assert len(recording.events) == 3


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The members that were read to their end, in order."""
    found: list[str] = []
    array, packets = Archive._array, Archive.packets

    def counted(self: Archive, name: str) -> np.ndarray:
        found.append(name)
        return array(self, name)

    monkeypatch.setattr(Archive, "_array", counted)

    def frames(self: Archive) -> bytes:
        found.append("packets")
        return packets(self)

    monkeypatch.setattr(Archive, "packets", frames)
    return found


def test_a_table_is_read_when_it_is_asked_for_and_once(tmp_path: Path, read: list[str]) -> None:
    recording = Recording.load(planted().save(tmp_path / "forty.rttrec"))
    assert (recording.kernel, recording.absent, read) == ("6.12.0", frozenset(), [])
    assert recording.wire is recording.wire
    assert len(recording.packets) == 256
    assert recording.histograms["us"].tolist() == list(range(17))
    assert read == ["wire", "packets", "histogram_us", "histogram_ms"]


def test_a_recording_can_forget_its_tables_and_read_them_again(tmp_path: Path, read: list[str]) -> None:
    recording = Recording.load(planted().save(tmp_path / "forty.rttrec"))
    before = recording.events
    alone = recording.header_alone()
    assert (alone.scenario, alone.flows, read) == (recording.scenario, recording.flows, ["events"])
    assert alone.events is not before
    assert alone.events.tobytes() == before.tobytes()
    made = planted()
    assert made.header_alone() is made


def test_a_judge_reads_no_frames(tmp_path: Path, read: list[str]) -> None:
    path = Path(__file__).parents[2] / "faults" / "recordings" / "ping-pong.rttrec"
    judge(Recording.load(dataclasses.replace(Recording.load(path), packets=b"frames").save(tmp_path / "with.rttrec")))
    assert "wire" in read
    assert "packets" not in read


def test_a_replaced_or_copied_recording_has_all_its_tables(tmp_path: Path) -> None:
    path = planted().save(tmp_path / "forty.rttrec")
    replaced, copied = (
        dataclasses.replace(Recording.load(path), lost=7),
        pickle.loads(pickle.dumps(Recording.load(path))),
    )
    path.unlink()
    assert (replaced.lost, len(replaced.events), len(replaced.wire), len(replaced.packets)) == (7, 3, 6, 256)
    assert (copied.lost, len(copied.events), len(copied.wire), len(copied.packets)) == (0, 3, 6, 256)
    with pytest.raises(AttributeError):
        getattr(replaced, "warp")  # noqa: B009 - it has none


@pytest.mark.parametrize("again", [True, False])
def test_a_file_that_was_replaced_or_removed_meanwhile_is_an_error(tmp_path: Path, *, again: bool) -> None:
    path = planted().save(tmp_path / "forty.rttrec")
    recording = Recording.load(path)
    planted(9).save(path) if again else path.unlink()
    with pytest.raises(RecordingError, match=r"forty\.rttrec was changed while it was read"):
        _ = recording.events
