"""The data of one run: events paired with packets, the packets' stamps, the application's writes.

The run and its control run are each an `Observation`, and the same checks are made of both: the control run is made by
the kernel under test, so it is judged like any other run before it is used as a reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rttcheck.judge.address import Address
from rttcheck.judge.pairing.ends import Ends
from rttcheck.judge.pairing.sockets import Sockets
from rttcheck.judge.pairing.stamps import UNKNOWN, stamps_of
from rttcheck.judge.pairing.wire_times import Booleans, Integers, TimedValues, WireTimes
from rttcheck.judge.samples import connections_of
from rttcheck.record.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """One run. ``stamp_ns`` has an entry for each packet of ``wire``, the other arrays one for each event."""

    control: bool
    """Whether this is the control run, over a link without delay."""
    events: np.ndarray
    wire: np.ndarray
    flows: Sequence[Mapping[str, Any]]
    writes: np.ndarray
    ends: Ends
    """The packets at the ends, by life."""
    wire_times: WireTimes
    stamp_ns: Integers
    """TCP's own stamp, CLOCK_MONOTONIC; `UNKNOWN` where none was read."""
    sides: npt.NDArray[np.uint8]
    stamped: bool
    """Whether stamps were read at all: not in recordings of schema 4 and older."""

    @classmethod
    def of_run(
        cls,
        recording: Recording,
        sides: npt.NDArray[np.uint8] | None = None,
        sent: tuple[np.ndarray, np.ndarray] | None = None,
        events: np.ndarray | None = None,
    ) -> Observation:
        """Return the observation of the run itself; ``sides`` are those of its events, where they are known.

        ``sent`` are its packets and their stamps, if not all that were recorded were sent, or if there is a `Table` of
        them; ``events`` is the `Table` of its events, where there is one.
        """
        wire, stamps = (recording.wire, recording.stamps) if sent is None else sent
        events = recording.events if events is None else events
        return cls._of(events, wire, recording.flows, stamps, recording.writes, False, sides)

    @classmethod
    def of_control(cls, recording: Recording) -> Observation:
        """Return the observation of the control run."""
        return cls._of(
            recording.control, recording.control_wire, recording.control_flows, recording.control_stamps,
            recording.control_writes, True,
        )  # fmt: skip

    @classmethod
    def _of(
        cls, events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]], stamps: np.ndarray,
        writes: np.ndarray, control: bool, sides: npt.NDArray[np.uint8] | None = None,
    ) -> Observation:  # fmt: skip
        ends = Ends.of(wire, Sockets(flows))
        return cls(
            control=control,
            events=events,
            wire=wire,
            flows=flows,
            writes=writes,
            ends=ends,
            wire_times=WireTimes.at(events, ends),
            stamp_ns=stamps_of(wire, stamps),
            sides=connections_of(events, addresses(flows))[1] if sides is None else sides,
            stamped=len(stamps) > 0,
        )

    @property
    def where(self) -> str:
        """Return the prefix of messages about this run; empty for the run itself."""
        return "at zero delay: " if self.control else ""

    def stamps_of(self, timed: TimedValues) -> tuple[Integers, Booleans]:
        """Return the stamp on each value's segment, and for which values it is known."""
        stamp_ns = self.stamp_ns[timed.segment]
        return stamp_ns, stamp_ns != UNKNOWN


def addresses(flows: Sequence[Mapping[str, Any]]) -> list[tuple[Address, Address]]:
    """Return the client's and the server's address of each connection."""

    def address(value: Any) -> Address:
        return str(value[0]), int(value[1])

    return [(address(flow["client"]), address(flow["server"])) for flow in flows]
