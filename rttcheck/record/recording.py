"""A recording of one run: the one file between collecting and judging.

It holds everything that a judge needs and none of its conclusions: the scenario as asked for, the
machine, the probe's events, the kernel's own histograms, the sockets, the settings read back. The same recording gives
the same verdict on any machine, years later.

On disk it is a ZIP archive of ``recording.json``, one ``.npy`` array a table (no pickles) and, where packets were
captured, ``packets.pcapng``, written under another name and renamed, so that there is never half a recording.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from rttcheck.errors import RecordingError
from rttcheck.record.archive import HEADER, LAYOUTS, PACKETS, SCHEMA, UNITS, Archive
from rttcheck.record.event import EVENT
from rttcheck.record.packet import WIRE
from rttcheck.record.stamp import STAMP
from rttcheck.record.tick import TICK
from rttcheck.record.view import WHOLE, View
from rttcheck.record.write import WRITE
from rttcheck_netns.relay.packets import PACKET

SUFFIX = ".rttrec"

_QUICKLY = 1
"""Level of deflate: the suite's recordings have a tenth more bytes than with the usual 6, packets alone a quarter, in a
third to a tenth of its time; the processor that writes recordings is mostly an emulated one."""


def _no_events() -> np.ndarray:
    return np.zeros(0, dtype=EVENT)


def _no_packets() -> np.ndarray:
    return np.zeros(0, dtype=WIRE)


def _no_ticks() -> np.ndarray:
    return np.zeros(0, dtype=TICK)


def _not_relayed() -> np.ndarray:
    return np.zeros(0, dtype=PACKET)


def _no_stamps() -> np.ndarray:
    return np.zeros(0, dtype=STAMP)


def _no_writes() -> np.ndarray:
    return np.zeros(0, dtype=WRITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTaken:
    """A change of the link in mid-connection: from ``at_ns`` (CLOCK_MONOTONIC) the step ``index`` was in force."""

    at_ns: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """The data of one run of one scenario.

    Times in events are microseconds where their name ends in ``_us`` and CLOCK_MONOTONIC nanoseconds in ``_ns``.
    """

    scenario: Mapping[str, Any]
    """The scenario's keywords; ``Scenario.make(**scenario)`` builds it again."""
    kernel: str
    """``uname -r`` of the kernel under test."""
    clock: str
    """``virtual`` (guest time counts instructions) or ``real``."""
    engine: str
    """What delayed the packets: ``netem`` (the kernel's) or ``relay`` (a process of rttcheck's)."""
    probe: str
    """The backend that saw the samples, by its name."""
    events: np.ndarray
    """Every call of ``tcp_ack_update_rtt`` in the lab's namespaces, dtype ``EVENT``, in order of arrival."""
    histograms: Mapping[str, np.ndarray]
    """The kernel-side log2 histograms, ``us`` and ``ms``: 17 counts each."""
    lost: int
    """Events that the probe could not hand over."""
    control: np.ndarray
    """Events (dtype ``EVENT``) of the same traffic over the same lab without delay, in the same session."""
    control_lost: int = 0
    view: View = WHOLE
    """What the backend sees of the kernel's samples: which ones, and which members of their events mean nothing."""
    second: np.ndarray = field(default_factory=_no_events)
    """Events (dtype ``EVENT``) of another backend that looked at the same time."""
    second_facts: Mapping[str, Any] = field(default_factory=dict)
    """Of that backend: ``probe``, ``view`` and ``lost``. Empty when one backend looked alone."""
    wire: np.ndarray = field(default_factory=_no_packets)
    """Every TCP packet at each point of the lab, dtype ``WIRE``, in order at each point."""
    wire_facts: Mapping[str, Any] = field(default_factory=dict)
    """``points``: what each capture took and dropped; ``clock_step_ns``. Empty when nothing was captured."""
    control_wire: np.ndarray = field(default_factory=_no_packets)
    """The packets of the control run, dtype ``WIRE``."""
    stamps: np.ndarray = field(default_factory=_no_stamps)
    """TCP's own stamp on each packet that left an end, dtype ``STAMP``, in order of leaving at each end."""
    control_stamps: np.ndarray = field(default_factory=_no_stamps)
    """The same of the control run."""
    stamp_facts: Mapping[str, Any] = field(default_factory=dict)
    """``lost``: stamps that could not be handed over; ``why_not``, where none could be read. Empty in older files."""
    writes: np.ndarray = field(default_factory=_no_writes)
    """When the application gave TCP what it sends, dtype ``WRITE``, by connection and end, in order."""
    control_writes: np.ndarray = field(default_factory=_no_writes)
    """The same of the control run."""
    packets: bytes = field(default=b"")
    """The captured frames of ``wire`` as a pcapng file, for Wireshark and not for the judge; empty in older files.

    The captures bound it: 180 bytes a packet, 131,072 packets a point, four points are 90 MiB (``capture.MOST_FRAMES``,
    ``pcapng.PACKET_MOST``).
    """
    flows: tuple[Mapping[str, Any], ...] = ()
    """One a connection: ``client`` and ``server`` address (``[ip, port]``), socket cookies, times, both TCP_INFO."""
    steps: tuple[StepTaken, ...] = ()
    netem: Mapping[str, Any] = field(default_factory=dict)
    """The impairments as the kernel gave them back, and the qdiscs' counters after the traffic."""
    control_flows: tuple[Mapping[str, Any], ...] = ()
    """``client`` and ``server`` address of each connection of the control run."""
    control_runs: tuple[int, ...] = ()
    """How many of ``control``'s events each control run left, where there were several: before the run and after it."""
    noise: np.ndarray = field(default_factory=_no_ticks)
    """Timers on the cores of traffic and relay, dtype ``TICK``, core by core; from before the lab was built until all
    packets had arrived. None in virtual time."""
    noise_facts: Mapping[str, Any] = field(default_factory=dict)
    """How they were scheduled, how late those of the control runs were, or ``why_not``; empty in older files."""
    timers: np.ndarray = field(default_factory=_no_ticks)
    """Timers, dtype ``TICK``. In virtual time those that fired in the lab just before the traffic: nothing else was at
    work, so that they say how late a timer of this kernel is, without TCP and netem. In real time those that ran during
    the control runs, as ``noise`` did during the run."""
    relay: np.ndarray = field(default_factory=_not_relayed)
    """Each packet that the relay took, dtype ``PACKET``, as the relay recorded it; none with another engine."""
    relay_facts: Mapping[str, Any] = field(default_factory=dict)
    """``unrecorded``: packets that went through and are not in ``relay``, because its memory was full; ``clock_set``:
    how often the time of day was set meanwhile. Empty with another engine, and in older files."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    """Versions, architecture, HZ and the like: the environment, not the result."""

    kernel_log: Mapping[str, Any] = field(default_factory=dict)
    """The kernel's messages meanwhile (`rttcheck.kernel_log.record.LogExcerpt`), and which splats the user allows.
    Empty when the log was not read."""
    absent: frozenset[str] = frozenset()
    """Columns of tables that the file lacks because an older version wrote it, as in ``wire.window``. Those of events
    are in ``view.unseen`` as well. Empty for what was just recorded."""

    def save(self, path: Path) -> Path:
        """Write the recording to ``path``, whole or not at all.

        Raises RecordingError when the file cannot be written (no space, no permission).
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise RecordingError(_cannot_write(path, error)) from error
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                self._write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except OSError as error:
            raise RecordingError(_cannot_write(path, error)) from error
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def header_alone(self) -> Recording:
        """Return the recording without its tables, where a file has them; they are read when they are asked for."""
        return self

    def _write(self, file: IO[bytes]) -> None:
        header = {
            "schema": SCHEMA,
            "scenario": dict(self.scenario),
            "kernel": self.kernel,
            "clock": self.clock,
            "engine": self.engine,
            "probe": self.probe,
            "lost": self.lost,
            "control_lost": self.control_lost,
            "view": self.view.as_dict(),
            "second_facts": dict(self.second_facts),
            "wire_facts": dict(self.wire_facts),
            "stamp_facts": dict(self.stamp_facts),
            "packets_bytes": len(self.packets),
            "flows": [dict(flow) for flow in self.flows],
            "control_flows": [dict(flow) for flow in self.control_flows],
            "control_runs": list(self.control_runs),
            "noise_facts": dict(self.noise_facts),
            "relay_facts": dict(self.relay_facts),
            "steps": [[step.at_ns, step.index] for step in self.steps],
            "netem": dict(self.netem),
            "sysctls": dict(self.sysctls),
            "machine": dict(self.machine),
            "kernel_log": dict(self.kernel_log),
        }
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_QUICKLY) as archive:
            archive.writestr(HEADER, json.dumps(header, indent=1, sort_keys=True))
            for name, array in self._tables().items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            if self.packets:
                archive.writestr(PACKETS, self.packets)

    def _tables(self) -> dict[str, np.ndarray]:
        return {
            **{name: getattr(self, name) for name in LAYOUTS},
            **{f"histogram_{unit}": np.asarray(self.histograms[unit], np.uint64) for unit in UNITS},
        }

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Open a recording; its tables are read when they are first asked for.

        Raises RecordingError when the file is missing, cut short or newer than this program. Damage in a table is found
        when it is read: asking for it raises RecordingError.
        """
        archive = Archive.open(Path(path))
        header, absent = archive.header, archive.absent
        try:
            view = View.of(header.get("view", {})).without(_of(absent, "events"))
            second_facts = header.get("second_facts", {})
            if second_facts:
                second_view = View.of(second_facts["view"]).without(_of(absent, "second"))
                second_facts = {**second_facts, "view": second_view.as_dict()}
            return Stored(
                archive=archive,
                scenario=header["scenario"],
                kernel=header["kernel"],
                clock=header["clock"],
                engine=header["engine"],
                probe=header["probe"],
                lost=header["lost"],
                control_lost=header["control_lost"],
                view=view,
                second_facts=second_facts,
                wire_facts=header.get("wire_facts", {}),
                stamp_facts=header.get("stamp_facts", {}),
                flows=tuple(header["flows"]),
                control_flows=tuple(header.get("control_flows", ())),
                control_runs=tuple(header.get("control_runs", ())),
                noise_facts=header.get("noise_facts", {}),
                relay_facts=header.get("relay_facts", {}),
                absent=absent,
                steps=tuple(StepTaken(at_ns=at_ns, index=index) for at_ns, index in header["steps"]),
                netem=header["netem"],
                sysctls=header["sysctls"],
                machine=header["machine"],
                kernel_log=header.get("kernel_log", {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordingError(
                f"{path} is not a whole recording (in its header: {error}): record the run again"
            ) from error


def _of(absent: frozenset[str], table: str) -> frozenset[str]:
    """Return the columns of ``table`` among those that are absent."""
    return frozenset(name.removeprefix(f"{table}.") for name in absent if name.startswith(f"{table}."))


def _cannot_write(path: Path, error: OSError) -> str:
    return f"the recording {path} could not be written ({error.strerror}): make room or name another directory"


_IN_MEMBERS = frozenset({*LAYOUTS, "histograms", "packets"})
"""What a file has beside its header."""


class Stored(Recording):
    """A recording in a file. A table is read once, and belongs to the recording from then on."""

    __slots__ = ("_archive",)

    def __init__(self, *, archive: Archive | None = None, **header: Any) -> None:
        """Take the ``header``; what is not in it is left to the ``archive``. `dataclasses.replace` gives everything."""
        object.__setattr__(self, "_archive", archive)
        for each in fields(Recording):
            if each.name in header:
                object.__setattr__(self, each.name, header[each.name])

    def header_alone(self) -> Recording:
        """Return the same without the tables that were read, which are read again if they are asked for."""
        archive: Archive | None = object.__getattribute__(self, "_archive")
        if archive is None:
            return self
        kept = {each.name: getattr(self, each.name) for each in fields(Recording) if each.name not in _IN_MEMBERS}
        return Stored(archive=archive, **kept)

    def __getattr__(self, name: str) -> Any:
        """Read what has not been read yet."""
        archive: Archive | None = object.__getattribute__(self, "_archive")
        if archive is None:
            raise AttributeError(name)
        if name in LAYOUTS:
            value: Any = archive.table(name)
        elif name == "histograms":
            value = archive.histograms()
        elif name == "packets":
            value = archive.packets()
        else:
            raise AttributeError(name)
        object.__setattr__(self, name, value)
        return value
