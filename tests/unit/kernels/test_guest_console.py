"""Reading a guest's console back."""

from __future__ import annotations

from pathlib import Path

from rttcheck.kernels.console import TAIL_BYTES, Console, read_console_tail, read_loss, tail_of
from tests.support.console_marks import read_marks


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


OOPS = """\
[   10.000000] WARNING: CPU: 0 PID: 70 at net/ipv4/tcp_input.c:3197 tcp_ack+0x1/0x2
[   10.000001] ---[ end trace 0000000000000000 ]---
[   12.100001] BUG: kernel NULL pointer dereference, address: 0000000000000000
[   12.100002] #PF: supervisor read access in kernel mode
[   12.100003] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
rttcheck launcher: 31.000 s first byte
[   12.100004] RIP: 0010:init_module+0x2/0xe0
[   12.100005] Call Trace:
[   12.100006]  <TASK>
[   12.100007]  do_one_initcall+0x5b/0x310
[   12.100008] ---[ end trace 0000000000000000 ]---
[   12.100009] RIP: 0010:init_module+0x2/0xe0
[   12.100010] Kernel panic - not syncing: Fatal exception
[   12.100011] Kernel Offset: disabled
"""


def test_a_kernel_that_panics_died_of_what_led_to_it() -> None:
    console = Console()
    console.write(b"[ 1.0] fine\n" * 100 + OOPS.replace("\n", "\r\n").encode())
    how = "died after a kernel panic (BUG: kernel NULL pointer dereference, address: 0000000000000000)"
    assert console.lose("died") == how
    lines = console.tail.splitlines()
    assert lines[0].endswith("BUG: kernel NULL pointer dereference, address: 0000000000000000")
    assert lines[-1].endswith(f" s lost: {how}")


def test_a_panic_that_nothing_led_to_speaks_for_itself() -> None:
    console = Console()
    asked = OOPS.replace("Fatal exception", "sysrq triggered crash")
    console.write(asked.encode())
    assert console.lose("died") == "died after a kernel panic (Kernel panic - not syncing: sysrq triggered crash)"
    assert console.tail.splitlines()[0].endswith("] Kernel panic - not syncing: sysrq triggered crash")


def test_a_guest_that_did_not_panic_died_of_nothing_that_is_known() -> None:
    console = Console()
    console.write(OOPS.partition("[   12.100010]")[0].encode())
    assert console.lose("was killed on the host (SIGKILL)") == "was killed on the host (SIGKILL)"


def test_a_long_report_loses_its_middle_and_keeps_its_first_line() -> None:
    stack = "".join(f"[   12.2]  f{number}+0x1/0x2\n" for number in range(200))
    tail = tail_of(OOPS.replace("[   12.100008]", f"{stack}[   12.100008]").encode(), lines=10).splitlines()
    assert "BUG: kernel NULL" in tail[0]
    assert tail[90] == "[112 lines left out]"
    assert tail[-2:] == OOPS.splitlines()[-2:]


def test_the_reason_of_a_loss_is_that_of_the_last_guest(tmp_path: Path) -> None:
    file = tmp_path / "console"
    with file.open("wb", buffering=0) as raw:
        console = Console(raw)
        console.mark("thawing")
        console.lose("did not resume from its frozen state")
        console.mark("power-on")
        assert read_loss(file) == ""
        console.lose("sent nothing for 8 s of host time")
    assert read_loss(file) == "sent nothing for 8 s of host time"
    assert read_loss(tmp_path / "none") == ""
