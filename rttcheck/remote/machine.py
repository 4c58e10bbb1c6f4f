"""Another machine while a session uses it: opened with ssh, equipped with the session's code, left as it was.

Owns the control gateway, the checks of what is there, the guests' command lines and their files' way home. It refuses
to know pytest: which kernel runs where, and what a loss means, is somebody else's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import execnet

from rttcheck.errors import RemoteError
from rttcheck.kernels.guest import GuestSettings, launcher_command
from rttcheck.remote import agent, transfer
from rttcheck.remote.destination import ALIVE_S, CONNECT_S, GONE_S, Destination

LEASE_S = float(GONE_S)
"""The agent ends the session when it was asked nothing for so many seconds."""

PACKAGES = ("execnet", "numpy", "pyroute2", "pytest", "pytest-xdist", "rich", "virtme-ng")
"""What rttcheck requires; it is in a Python there, and only rttcheck itself is brought along."""

_PASSED_ON = ("COLUMNS", "FORCE_COLOR", "HYPOTHESIS_", "NO_COLOR", "PYTEST_", "PY_COLORS", "RTTCHECK_")
_OWN = ("RTTCHECK_CACHE", "PYTEST_CURRENT_TEST", "PYTEST_XDIST", "PYTEST_VERSION", "PYTEST_DEBUG_TEMPROOT")
"""Variables that are this machine's, or this process'."""
_RUN_S = 120.0
"""Seconds for one command there: compiling, looking for what is installed."""
_END_S = 20.0
"""Seconds that a launcher has for its end when its guest's Python has ended."""


@dataclass(slots=True, eq=False)
class RemoteMachine:
    """A machine with a agent on it; made by `open_machine`. ``slots`` is how many guests it is given."""

    destination: Destination
    directory: Path
    python: str
    cores: int
    available_mb: int
    notes: tuple[str, ...]
    root: Path
    cwd: Path
    _gateway: Any = field(repr=False)
    _lease: Any = field(repr=False)
    slots: int = 1
    _answers: int = 0
    _ended: bool = False
    _news: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @property
    def name(self) -> str:
        """As the user called it."""
        return self.destination.host

    def gateway_spec(self, settings: GuestSettings, *, name: str) -> str:
        """The execnet spec of a gateway into such a guest there; ``settings`` has this machine's paths.

        The guest sees rttcheck, the tests' root and its own directory where they are here, so that test ids and
        arguments mean the same. Raises RemoteError for paths that cannot be told to execnet.
        """
        place = self._guest(name)
        there = replace(
            settings,
            console=place / "console",
            rw=place / "recordings",
            rw_at=settings.rw,
            binds=self._binds(),
            cwd=self.cwd,
            gateway=True,
        )
        variables = [f"{name}={value}" for name, value in _passed_on(os.environ).items()]
        variables.append(f"PYTHONPATH={self.directory / 'package'}")
        launcher = ["env", *variables, *launcher_command(there, python=self.python)]
        # execnet appends the arguments of Python; the login shell there may be any.
        begin = f"mkdir -p {shlex.quote(str(there.rw))} && cd {shlex.quote(str(self.directory))} && "
        begin += f'echo $$ > {shlex.quote(str(place / "pid"))} && exec "$@"'
        return self.destination.spec(name=name, python=shlex.join(["sh", "-c", begin, "sh", *launcher]))

    def fetch_files(self, settings: GuestSettings, *, name: str) -> None:
        """Wait for the guest's launcher to end, and put console and recordings where ``settings`` has them.

        Raises RemoteError when the machine has gone away, within `GONE_S` seconds.
        """
        places = {
            kind: path
            for kind, path in (("console", settings.console), ("recordings", settings.rw))
            if path is not None
        }
        self.require()
        with _as_sentence(self.destination), tempfile.TemporaryFile() as file:
            channel = self._ask("pack", directory=str(self._guest(name)), wait_s=_END_S)
            while chunk := channel.receive(timeout=_END_S + GONE_S):
                file.write(chunk)
            file.seek(0)
            transfer.unload(file, places)

    def require(self) -> None:
        """Have the machine answer now; RemoteError when it does not within `GONE_S` seconds."""
        with self._news:
            before = self._answers
            with contextlib.suppress(OSError):
                self._lease.send(True)
            self._news.wait_for(lambda: self._ended or self._answers > before, timeout=GONE_S)
            if self._ended or self._answers == before:
                raise RemoteError(
                    f"the machine {self.name} has gone away: look whether it runs, and whether ssh {self.name} works"
                )

    def _guest(self, name: str) -> Path:
        return self.directory / "guests" / name

    def _binds(self) -> tuple[tuple[Path, Path], ...]:
        # Entry by entry, for what is not brought along (a virtual environment) is to be seen as it is there.
        binds = [(self.directory / "root" / entry.name, entry) for entry in transfer.taken(self.root)]
        binds += [
            (self.directory / "package" / name, here)
            for here, name in transfer.PACKAGES.items()
            if not here.is_relative_to(self.root)
        ]
        return tuple(binds)

    def _ask(self, task: str, **arguments: object) -> Any:
        channel = self._gateway.remote_exec(agent)
        channel.send((task, arguments))
        return channel

    def _run(self, *arguments: str, deadline_s: float = _RUN_S) -> tuple[int, str, str]:
        """Run its Python with the code that was brought there."""
        channel = self._ask(
            "run",
            argv=[self.python, *arguments],
            environment={"PYTHONPATH": str(self.directory / "package")},
            deadline_s=deadline_s,
        )
        status, out, err = channel.receive(timeout=deadline_s + GONE_S)
        return int(status), str(out), str(err)

    def _equip(self, file: IO[bytes]) -> None:
        """Bring the code there, and compile it: a guest is slow, and cannot keep what it compiles."""
        channel = self._ask("unpack", directory=str(self.directory))
        for chunk in transfer.chunks(file):
            channel.send(chunk)
        channel.receive(timeout=_RUN_S)
        self._run("-m", "compileall", "-q", "-j", "0", str(self.directory / "package"), str(self.directory / "root"))

    def _inspect(self) -> None:
        """Raise RemoteError, naming all that is missing there and how to get it, when no guest can be booted."""
        status, out, err = self._run("-m", "rttcheck.remote.inspection")
        if status:
            said = (err.strip().splitlines() or ["it gave no reason"])[-1]
            raise RemoteError(f"rttcheck does not run on {self.name} ({said}): install its requirements there")
        lacking = json.loads(out.splitlines()[-1])
        if lacking:
            raise RemoteError(f"no guest can be booted on {self.name} ({'; '.join(lacking)})")

    def _heard(self, answer: object) -> None:
        with self._news:
            self._answers += 1
            self._ended = self._ended or answer is _END
            self._news.notify_all()


_END = object()


@contextlib.contextmanager
def open_machine(
    destination: Destination, *, root: Path, cwd: Path, say: Callable[[str], None], deadline_s: float = 60.0
) -> Iterator[RemoteMachine]:
    """A machine with this session's code on it, for as long as the block runs; then nothing of ours is left there.

    ``root`` is the tests' root directory and ``cwd`` where the session was started. ``deadline_s`` (seconds) is for
    logging in. Raises RemoteError when it cannot be reached within that, or lacks something; the message names it.
    """
    _knock(destination, deadline_s)
    with contextlib.ExitStack() as stack:
        group = execnet.Group(execmodel="thread")
        stack.callback(group.terminate, timeout=2.0)
        say(f"bringing the tests to {destination.host}")
        with _as_sentence(destination):
            gateway = group.makegateway(destination.spec(name="control", python=destination.python))
            lease = gateway.remote_exec(agent)
            lease.send(("lease", {"packages": list(PACKAGES), "lease_s": LEASE_S}))
            facts = json.loads(lease.receive(timeout=deadline_s))
        machine = RemoteMachine(
            destination=destination,
            directory=Path(facts["directory"]),
            python=facts["executable"],
            cores=int(facts["cores"]),
            available_mb=int(facts["available_mb"]),
            notes=_compared(destination, facts["versions"]),
            root=root,
            cwd=cwd,
            _gateway=gateway,
            _lease=lease,
        )
        lease.setcallback(machine._heard, endmarker=_END)
        stack.callback(_leave, machine)
        closing = threading.Event()
        stack.callback(closing.set)
        threading.Thread(target=_keep_asking, args=(machine, closing), name="rttcheck-lease", daemon=True).start()
        with _as_sentence(destination):
            with tempfile.TemporaryFile() as file:
                transfer.load(file, root)
                machine._equip(file)
            machine._inspect()
        yield machine


def _keep_asking(machine: RemoteMachine, closing: threading.Event) -> None:
    while not closing.wait(ALIVE_S):
        try:
            machine._lease.send(True)
        except OSError:
            return


def _leave(machine: RemoteMachine) -> None:
    """Have the agent tidy up, and wait for it to have done so; a machine that has gone away is not waited for."""
    with contextlib.suppress(OSError), machine._news:
        if not machine._ended:
            machine._lease.send(False)
            machine._news.wait_for(lambda: machine._ended, timeout=_END_S)


def _knock(destination: Destination, deadline_s: float) -> None:
    """Log in once and start Python, for ssh and the shell there say what is wrong better than execnet does."""
    program = "import sys; print(*sys.version_info[:2])"
    command = destination.command(shlex.join([destination.python, "-c", program]))
    ask = f"--rtt-on {destination.text}"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RemoteError(
            f"{ask}: no answer within {deadline_s:.0f} s: look whether ssh {destination.host} works"
        ) from None
    except OSError as error:
        raise RemoteError(f"{ask}: ssh cannot be started ({error.strerror}); apt-get install openssh-client") from error
    said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
    if done.returncode == 255:
        raise RemoteError(
            f"{ask}: ssh says {said!r}: it has to log in there without a question, within {CONNECT_S} s, as in "
            f"`ssh -o BatchMode=yes {destination.host} true`"
        )
    if done.returncode:
        raise RemoteError(
            f"{ask}: {destination.python} does not run there ({said}): install Python 3.11, or name one, as in "
            f"{destination.text.partition('//')[0]}//python=/opt/rttcheck/bin/python"
        )
    words = done.stdout.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise RemoteError(
            f"{ask}: the shell there says {done.stdout.splitlines()[0]!r} at a login without a terminal, and execnet "
            "takes that for an answer: have its start-up files say nothing then"
        )
    if (int(words[0]), int(words[1])) < (3, 11):
        raise RemoteError(
            f"{ask}: {destination.python} there is Python {'.'.join(words)}, and rttcheck needs 3.11: name a newer one "
            "with //python=PATH"
        )


def _compared(destination: Destination, there: Mapping[str, str]) -> tuple[str, ...]:
    """What is of another version there, in a line; RemoteError for what is not there at all."""
    here = {package: metadata.version(package) for package in PACKAGES}
    absent = [f"{package}=={here[package]}" for package in PACKAGES if not there.get(package)]
    if absent:
        raise RemoteError(
            f"{destination.python} on {destination.host} lacks {', '.join(absent)}: install them there with pip, in a "
            "virtual environment, and name its Python, as in "
            f"{destination.text.partition('//')[0]}//python=/opt/rttcheck/bin/python"
        )
    other = [
        f"{package} {there[package]} (here {here[package]})" for package in PACKAGES if there[package] != here[package]
    ]
    return (f"{destination.host} has {', '.join(other)}",) if other else ()


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What was asked of this session through its environment; values that execnet would cut stay here."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_PASSED_ON) and not name.startswith(_OWN) and name.isidentifier() and "//" not in value
    }


@contextlib.contextmanager
def _as_sentence(destination: Destination) -> Iterator[None]:
    """What execnet raises when a connection ends, as one sentence."""
    try:
        yield
    except (EOFError, OSError, AssertionError, execnet.HostNotFound, execnet.RemoteError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RemoteError(
            f"the machine {destination.host} has gone away or refuses ({said}): look whether it runs, has room on its "
            f"disk, and whether ssh {destination.host} works"
        ) from error
