"""Two kernels in turn: the same scenarios on both, round after round, each kernel kept open over all of it.

Owns the order of things and what an end in the middle leaves. In each round each scenario is run on both before the
next one is, and who goes first alternates, so that whatever changes over time is on both sides. In virtual time both
run at the same time, each on a core of its own: what the machine does besides is not in it. What the runs mean it does
not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from rttcheck.cli import away, here
from rttcheck.cli.exit_status import ExitStatus, status_of
from rttcheck.cli.order import READY, REFUSED, RESULT, Event, Order, Wanted
from rttcheck.cli.progress import Progress
from rttcheck.compare.measured import Run
from rttcheck.record.recording import Recording

LETTERS = ("A", "B")


class Taker(Protocol):
    """What carries out one order after the other."""

    def events(self, order: Order) -> Iterator[Event]:
        """Up to the result of the order's last scenario. Whether it begins now or with the first event is its own."""


class Host:
    """The running kernel, with a probe that is loaded once."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._told: Iterator[Event] | None = None

    def events(self, order: Order) -> Iterator[Event]:
        """Raises as `here.events` does."""
        if self._told is None:
            self._told = here.events(order, iter(self._orders.pop, None))
        else:
            self._orders.append(order)
        left = len(order.wanted)
        while left:
            event = next(self._told)
            yield event
            left -= event["event"] == RESULT


class Ended(Exception):
    """One side came to its end before the last round: ``sentence``, and the exit ``status`` that goes with it."""

    def __init__(self, sentence: str, status: ExitStatus) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status


@dataclass(slots=True)
class Rounds:
    """Runs rounds and keeps what they measured, by scenario and side."""

    orders: tuple[Order, Order]
    """What both are told, without scenarios."""
    takers: tuple[Taker, Taker]
    directory: Path
    progress: Progress
    runs: dict[str, tuple[list[Run], list[Run]]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """What went wrong with a scenario."""
    releases: dict[int, str] = field(default_factory=dict)
    done: int = 0

    def run(self, wanted: Sequence[Wanted], first: int, last: int) -> None:
        """Rounds ``first`` to ``last`` (counted from 1) of these scenarios.

        Raises Ended when a side cannot go on; what had been measured is kept.
        """
        whole = self.done + len(wanted) * 2 * (last - first + 1)
        beside = all(order.clock == "virtual" for order in self.orders)
        for number in range(first, last + 1):
            for place, one in enumerate(wanted):
                sides = (0, 1) if (number + place) % 2 else (1, 0)
                for some in [sides] if beside else [(side,) for side in sides]:
                    self.done += len(some)
                    self.progress.phase(
                        f"{' and '.join(LETTERS[side] for side in some)} {one.name}, "
                        f"round {number} of {last} ({self.done} of {whole} runs)"
                    )
                    self._some(one, some, number)

    def _some(self, wanted: Wanted, sides: Sequence[int], number: int) -> None:
        """The scenario on these sides at the same time."""
        begun: list[tuple[int, Iterator[Event]]] = []
        for side in sides:
            kept = self.directory / LETTERS[side] / f"round-{number:02d}"
            order = replace(self.orders[side], wanted=(wanted,), recordings=str(kept), more=True)
            begun.append((side, self.takers[side].events(order)))
        for side, events in begun:
            try:
                for event in events:
                    self._take(event, wanted, side)
            except Exception as error:
                known = status_of(error)
                if known is None:
                    raise
                raise Ended(f"{LETTERS[side]} ({self.orders[side].kernel}): {known[0]}", known[1]) from error

    def _take(self, event: Event, wanted: Wanted, side: int) -> None:
        kind: str = event["event"]
        if kind == READY:
            self.releases[side] = str(event["kernel"])
            self.progress.line(f"{LETTERS[side]}: kernel {event['kernel']} is up, probe {event['probe']}")
        elif kind == REFUSED:
            raise Ended(f"{LETTERS[side]}: {event['sentence']}", ExitStatus(int(event["status"])))
        elif kind == RESULT:
            row: dict[str, Any] = event["row"]
            sides = self.runs.setdefault(wanted.name, ([], []))
            if row.get("recording"):
                sides[side].append(Run.of(Recording.load(Path(str(row["recording"])))))
            else:
                self.notes[wanted.name] = f"{LETTERS[side]}: {row.get('reason', '')}"


@contextmanager
def open_takers(orders: tuple[Order, Order], directory: Path, progress: Progress) -> Iterator[tuple[Taker, Taker]]:
    """Both kernels, ready for orders: guests are booted, both at a time.

    Raises KernelError for a kernel that cannot be had.
    """
    from rttcheck.kernels.archive import fetch

    with ExitStack() as stack:
        takers: list[Taker] = []
        for letter, order in zip(LETTERS, orders, strict=True):
            if order.kernel == "host":
                takers.append(Host())
                continue
            release = fetch(order.kernel, progress=progress.phase).release
            progress.phase(f"booting {release} ({order.clock} time)")
            rw = directory / letter
            rw.mkdir(parents=True, exist_ok=True)
            console = directory / "consoles" / f"{letter}.log"
            takers.append(
                stack.enter_context(
                    away.open_guest(order.kernel, order.clock, console=console, rw=rw, note=progress.line)
                )
            )
        yield takers[0], takers[1]
