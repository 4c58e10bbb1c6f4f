"""Start and end the relay's process, set its impairments, and read its journal.

The process is a child that ends with this one, by SIGKILL too: it watches this process by a pidfd and a socket.
"""

from __future__ import annotations

import os
import pickle
import secrets
import select
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
from .port import PortSide
from .process import MOST_MESSAGE, Answer, Impair, Start

if TYPE_CHECKING:
    from .packets import Lateness, Packets

_DEADLINE_S = 20.0
"""For the start of the process, and for each answer; an emulated machine needs most of a second for the first."""

_REFUSED = {
    "delay_correlation": "netem's own does nothing",
    "ecn": "the relay changes no packet: give the loss without ecn",
    "corrupt": "the relay changes no packet",
    "slot": "the relay has no slots",
}
"""The settings of netem that this engine does not have, and why."""


def refuse_unsupported(direction: str, netem: Netem | None) -> None:
    """Raise UnsupportedByEngine for a setting that the relay does not have."""
    for setting, why in _REFUSED.items():
        if netem is not None and getattr(netem, setting):
            raise UnsupportedByEngine(
                f"netem {direction}: {setting} was asked for and the engine is relay ({why}): "
                "drop it, or use the engine netem"
            )


class Relay:
    """A running relay, made by `open_relay`. After it has ended unexpectedly, every method raises RelayFailed."""

    name: Literal["relay"] = "relay"

    def __init__(
        self, child: subprocess.Popen[bytes], control: socket.socket, journal: Journal, output_fd: int
    ) -> None:
        """``output_fd`` is the file that the process writes its errors to."""
        self._child, self._control, self._journal, self._output_fd = child, control, journal, output_fd
        self._held: dict[Direction, Netem | None] = {"out": None, "back": None}
        self.scheduling = self._answer().scheduling
        """How the process is scheduled, as text: SCHED_FIFO where it was allowed, and the core asked for."""

    @property
    def pid(self) -> int:
        return self._child.pid

    def impair(self, *, out: Netem | None, back: Netem | None) -> None:
        """Replace the impairment of both directions from the next packet on; drop waiting packets, reset the counters.

        Raises UnsupportedByEngine, before anything changes, for a setting that the relay does not have. A direction
        without a seed gets one, which `held` returns.
        """
        self.install({"out": out, "back": back})

    def install(self, asked: Mapping[Direction, Netem | None]) -> dict[Direction, Netem | None]:
        """Do the same as `impair`; return what `held` returns for both directions from now on."""
        for direction, netem in asked.items():
            refuse_unsupported(direction, netem)
        held = {direction: _seeded(netem) for direction, netem in asked.items()}
        out, back = held["out"], held["back"]
        message = Impair(out=out, out_seed=_seed(out), back=back, back_seed=_seed(back))
        self._ask(message)
        self._held = held
        return dict(held)

    def held(self, direction: Direction) -> Netem | None:
        """Return the settings in force, with the seed that was drawn where none was asked for."""
        return self._held[direction]

    def statistics(self) -> dict[str, QdiscStatistics]:
        """Return both directions' counters since `impair`, under "out" and "back"; ``xstats`` are the relay's own.

        Of those, ``ring_full`` counts packets that arrived faster than they could be taken: they have no record.
        """
        self._alive()
        return {direction: _statistics(self._journal.counted(i)) for i, direction in enumerate(DIRECTIONS)}

    @property
    def unrecorded(self) -> int:
        """Packets missing in `packets` because its memory was full; they were forwarded all the same."""
        return self._journal.words[UNRECORDED]

    @property
    def clock_set(self) -> int:
        """How often the time of day was set meanwhile; a packet that arrived just then may be late."""
        return self._journal.words[CLOCK_SET]

    def packets(self) -> Packets:
        """Return a copy of the records of all packets since the relay started, in the order of arrival."""
        from .packets import recorded

        return recorded(self._journal)

    def lateness(self) -> Lateness:
        """Return how much later than due packets were released."""
        from .packets import lateness

        return lateness(self.packets())

    def _ask(self, message: Impair) -> None:
        data = pickle.dumps(message)
        if len(data) > MOST_MESSAGE:
            raise RelayFailed(
                f"an impairment of {len(data)} bytes is too long to send to the relay, which takes {MOST_MESSAGE}: "
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
                f"the relay could not open its packet sockets, the kernel reports '{answer.problem}': "
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
        output = os.pread(self._output_fd, 1 << 16, 0).decode(errors="replace").strip().splitlines()
        return RelayFailed(
            f"the relay ended by itself with status {status} ({output[-1] if output else 'no message'}): "
            "nothing passes the link any more, build it again"
        )


@contextmanager
def open_relay(
    namespace: Namespace, *, near: PortSide, far: PortSide, records: int = 1 << 20, cpu: int | None = None
) -> Iterator[Relay]:
    """Run a relay between two interfaces of a namespace, which must not forward itself; it delays nothing yet.

    ``near`` is the client's side: packets that arrive there go "out". ``records`` is how many packets `Relay.packets`
    can hold (32 bytes each, allocated as they are written); ``cpu`` binds the process to one core. Raises RelayFailed
    when it cannot work.
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
        output_fd = os.memfd_create("rttcheck-relay-output")
        resources.callback(os.close, output_fd)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            resources.enter_context(ours)
            inherited = (sockets[0].fileno(), sockets[1].fileno(), journal_fd, starter_fd, theirs.fileno())
            child = _spawn(inherited, output_fd)
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
        yield Relay(child, ours, journal, output_fd)


def _spawn(inherited: tuple[int, ...], output_fd: int) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own: a Ctrl-C at the terminal is for the starting process only."""
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
        stdout=output_fd,
        stderr=output_fd,
        start_new_session=True,
    )


def _end(child: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Close the socket, which asks the process to end; kill it when it does not."""
    control.close()
    if child.poll() is None:
        # Not wait(timeout), which asks again and again, at last every 50 ms.
        ended_fd = os.pidfd_open(child.pid)
        try:
            ended = select.poll()
            ended.register(ended_fd, select.POLLIN)
            if not ended.poll(2000):
                child.kill()
        finally:
            os.close(ended_fd)
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
