"""The process in which bcc compiles: its answers, its deadline and its end, with a stand-in for bcc's module."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rttcheck
from rttcheck.collect.probe import bcc_object
from rttcheck.collect.probe.bcc_object import BccObject, open_bcc
from rttcheck.collect.probe.function import Unproven
from rttcheck.errors import CapabilityError
from rttcheck.remote.agent import wait_for_exit

STAND_IN = """
import os, signal, sys
from types import SimpleNamespace
place = os.environ["STAND_IN"]

class BPF:
    def __init__(self, text, cflags):
        open(place + "/pid", "w").write(str(os.getpid()))
        open(place + "/source", "w").write(os.environ.get("BCC_KERNEL_SOURCE", ""))
        how = open(place + "/how").read()
        if how == "hangs":
            signal.pause()
        if how == "refuses":
            print("<command line>: fatal error: no such header", file=sys.stderr)
            raise Exception("Failed to compile BPF module")
        if how == "dies":
            os._exit(7)
        self.funcs = {b"rtt_return": SimpleNamespace(fd=os.open(place, os.O_RDONLY))}

    def __getitem__(self, name):
        file = os.open(place + "/map-" + name, os.O_RDWR | os.O_CREAT)
        return SimpleNamespace(map_fd=file)

    def attach_kprobe(self, event, fn_name):
        open(place + "/attached", "a").write(event.decode() + " " + fn_name.decode() + "\\n")

    attach_kretprobe = attach_kprobe

    def cleanup(self):
        open(place + "/cleaned", "w").close()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a package that is found before bcc's; the file ``how`` in it says what compiling does."""
    package = tmp_path / "site" / "bcc"
    package.mkdir(parents=True)
    (package / "libbcc.py").write_text("")
    (package / "__init__.py").write_text(STAND_IN)
    (tmp_path / "template").write_text("nothing")
    (tmp_path / "how").write_text("works")
    # The other process looks where this one says; it inherits sys.path and the environment only.
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "from pathlib import Path\n"
        "from rttcheck.collect.probe import bcc_module\n"
        f"bcc_module.import_bcc.__defaults__ = ((Path({str(tmp_path / 'site')!r}),),)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{Path(rttcheck.__file__).parents[1]}")
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(bcc_object, "import_bcc", lambda: None)
    monkeypatch.setattr(bcc_object, "program", lambda text, _btf, _bytes: text)
    monkeypatch.setattr(bcc_object, "kernel_btf", lambda: open(os.devnull))  # noqa: SIM115 PTH123
    monkeypatch.setattr(bcc_object, "headers", lambda _release: ())
    return tmp_path


def compiled(place: Path, *, kfunc: bool = False, deadline_s: float = 30.0) -> BccObject:
    with open_bcc(place / "template", 4096, "tcp_ack_update_rtt", kfunc=kfunc, deadline_s=deadline_s) as made:
        assert os.path.samestat(os.fstat(made.map("events").fd), (place / "map-events").stat())
        assert not (place / "cleaned").exists()
    return made


def test_maps_come_over_and_it_is_detached_at_the_end(stand_in: Path) -> None:
    made = compiled(stand_in)
    assert made.kind == "kprobe and kretprobe on tcp_ack_update_rtt"
    assert (stand_in / "attached").read_text().splitlines() == [
        "tcp_ack_update_rtt rtt_return",
        "tcp_ack_update_rtt rtt_entry",
    ]
    assert (stand_in / "cleaned").exists()
    assert list((stand_in / "scratch").iterdir()) == []
    assert wait_for_exit(int((stand_in / "pid").read_text()), within_s=20.0)


def test_as_kfunc_nothing_else_is_attached(stand_in: Path) -> None:
    assert compiled(stand_in, kfunc=True).kind == "kfunc on tcp_ack_update_rtt"
    assert not (stand_in / "attached").exists()


def test_the_compilers_message_is_in_the_reason(stand_in: Path) -> None:
    (stand_in / "how").write_text("refuses")
    with pytest.raises(Unproven, match=r"bcc: Failed to compile BPF module; message: .* no such header"):
        compiled(stand_in)


def test_a_compiler_that_hangs_is_killed_at_its_deadline(stand_in: Path) -> None:
    (stand_in / "how").write_text("hangs")
    began = time.monotonic()
    with pytest.raises(Unproven, match=r"did not compile its program within 4 s"):
        compiled(stand_in, deadline_s=4.0)
    assert time.monotonic() - began < 18.0
    assert wait_for_exit(int((stand_in / "pid").read_text()), within_s=20.0)


def test_a_compiler_that_dies_is_one_sentence(stand_in: Path) -> None:
    (stand_in / "how").write_text("dies")
    with pytest.raises(Unproven, match="the compiling process died"):
        compiled(stand_in)
    assert list((stand_in / "scratch").iterdir()) == []


def test_a_missing_module_is_named_with_its_remedy(stand_in: Path) -> None:
    (stand_in / "site/bcc/__init__.py").write_text("raise OSError('libbcc.so.0: no such file')\n")
    with pytest.raises(CapabilityError, match=r"cannot be loaded \(libbcc\.so\.0.*apt install python3-bpfcc"):
        compiled(stand_in)


def test_headers_of_another_kernel_are_named_to_it_unless_the_user_names_some(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = stand_in / "linux-headers-6.1-generic"
    for name in ("include/linux", "arch/x86/include"):
        (tree / name).mkdir(parents=True)
    monkeypatch.setattr(bcc_object, "headers", lambda _release: (tree,))
    compiled(stand_in)
    assert "rttcheck-headers-" in (stand_in / "source").read_text()
    assert not Path((stand_in / "source").read_text()).exists()
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/my/own")
    (stand_in / "cleaned").unlink()
    compiled(stand_in)
    assert (stand_in / "source").read_text() == "/my/own"


def test_it_ends_in_mid_compilation_when_its_parent_is_killed(stand_in: Path) -> None:
    (stand_in / "how").write_text("hangs")
    held = (
        "import os, sys\nfrom pathlib import Path\nfrom rttcheck.collect.probe import bcc_object\n"
        "bcc_object.import_bcc = lambda: None\nbcc_object.program = lambda text, _btf, _bytes: text\n"
        "bcc_object.kernel_btf = lambda: open(os.devnull)\nbcc_object.headers = lambda _release: ()\n"
        "with bcc_object.open_bcc(Path(sys.argv[1]), 4096, 'f', kfunc=True):\n    pass\n"
    )
    pid = stand_in / "pid"
    with subprocess.Popen([sys.executable, "-c", held, stand_in / "template"]) as starter:
        ends = time.monotonic() + 30.0
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < ends
            assert starter.poll() is None
            select.select([], [], [], 0.05)
        starter.send_signal(signal.SIGKILL)
    assert wait_for_exit(int(pid.read_text()), within_s=20.0)
    assert list((stand_in / "scratch").iterdir()) == []
