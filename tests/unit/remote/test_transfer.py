"""What is transferred to another machine, and how fetched files are put in their places."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from rttcheck.errors import RemoteError
from rttcheck.remote import transfer


def loaded(root: Path) -> tarfile.TarFile:
    file = io.BytesIO()
    transfer.pack(file, root)
    return tarfile.open(fileobj=file)


def test_rttcheck_is_a_plugin_there_and_tools_directories_stay_here(tmp_path: Path) -> None:
    for name in ("tests/test_a.py", ".git/HEAD", "env/pyvenv.cfg", "tests/__pycache__/a.pyc", "data/x.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("tests")
    with loaded(tmp_path) as archive:
        names = set(archive.getnames())
        assert {name for name in names if name.startswith("root/")} == {
            *("root/tests", "root/tests/test_a.py", "root/data", "root/data/x.bin", "root/link")
        }
        assert archive.getmember("root/link").issym()
        # In the tree it is a link to a directory beside the package; there it is the package's own.
        assert archive.getmember("package/rttcheck_netns").isdir()
        assert {"package/rttcheck_netns/lab.py", "package/rttcheck/kernels/guest_init.sh"} <= names
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        file = archive.extractfile(points)
        assert file is not None
        assert file.read() == b"[pytest11]\nrttcheck = rttcheck.plugin\n"


def test_a_root_that_is_a_home_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_BYTES", 8 << 20)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(9 << 20)
    with pytest.raises(RemoteError, match=r"has more than 8 MB.*--rootdir"), loaded(tmp_path):
        pass


def packed(**files: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    file.seek(0)
    return file


def test_files_are_unpacked_to_their_places_only(tmp_path: Path) -> None:
    places = {"recordings": tmp_path / "kept", "console": tmp_path / "logs" / "a.log"}
    files = {"recordings/6.12/a": b"1", "console": b"2", "pid": b"3", "recordings/../out": b"4", "/etc/x": b"5"}
    transfer.unpack(packed(**files), places)
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"kept/6.12/a": b"1", "logs/a.log": b"2"}


def test_a_stream_that_ends_early_leaves_no_half_file(tmp_path: Path) -> None:
    whole = packed(console=b"x" * 100_000).getvalue()
    (tmp_path / "console").write_bytes(b"as it was")
    with pytest.raises(tarfile.ReadError):
        transfer.unpack(io.BytesIO(whole[:50_000]), {"console": tmp_path / "console"})
    assert (tmp_path / "console").read_bytes() == b"as it was"
