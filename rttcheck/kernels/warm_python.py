# ruff: noqa: PTH109, PTH110, PTH112, PTH120, PTH123
"""The Python that is frozen with a guest: it has imported what sessions need, and then becomes one session's Python.

Runs as a script in two places. ``--files`` on the host prints the files that a guest needs for the same imports.
``--wait IN OUT`` in a guest imports, reports ``ready`` to descriptor OUT, and waits for a request on descriptor IN; the
guest is frozen meanwhile. The request comes after the thaw: it enters the session's root and runs a command line as
Python itself would. Only the standard library is imported at the top.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import inspect
import io
import json
import os
import pkgutil
import random
import runpy
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator
from typing import Any

PACKAGES = ("rttcheck", "rttcheck_netns")
"""Packages that are imported anew where their sources have changed since the guest was frozen."""

_WHOLE = (
    "rttcheck.collect",
    "rttcheck.kernel_log",
    "rttcheck.record",
    "rttcheck.scenario",
    "rttcheck_netns",
)
"""Packages of which all modules are imported. Not the judge: recordings are judged outside of guests."""

_MODULES = (
    "execnet",
    "execnet.gateway_base",
    "faulthandler",
    "numpy",
    "numpy.ma",
    "pdb",
    "pyroute2.netlink",
    "rttcheck.cli.local_run",
    "rttcheck.harness",
    "rttcheck.plugin.fixtures",
    "rttcheck.plugin.splats",
    "rttcheck.plugin.worker",
    "tracemalloc",
    "xdist.remote",
)

_NOT = ("rttcheck_netns.relay.__main__",)

_LOADER = ("/lib", "/lib64", "/lib64/ld-linux-x86-64.so.2", "/etc/ld.so.cache")
"""What programs and libraries name, and no map of memory."""

_ROOT = "/python/proc/1/root"
"""The session's root, seen from the initramfs, where init has mounted a second proc."""


def main() -> None:
    """Print the files, or wait for a request and become its Python."""
    # The script's directory, whose modules are rttcheck's.
    sys.path[0] = "/"
    if sys.argv[1] == "--files":
        preload()
        print(json.dumps(sorted(set(files()))))
        return
    requests, reports = int(sys.argv[2]), int(sys.argv[3])
    preload()
    gc.collect()
    # What is there now stays; collections need not look at it again.
    gc.freeze()
    os.write(reports, b"ready\n")
    os.close(reports)
    with open(requests, "rb", buffering=0) as pipe:
        ports, request = _lines(pipe, 2)
    _enter(ports.split(), json.loads(request))


def preload() -> None:
    """Import what sessions need; pytest's plugins as pytest does, which rewrites their assertions."""
    from _pytest.config import _prepareconfig

    _remember_metadata()
    config = _prepareconfig(["-p", "no:hypothesispytest", "-p", "no:cacheprovider", "-c", os.devnull])
    config._ensure_unconfigure()
    for name in (*_MODULES, *_modules()):
        if name not in _NOT:
            importlib.import_module(name)
    _look_ahead()


def _look_ahead() -> None:
    """Find out what is found out once in a process and stays so in sessions: modules' files, the probed function."""
    # Python's own caches of what `inspect` looks up for a traceback: 1.4 s for all modules, in a session.
    inspect.getmodule(sys._getframe())
    importlib.import_module("rttcheck.collect.probe.function").look_ahead()


def _remember_metadata() -> None:
    """Read each file of installed packages' metadata once: pytest reads all of them three times as it starts.

    The packages of a frozen guest are part of its identity.
    """
    texts: dict[tuple[str, str], str | None] = {}
    read: Any = importlib.metadata.PathDistribution.read_text

    def read_once(self: Any, filename: str) -> str | None:
        place = (str(self._path), filename)
        if place not in texts:
            texts[place] = read(self, filename)
        return texts[place]

    importlib.metadata.PathDistribution.read_text = read_once  # type: ignore[method-assign,assignment]


def _modules() -> Iterator[str]:
    for name in _WHOLE:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            yield found.name


def files() -> Iterator[str]:
    """Yield the files of the imported modules, of this interpreter and its libraries."""
    for module in list(sys.modules.values()):
        # Modules that are frozen into the interpreter have a file as well, by which it finds its library.
        for origin in {getattr(getattr(module, "__spec__", None), "origin", None), getattr(module, "__file__", None)}:
            if origin and os.path.exists(origin):
                yield origin
                yield from _compiled(origin)
    for package in PACKAGES:
        for directory, _, names in os.walk(os.path.dirname(sys.modules[package].__file__ or "")):
            # Some are read by an import.
            yield from (f"{directory}/{name}" for name in names if not name.endswith((".py", ".pyc")))
    with open("/proc/self/maps") as maps:
        for line in maps:
            mapped = line.rstrip("\n").partition("/")
            if mapped[1] and os.path.exists("/" + mapped[2]):
                yield "/" + mapped[2]
    yield from (path for path in (__file__, sys.executable, *_LOADER) if os.path.exists(path))
    yield f"{sys.prefix}/pyvenv.cfg"
    for directory in sys.path:
        if os.path.isdir(directory):
            yield directory
            for entry in os.scandir(directory):
                if entry.name.endswith(".pth"):
                    yield entry.path
                # pytest looks for its plugins there.
                if entry.name.endswith(".dist-info"):
                    of_it = (f"{entry.path}/{name}" for name in ("METADATA", "RECORD", "entry_points.txt"))
                    yield from (path for path in of_it if os.path.exists(path))


def _compiled(source: str) -> Iterator[str]:
    """Yield the bytecode files of a source, also those of pytest, whose assertions are rewritten."""
    directory, name = os.path.split(source)
    cache = f"{directory}/__pycache__"
    if name.endswith(".py") and os.path.isdir(cache):
        stem = f"{name[:-3]}.{sys.implementation.cache_tag}"
        for entry in os.scandir(cache):
            if entry.name.startswith((f"{stem}.pyc", f"{stem}-pytest-")):
                yield entry.path


def _lines(pipe: io.FileIO, count: int) -> list[str]:
    text = b""
    while text.count(b"\n") < count:
        text += pipe.read(65536)
    return text.decode().splitlines()


def _enter(ports: list[str], request: dict[str, Any]) -> None:
    """Become the request's Python: its root, streams, environment, directory and command line."""
    os.chroot(_ROOT)
    os.chdir(request["cwd"])
    for number, (port, flags) in enumerate(zip(ports, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        descriptor = os.open(port, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    arguments = list(request["argv"])
    command = arguments[1:]
    unbuffered = command[:1] == ["-u"]
    if unbuffered:
        del command[0]
    if len(command) < 2 or command[0] not in ("-c", "-m"):
        # Any other command line has its own interpreter.
        os.execve(arguments[0], arguments, os.environ)
    _forget(request["forget"])
    random.seed(bytes.fromhex(request["seed"]))
    sys.orig_argv = arguments
    sys.stdout.reconfigure(write_through=unbuffered, line_buffering=False)  # type: ignore[union-attr]
    _run(*command)


def _forget(changed: bool) -> None:
    """Drop what was found in the old root, and modules whose sources have changed since."""
    tempfile.tempdir = None
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    for name in list(sys.modules) if changed else ():
        if name.partition(".")[0] in PACKAGES:
            del sys.modules[name]


def _run(option: str, what: str, *arguments: str) -> None:
    sys.argv[:] = [option, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = "" if option == "-c" else os.getcwd()
    main_module = types.ModuleType("__main__")
    main_module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main_module
    try:
        if option == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), main_module.__dict__)
    except Exception as error:
        # Without the lines of this module.
        trace = error.__traceback__
        traceback.print_exception(error.with_traceback(trace.tb_next if trace is not None else None))
        sys.exit(1)


if __name__ == "__main__":
    main()
