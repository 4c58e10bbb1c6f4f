"""The Python that is frozen with a guest: its files, what identifies it, and command lines as Python takes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rttcheck
from rttcheck.errors import KernelError
from rttcheck.kernels import warm_python
from rttcheck.kernels.initramfs import add_python
from rttcheck.kernels.python_image import PythonImage

ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "RTTCHECK_CLOCK": "virtual"}


@pytest.fixture(scope="module")
def files() -> tuple[Path, ...]:
    return PythonImage.of(ENVIRONMENT).files()


def test_each_file_comes_after_its_directory(files: tuple[Path, ...]) -> None:
    place = {path: number for number, path in enumerate(files)}
    for path, number in place.items():
        if path.parent != Path("/"):
            assert place[path.parent] < number, path


def test_the_files_are_interpreter_libraries_modules_and_what_pytest_looks_for(files: tuple[Path, ...]) -> None:
    names = {str(path) for path in files}
    assert sys.executable in names
    assert os.path.realpath(sys.executable) in names
    assert str(Path(rttcheck.__file__).parent / "harness.py") in names
    assert any("libc.so.6" in name for name in names)
    assert any(name.endswith("entry_points.txt") and "xdist" in name for name in names)
    assert os.__file__ in names
    assert not [path for path in files if not os.path.lexists(path)]


def test_changed_sources_have_another_key_and_leave_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 1\n")
    monkeypatch.setattr(rttcheck, "__path__", [str(tmp_path)])
    before = PythonImage.of(ENVIRONMENT)
    assert PythonImage.of(ENVIRONMENT) == before
    source.write_text("VALUE = 22\n")
    after = PythonImage.of(ENVIRONMENT)
    assert (after.key, after.sources == before.sources) == (before.key, False)


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [("PYTHONPATH", "/somewhere", True), ("LC_ALL", "C", True), ("RTTCHECK_CLOCK", "real", False)],
)
def test_variables_that_python_reads_at_its_start_belong_to_the_key(name: str, value: str, other: bool) -> None:
    changed = PythonImage.of({**ENVIRONMENT, name: value})
    assert (changed.key != PythonImage.of(ENVIRONMENT).key) is other


def test_an_installed_package_belongs_to_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path)])
    before = PythonImage.of(ENVIRONMENT).key
    (tmp_path / "package-1.0.dist-info").mkdir()
    assert PythonImage.of(ENVIRONMENT).key != before


def test_imports_that_fail_here_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "warm.py"
    script.write_text("raise ImportError('no numpy')\n")
    monkeypatch.setattr(warm_python, "__file__", str(script))
    with pytest.raises(
        KernelError, match=r"^Python cannot be frozen with a guest, its imports fail here \(ImportError"
    ):
        PythonImage.of(ENVIRONMENT).files()


def test_the_archive_has_links_times_and_modes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    os.utime(program, (1_700_000_000, 1_700_000_000))
    (tmp_path / "link").symlink_to("program")
    monkeypatch.setattr(PythonImage, "files", lambda _: (program, tmp_path / "link", Path("/proc/version")))
    base, image = tmp_path / "base", tmp_path / "image"
    base.write_bytes(b"")
    add_python(base, PythonImage.of(ENVIRONMENT), image)
    with image.open("rb") as archive:
        listed = subprocess.run(
            ["busybox", "cpio", "-tv"], stdin=archive, capture_output=True, text=True, check=True
        ).stdout
    assert "link -> program" in listed
    assert "-rwxr-xr-x" in next(line for line in listed.splitlines() if line.endswith("/program"))
    assert "2023-11-14" in next(line for line in listed.splitlines() if line.endswith("/program"))
    # What init needs is its own.
    assert "proc/version" not in listed


RUN = "import sys; from rttcheck.kernels import warm_python; warm_python._run(*{command!r})"
SHOW = "import sys, __main__; print(sys.argv, sys.path[0], __name__, __main__.__dict__ is globals())"


def python(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN.format(command=command)], capture_output=True, text=True, check=False, cwd="/"
    )


def test_a_command_runs_as_python_runs_it() -> None:
    real = subprocess.run([sys.executable, "-c", SHOW, "a", "b"], capture_output=True, text=True, check=True, cwd="/")
    assert python("-c", SHOW, "a", "b").stdout == real.stdout


def test_a_module_runs_as_python_runs_it(tmp_path: Path) -> None:
    command = ["-m", "json.tool", "--help"]
    real = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert python(*command).stdout == real.stdout


@pytest.mark.parametrize(
    ("code", "status"), [("import sys; sys.exit(7)", 7), ("raise SystemExit('no')", 1), ("1 / 0", 1)]
)
def test_a_command_ends_as_python_ends_it(code: str, status: int) -> None:
    done = python("-c", code)
    assert done.returncode == status
    if code == "1 / 0":
        assert done.stderr.splitlines()[1].strip() == 'File "<string>", line 1, in <module>'
        assert "warm_python" not in done.stderr


def test_changed_sources_are_imported_anew() -> None:
    code = (
        "import sys, json; import rttcheck.errors, rttcheck_netns; from rttcheck.kernels import warm_python\n"
        "old = sys.modules['rttcheck.errors']; forget = warm_python._forget\n"
        "forget(False); assert sys.modules['rttcheck.errors'] is old\n"
        "forget(True); assert not [name for name in sys.modules if name.startswith('rttcheck')]\n"
        "assert 'json' in sys.modules\n"
        "import rttcheck.errors; assert sys.modules['rttcheck.errors'] is not old\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_imported_beforehand_can_be_imported(files: tuple[Path, ...]) -> None:
    assert files
    assert {name.partition(".")[0] for name in warm_python._WHOLE} == set(warm_python.PACKAGES)
