"""Reading a guest's console back."""

from __future__ import annotations

from pathlib import Path

from rttcheck.kernels.console import TAIL_BYTES, Console, read_console_tail, read_marks, tail_of


def test_marks_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "console"
    with file.open("wb", buffering=0) as raw:
        console = Console(raw)
        console.mark("power-on")
        console.write(b"[    0.1] half a line")
        console.mark("exit 0")
    assert [event for _, event in read_marks(file)] == ["power-on", "exit 0"]
    assert "[    0.1] half a line\n" in file.read_text()
    (first, _), (second, _) = read_marks(file)
    assert 0 <= first <= second


def test_the_tail_is_the_last_lines_without_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "console"
    file.write_bytes(b"".join(b"line %d\r\n" % number for number in range(100_000)))
    assert read_console_tail(file, lines=2) == "line 99998\nline 99999"


def test_no_console_has_no_tail(tmp_path: Path) -> None:
    assert read_console_tail(tmp_path / "none") == ""


def test_what_is_kept_in_memory_is_bounded() -> None:
    console = Console()
    console.write(b"x" * (3 * TAIL_BYTES) + b"\nlast")
    assert console.tail.splitlines()[-1] == "last"
    assert len(console.tail) <= TAIL_BYTES


def test_a_panic_is_shown_from_its_first_line() -> None:
    console = b"boot\n" * 500 + b"[ 1.0] Kernel panic - not syncing: why\n" + b"[ 1.0] RAX: 0\n" * 60
    tail = tail_of(console, lines=10).splitlines()
    assert tail[0].endswith("Kernel panic - not syncing: why")
    assert len(tail) == 61


def test_trouble_long_ago_is_not_the_end() -> None:
    console = b"[ 1.0] WARNING: old\n" + b"fine\n" * 500
    assert tail_of(console, lines=10).splitlines() == ["fine"] * 10
