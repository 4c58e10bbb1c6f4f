"""`rttcheck packets`: the packets of a recording, where they were asked for, whole or with a sentence why not."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Never

import numpy as np
import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.cli.packets import POINTS
from rttcheck.collect.wire.frames import Frames
from rttcheck.collect.wire.pcapng import CapturedInterface, packets_at, pcapng
from rttcheck.record.event import EVENT
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording


def captured(*points: str, packets: int = 3) -> bytes:
    held = Frames(
        bytes=np.full((packets, 60), 7, np.uint8),
        captured=np.full(packets, 60),
        lengths=np.full(packets, 60),
        realtime_ns=np.arange(packets),
        outgoing=np.ones(packets, np.uint8),
        dropped=0,
    )
    sources = [CapturedInterface(name=point, interface="eth0", frames=held) for point in points]
    return pcapng(sources, started_ns=0, ended_ns=9)


def recorded(folder: Path, packets: bytes) -> Path:
    return Recording(
        scenario={"name": "forty", "rtt": "40ms"},
        kernel="6.12.0",
        clock="virtual",
        engine="netem",
        probe="fexit",
        events=np.zeros(1, EVENT),
        histograms={"us": np.zeros(17, np.uint64), "ms": np.zeros(17, np.uint64)},
        lost=0,
        control=np.zeros(0, EVENT),
        packets=packets,
    ).save(folder / "forty.rttrec")


def command(*words: str | Path, out: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rttcheck.cli", "packets", *map(str, words)],
        stdout=out, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_points_have_the_names_that_the_collector_gives_them() -> None:
    assert [point.name.lower().replace("_", "-") for point in Point] == list(POINTS)


def test_packets_go_to_standard_output_as_they_are(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    content = captured("client", "server")
    path = recorded(tmp_path, content)
    for words in ([], ["--output", "-"]):
        assert main(["packets", str(path), *words]) == ExitStatus.PASSED
        assert capfdbinary.readouterr() == (content, b"")


def test_a_file_is_written_whole_and_the_old_one_replaced(tmp_path: Path) -> None:
    content = captured("client", "server")
    path, to = recorded(tmp_path, content), tmp_path / "forty.pcapng"
    to.write_bytes(b"old and longer" * 999)
    assert main(["packets", str(path), "--output", str(to)]) == ExitStatus.PASSED
    assert to.read_bytes() == content
    assert to.stat().st_mode & 0o777 == 0o644
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["forty.pcapng", "forty.rttrec"]


def test_what_cannot_be_written_whole_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path, to = recorded(tmp_path, captured("client")), tmp_path / "forty.pcapng"
    to.write_bytes(b"old")

    def no_space(*_: object) -> Never:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    assert main(["packets", str(path), "--output", str(to)]) == ExitStatus.UNABLE
    assert "No space left on device" in capfd.readouterr().err
    assert to.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["forty.pcapng", "forty.rttrec"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_half_of_a_file_on_standard_output_is_no_success(unbuffered: str, tmp_path: Path) -> None:
    path = recorded(tmp_path, captured("client", packets=4_000))
    # What fits is written, and the kernel says how much that was: no error yet.
    half = f"ulimit -f 100; exec {sys.executable} -m rttcheck.cli packets {path} > {tmp_path / 'out'}"
    done = subprocess.run(
        ["sh", "-c", half], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert done.returncode == ExitStatus.UNABLE
    assert done.stderr.startswith("rttcheck: standard output cannot be written (File too large)")


def test_points_can_be_chosen(tmp_path: Path) -> None:
    content = captured(*POINTS)
    path, to = recorded(tmp_path, content), tmp_path / "some.pcapng"
    for points in (["client"], ["server", "link-near"]):
        words = [word for point in points for word in ("--point", point)]
        assert main(["packets", str(path), "--output", str(to), *words]) == ExitStatus.PASSED
        assert to.read_bytes() == packets_at(content, points)
        assert len(to.read_bytes()) < len(content)


def test_a_point_that_was_not_there_is_named_with_those_that_were(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path, captured("client", "server"))
    assert main(["packets", str(path), "--point", "link-far"]) == ExitStatus.UNABLE
    assert capfd.readouterr() == (
        "", f"rttcheck: the recording {path} has no point link-far: there are client, server\n",
    )  # fmt: skip


def test_a_recording_without_packets_is_told_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = recorded(tmp_path, b"")
    assert main(["packets", str(path)]) == ExitStatus.UNABLE
    assert "holds no packets" in capfd.readouterr().err


@pytest.mark.parametrize("packets", [b"something else", captured("client")[:-8]])
def test_packets_that_are_no_such_file_are_one_sentence(
    packets: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path, packets)
    assert main(["packets", str(path), "--point", "client"]) == ExitStatus.UNABLE
    assert "are not a pcapng file of rttcheck" in capfd.readouterr().err


def test_a_damaged_recording_is_one_sentence_and_no_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, to = recorded(tmp_path, captured("client")), tmp_path / "out.pcapng"
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["packets", str(path), "--output", str(to)]) == ExitStatus.UNABLE
    assert capfd.readouterr().err.count("\n") == 1
    assert not to.exists()


def test_a_terminal_gets_a_sentence_and_no_packets(tmp_path: Path) -> None:
    path = recorded(tmp_path, captured("client"))
    reading, terminal = pty.openpty()
    try:
        done = command(path, out=terminal)
        os.set_blocking(reading, False)
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
    finally:
        os.close(terminal)
        os.close(reading)
    assert done.returncode == ExitStatus.USAGE
    assert "standard output is a terminal" in done.stderr


def test_the_recording_itself_is_not_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = recorded(tmp_path, captured("client"))
    before, link = path.read_bytes(), tmp_path / "link"
    link.symlink_to(path)
    for to in (path, link):
        assert main(["packets", str(path), "--output", str(to)]) == ExitStatus.UNABLE
        assert "is the recording itself, which would be lost" in capfd.readouterr().err
    assert path.read_bytes() == before


def test_a_pipe_with_a_name_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    content = captured("client", packets=4_000)
    path, pipe = recorded(tmp_path, content), tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", f"print(len(open({str(pipe)!r}, 'rb').read()))"], stdout=-1) as reader:
        assert main(["packets", str(path), "--output", str(pipe)]) == ExitStatus.PASSED
        said, _ = reader.communicate(timeout=60)
    assert int(said) == len(content)
    assert pipe.is_fifo()


@pytest.mark.parametrize("where", ["/dev/full", "{tmp}/no/such/place", "{tmp}"])
def test_where_nothing_can_be_written_it_is_one_sentence(
    where: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, to = recorded(tmp_path, captured("client")), where.format(tmp=tmp_path)
    assert main(["packets", str(path), "--output", to]) == ExitStatus.UNABLE
    told = capfd.readouterr().err
    assert told.startswith(f"rttcheck: the packets cannot be written to {to} (")
    assert told.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["forty.rttrec"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_and_a_reader_that_went_away(
    unbuffered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    path = recorded(tmp_path, captured("client", packets=4_000))
    with Path("/dev/full").open("w") as full:
        done = command(path, out=full.fileno())
    assert (done.returncode, done.stderr.count("\n")) == (ExitStatus.UNABLE, 1)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = command(path, out=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (ExitStatus.INTERRUPTED, "")
