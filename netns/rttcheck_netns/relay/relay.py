"""The relay as seen by who starts it: a process that delays what goes through a link, and what it says of itself.

Owns starting and ending the process, asking for impairments, and reading its journal; refuses to know how the link was
wired. The process is a child that ends with this one, by SIGKILL too: it watches this process by a pidfd and a socket.
"""

from __future__ import annotations

import os
import pickle
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..engine import DIRECTIONS, Direction
from ..errors import RelayFailed, UnsupportedByEngine
from ..namespace import Namespace
from ..netem import Netem
from ..qdisc import QdiscStatistics
from .journal import CLOCK_SET, UNRECORDED, Count, Journal
from .port import Side
from .process import MOST_MESSAGE, Answer, Impair, Start

if TYPE_CHECKING:
    from .packets import Lateness, Packets

_DEADLINE_S = 20.0
"""For the process to start, and for each answer; an emulated machine needs most of a second for the first."""

_REFUSED = {
    "delay_correlation": "netem's own does nothing",
    "ecn": "the relay changes no packet: give the loss without ecn",
    "corrupt": "the relay changes no packet",
    "slot": "the relay has no slots",
}
"""The settings of netem that this engine does not have, and why."""


def refuse_unsupported(direction: str, netem: Netem | None) -> None:
    """UnsupportedByEngine for a setting that the relay does not have."""
    for knob, why in _REFUSED.items():
        if netem is not None and getattr(netem, knob):
            raise UnsupportedByEngine(
                f"netem {direction}: {knob} was asked for and the engine is relay ({why}): "
                "drop it, or use the engine netem"
            )


class Relay:
    """A running relay, made by `open_relay`. After it has ended by itself, every question raises RelayFailed."""

    name: Literal["relay"] = "relay"

    def __init__(self, child: subprocess.Popen[bytes], control: socket.socket, journal: Journal, said_fd: int) -> None:
        """``said_fd`` is the file that the process writes to when something is wrong."""
        self._child, self._control, self._journal, self._said_fd = child, control, journal, said_fd
        self._held: dict[Direction, Netem | None] = {"out": None, "back": None}
        self.scheduling = self._answer().scheduling
        """How the process is scheduled, in words: SCHED_FIFO where it was allowed, and the core asked for."""

    @property
    def pid(self) -> int:
        return self._child.pid

    def impair(self, *, out: Netem | None, back: Netem | None) -> None:
        """Replace what both directions do, from the next packet on; what waits is dropped, and counters start again.

        UnsupportedByEngine, before anything changes, for a setting that the relay does not have. A direction without a
        seed gets one, which `held` tells.
        """
        self.install({"out": out, "back": back})

    def install(self, asked: Mapping[Direction, Netem | None]) -> dict[Direction, Netem | None]:
        """As `impair`; return what `held` says of both directions from now on."""
        for direction, netem in asked.items():
            refuse_unsupported(direction, netem)
        held = {direction: _seeded(netem) for direction, netem in asked.items()}
        out, back = held["out"], held["back"]
        message = Impair(out=out, out_seed=_seed(out), back=back, back_seed=_seed(back))
        self._ask(message)
        self._held = held
        return dict(held)

    def held(self, direction: Direction) -> Netem | None:
        """What is in force, with the seed that was drawn where none was asked for."""
        return self._held[direction]

    def statistics(self) -> dict[str, QdiscStatistics]:
        """Both directions' counters since `impair`, under "out" and "back"; ``xstats`` are the relay's own.

        Of those, ``ring_full`` counts packets that came faster than they could be taken: no record has them.
        """
        self._alive()
        return {direction: _statistics(self._journal.counted(i)) for i, direction in enumerate(DIRECTIONS)}

    @property
    def unrecorded(self) -> int:
        """Packets that `packets` does not have because its memory was full; they went through all the same."""
        return self._journal.words[UNRECORDED]

    @property
    def clock_set(self) -> int:
        """How often somebody set the time of day meanwhile; a packet that came just then may be late."""
        return self._journal.words[CLOCK_SET]

    def packets(self) -> Packets:
        """A record of every packet since the relay was started, in the order in which they were taken; a copy."""
        from .packets import recorded

        return recorded(self._journal)

    def lateness(self) -> Lateness:
        """How much later than due packets were let go."""
        from .packets import lateness

        return lateness(self.packets())

    def _ask(self, message: Impair) -> None:
        data = pickle.dumps(message)
        if len(data) > MOST_MESSAGE:
            raise RelayFailed(
                f"an impairment of {len(data)} bytes is too long to tell the relay, it takes {MOST_MESSAGE}: "
                "use smaller tables"
            )
        try:
            self._control.send(data)
        except OSError as problem:
            raise self._ended() from problem
        self._answer()

    def _answer(self) -> Answer:
        self._control.settimeout(_DEADLINE_S)
        try:
            data = self._control.recv(MOST_MESSAGE)
        except TimeoutError as problem:
            raise RelayFailed(
                f"the relay did not answer within {_DEADLINE_S:g} s: look for what keeps this machine's CPUs busy"
            ) from problem
        except ConnectionResetError:
            data = b""
        if not data:
            raise self._ended()
        answer: Answer = pickle.loads(data)
        if answer.problem:
            raise RelayFailed(
                f"the relay could not open its packet sockets, the kernel says '{answer.problem}': "
                "run as root, with a kernel that has CONFIG_PACKET"
            )
        return answer

    def _alive(self) -> None:
        if self._child.poll() is not None:
            raise self._ended()

    def _ended(self) -> RelayFailed:
        try:
            status: object = self._child.wait(timeout=_DEADLINE_S)
        except subprocess.TimeoutExpired:
            status = "unknown"
        said = os.pread(self._said_fd, 1 << 16, 0).decode(errors="replace").strip().splitlines()
        return RelayFailed(
            f"the relay ended by itself with status {status} ({said[-1] if said else 'without a word'}): "
            "nothing goes through the link any more, build it again"
        )


@contextmanager
def open_relay(
    namespace: Namespace, *, near: Side, far: Side, records: int = 1 << 20, cpu: int | None = None
) -> Iterator[Relay]:
    """A relay between two interfaces of a namespace, which must not forward itself; it delays nothing yet.

    ``near`` is the client's side: "out" is what comes in there. ``records`` is how many packets `Relay.packets` can
    tell of (32 bytes each, taken from the machine as they are written); ``cpu`` keeps the process to one core. Raises
    RelayFailed when it cannot work.
    """
    with ExitStack() as resources:
        sockets = [
            # Protocol 0: nothing comes in before ring and filter are in place.
            resources.enter_context(namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            for _ in range(2)
        ]
        journal_fd = Journal.make(records)
        resources.callback(os.close, journal_fd)
        starter_fd = os.pidfd_open(os.getpid())
        resources.callback(os.close, starter_fd)
        said_fd = os.memfd_create("rttcheck-relay-says")
        resources.callback(os.close, said_fd)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            resources.enter_context(ours)
            inherited = (sockets[0].fileno(), sockets[1].fileno(), journal_fd, starter_fd, theirs.fileno())
            child = _spawn(inherited, said_fd)
        resources.callback(_end, child, ours)
        start = Start(
            near_fd=inherited[0],
            far_fd=inherited[1],
            journal_fd=journal_fd,
            starter_fd=starter_fd,
            near=near,
            far=far,
            cpu=cpu,
            tied_to_thread=threading.current_thread() is threading.main_thread(),
        )
        ours.sendall(pickle.dumps(start))
        for one in sockets:
            one.close()
        journal = Journal(journal_fd)
        resources.callback(journal.close)
        yield Relay(child, ours, journal, said_fd)


def _spawn(inherited: tuple[int, ...], said_fd: int) -> subprocess.Popen[bytes]:
    """The process, in a session of its own: an interrupt at the terminal is for the one that started it."""
    package = __package__
    root = Path(__file__).parents[package.count(".") + 1]
    code = (
        f"import sys; sys.path.insert(0, sys.argv[1]); from {package}.process import run_from_command_line; "
        "run_from_command_line()"
    )
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, str(root), str(inherited[-1])],
        pass_fds=inherited,
        stdin=subprocess.DEVNULL,
        stdout=said_fd,
        stderr=said_fd,
        start_new_session=True,
    )


def _end(child: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Closing the socket is the request to end; a process that does not hear it is killed."""
    control.close()
    try:
        child.wait(timeout=2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _seeded(netem: Netem | None) -> Netem | None:
    if netem is None or netem.seed is not None:
        return netem
    return replace(netem, seed=secrets.randbits(64))


def _seed(netem: Netem | None) -> int:
    return 0 if netem is None or netem.seed is None else netem.seed


def _statistics(counted: Mapping[Count, int]) -> QdiscStatistics:
    dropped = sum(counted[count] for count in (Count.LOST, Count.OVERFLOW, Count.REFUSED, Count.RING_FULL))
    return QdiscStatistics(
        kind="relay",
        packets=counted[Count.RELEASED],
        bytes=counted[Count.RELEASED_BYTES],
        drops=dropped,
        overlimits=counted[Count.OVERFLOW],
        requeues=counted[Count.REORDERED],
        qlen=counted[Count.WAITING],
        backlog=counted[Count.WAITING_BYTES],
        xstats={count.name.lower(): counted[count] for count in _XSTATS},
    )


_XSTATS = (
    Count.TAKEN,
    Count.LOST,
    Count.OVERFLOW,
    Count.REFUSED,
    Count.COPIES,
    Count.REORDERED,
    Count.RING_FULL,
)
