"""Another machine during a session: opened with ssh, equipped with the session's code, cleaned up afterwards.

This module has the control gateway, the checks of the machine, the guests' command lines and the transfer of their
files. Which kernel runs where, and how a lost machine is reported, is decided in `rttcheck.plugin`.
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
"""The agent ends the session when it received nothing for this many seconds."""

PACKAGES = ("execnet", "numpy", "pyroute2", "pytest", "pytest-xdist", "rich", "virtme-ng")
"""Packages that the other machine's Python must have; only rttcheck itself is transferred."""

_PASSED_ON = ("COLUMNS", "FORCE_COLOR", "HYPOTHESIS_", "NO_COLOR", "PYTEST_", "PY_COLORS", "RTTCHECK_")
_OWN = ("RTTCHECK_CACHE", "PYTEST_CURRENT_TEST", "PYTEST_XDIST", "PYTEST_VERSION", "PYTEST_DEBUG_TEMPROOT")
"""Variables that only make sense on this machine, or in this process."""
_RUN_S = 120.0
"""Deadline for one command there, as compiling, seconds."""
_END_S = 20.0
"""Seconds that a launcher has to end after its guest's Python has ended."""


@dataclass(slots=True, eq=False)
class RemoteMachine:
    """A machine with an agent on it; made by `open_machine`. ``slots`` is the number of guests at the same time."""

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
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @property
    def name(self) -> str:
        """Its name as the user gave it."""
        return self.destination.host

    def gateway_spec(self, settings: GuestSettings, *, name: str) -> str:
        """Return the execnet spec of a gateway into such a guest there; ``settings`` has this machine's paths.

        The guest sees rttcheck, the tests' root and its working directory at the paths of this machine, so that test
        ids and arguments stay valid. Raises RemoteError for paths that an execnet spec cannot contain.
        """
        place = self._guest(name)
        remote = replace(
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
        launcher = ["env", *variables, *launcher_command(remote, python=self.python)]
        # execnet appends the arguments of Python; sh, because the login shell may be any.
        begin = f"mkdir -p {shlex.quote(str(remote.rw))} && cd {shlex.quote(str(self.directory))} && "
        begin += f'echo $$ > {shlex.quote(str(place / "pid"))} && exec "$@"'
        return self.destination.spec(name=name, python=shlex.join(["sh", "-c", begin, "sh", *launcher]))

    def fetch_files(self, settings: GuestSettings, *, name: str) -> None:
        """Wait for the guest's launcher to end, and fetch console and recordings to the paths in ``settings``.

        Raises RemoteError within `GONE_S` seconds when the machine does not answer.
        """
        places = {
            kind: path
            for kind, path in (("console", settings.console), ("recordings", settings.rw))
            if path is not None
        }
        self.require()
        with _as_remote_error(self.destination), tempfile.TemporaryFile() as file:
            channel = self._ask("pack", directory=str(self._guest(name)), wait_s=_END_S)
            while chunk := channel.receive(timeout=_END_S + GONE_S):
                file.write(chunk)
            file.seek(0)
            transfer.unpack(file, places)

    def require(self) -> None:
        """Check that the machine answers. Raises RemoteError when it does not within `GONE_S` seconds."""
        with self._changed:
            before = self._answers
            with contextlib.suppress(OSError):
                self._lease.send(True)
            self._changed.wait_for(lambda: self._ended or self._answers > before, timeout=GONE_S)
            if self._ended or self._answers == before:
                raise RemoteError(
                    f"the machine {self.name} does not answer: check that it runs and that ssh {self.name} works"
                )

    def _guest(self, name: str) -> Path:
        return self.directory / "guests" / name

    def _binds(self) -> tuple[tuple[Path, Path], ...]:
        # Entry by entry: what is not transferred (a virtual environment) stays as it is on the other machine.
        binds = [(self.directory / "root" / entry.name, entry) for entry in transfer.taken(self.root)]
        binds += [
            (self.directory / "package" / name, local)
            for local, name in transfer.PACKAGES.items()
            if not local.is_relative_to(self.root)
        ]
        return tuple(binds)

    def _ask(self, task: str, **arguments: object) -> Any:
        channel = self._gateway.remote_exec(agent)
        channel.send((task, arguments))
        return channel

    def _run(self, *arguments: str, deadline_s: float = _RUN_S) -> tuple[int, str, str]:
        """Run its Python with the transferred code; return (status, output, error output)."""
        channel = self._ask(
            "run",
            argv=[self.python, *arguments],
            environment={"PYTHONPATH": str(self.directory / "package")},
            deadline_s=deadline_s,
        )
        status, out, err = channel.receive(timeout=deadline_s + GONE_S)
        return int(status), str(out), str(err)

    def _equip(self, file: IO[bytes]) -> None:
        """Transfer the code and compile it, because a guest is slow and cannot store bytecode."""
        channel = self._ask("unpack", directory=str(self.directory))
        for chunk in transfer.chunks(file):
            channel.send(chunk)
        channel.receive(timeout=_RUN_S)
        self._run("-m", "compileall", "-q", "-j", "0", str(self.directory / "package"), str(self.directory / "root"))

    def _inspect(self) -> None:
        """Raise RemoteError, with all that is missing and its remedy, when the machine cannot boot a guest."""
        status, out, err = self._run("-m", "rttcheck.remote.inspection")
        if status:
            reason = (err.strip().splitlines() or ["it gave no reason"])[-1]
            raise RemoteError(f"rttcheck does not run on {self.name} ({reason}): install its requirements there")
        lacking = json.loads(out.splitlines()[-1])
        if lacking:
            raise RemoteError(f"no guest can be booted on {self.name} ({'; '.join(lacking)})")

    def _answered(self, answer: object) -> None:
        with self._changed:
            self._answers += 1
            self._ended = self._ended or answer is _END
            self._changed.notify_all()


_END = object()


@contextlib.contextmanager
def open_machine(
    destination: Destination, *, root: Path, cwd: Path, say: Callable[[str], None], deadline_s: float = 60.0
) -> Iterator[RemoteMachine]:
    """Open a machine and transfer this session's code; when the block ends, all of it is removed.

    ``root`` is the tests' root directory, ``cwd`` the session's working directory, ``deadline_s`` the deadline for
    logging in, seconds. Raises RemoteError when the machine cannot be reached, or lacks something.
    """
    _log_in(destination, deadline_s)
    with contextlib.ExitStack() as stack:
        group = execnet.Group(execmodel="thread")
        stack.callback(group.terminate, timeout=2.0)
        say(f"transferring the tests to {destination.host}")
        with _as_remote_error(destination):
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
        lease.setcallback(machine._answered, endmarker=_END)
        stack.callback(_leave, machine)
        closing = threading.Event()
        stack.callback(closing.set)
        threading.Thread(target=_keep_asking, args=(machine, closing), name="rttcheck-lease", daemon=True).start()
        with _as_remote_error(destination):
            with tempfile.TemporaryFile() as file:
                transfer.pack(file, root)
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
    """Have the agent clean up, and wait for that; a machine that does not answer any more is not waited for."""
    with contextlib.suppress(OSError), machine._changed:
        if not machine._ended:
            machine._lease.send(False)
            machine._changed.wait_for(lambda: machine._ended, timeout=_END_S)


def _log_in(destination: Destination, deadline_s: float) -> None:
    """Log in once and start Python, because ssh and the shell report errors better than execnet does."""
    program = "import sys; print(*sys.version_info[:2])"
    command = destination.command(shlex.join([destination.python, "-c", program]))
    option = f"--rtt-on {destination.text}"
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
            f"{option}: no answer within {deadline_s:.0f} s: check that ssh {destination.host} works"
        ) from None
    except OSError as error:
        raise RemoteError(
            f"{option}: ssh cannot be started ({error.strerror}); apt-get install openssh-client"
        ) from error
    reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
    if done.returncode == 255:
        raise RemoteError(
            f"{option}: ssh reports {reason!r}: it has to log in without a prompt, within {CONNECT_S} s, as in "
            f"`ssh -o BatchMode=yes {destination.host} true`"
        )
    if done.returncode:
        raise RemoteError(
            f"{option}: {destination.python} does not run there ({reason}): install Python 3.11, or name one, as in "
            f"{destination.text.partition('//')[0]}//python=/opt/rttcheck/bin/python"
        )
    version = done.stdout.split()
    if len(version) != 2 or not all(part.isdigit() for part in version):
        raise RemoteError(
            f"{option}: the shell there prints {done.stdout.splitlines()[0]!r} at a login without a terminal, which "
            "breaks execnet: have its start-up files print nothing then"
        )
    if (int(version[0]), int(version[1])) < (3, 11):
        raise RemoteError(
            f"{option}: {destination.python} there is Python {'.'.join(version)}, and rttcheck needs 3.11: name a "
            "newer one with //python=PATH"
        )


def _compared(destination: Destination, remote: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note on packages of other versions there. Raises RemoteError when packages are missing."""
    local = {package: metadata.version(package) for package in PACKAGES}
    absent = [f"{package}=={local[package]}" for package in PACKAGES if not remote.get(package)]
    if absent:
        raise RemoteError(
            f"{destination.python} on {destination.host} lacks {', '.join(absent)}: install them there with pip, in a "
            "virtual environment, and name its Python, as in "
            f"{destination.text.partition('//')[0]}//python=/opt/rttcheck/bin/python"
        )
    other = [
        f"{package} {remote[package]} (here {local[package]})"
        for package in PACKAGES
        if remote[package] != local[package]
    ]
    return (f"{destination.host} has {', '.join(other)}",) if other else ()


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that configure this session, except values that an execnet spec cannot contain."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_PASSED_ON) and not name.startswith(_OWN) and name.isidentifier() and "//" not in value
    }


@contextlib.contextmanager
def _as_remote_error(destination: Destination) -> Iterator[None]:
    """Turn what execnet raises when a connection ends into a RemoteError of one sentence."""
    try:
        yield
    except (EOFError, OSError, AssertionError, execnet.HostNotFound, execnet.RemoteError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RemoteError(
            f"the machine {destination.host} does not answer or refuses ({reason}): check that it runs, has room on "
            f"its disk, and that ssh {destination.host} works"
        ) from error
