"""Synthetic packets that agree with the events of a sound kernel, for tests to plant faults in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from rttcheck.judge.address import address_bytes
from rttcheck.judge.observation import Observation
from rttcheck.record.event import EVENT, FLAG_DATA_ACKED, Owned, TcpState
from rttcheck.record.packet import ACK, SYN, WIRE, Point
from rttcheck.record.recording import Recording
from rttcheck.record.stamp import STAMP
from rttcheck.record.write import WRITE
from tests.support.kernel_by_hand import Kernel
from tests.support.planted import CLIENT, SECOND, SERVER, info_of, record, tables_of

OWN, PEER = (CLIENT, 40_000), (SERVER, 5_000)
FLOWS = ({"client": list(OWN), "server": list(PEER)},)
FACTS: dict[str, Any] = {
    "points": {
        "client": {"interface": "eth0", "captured": 900, "dropped": 0, "others": 0, "fragments": 0, "damaged": 0},
    },
    "clock_step_ns": 12,
}
OVERHEAD_US = 5
"""What the planted kernel adds to the wire time."""
LEAD_NS = 3_000
"""How long before its departure a segment is stamped; the rest of `OVERHEAD_US` is after the ACK's arrival."""
WRITE_NS = 4_000
"""How long before the stamp the application began to write."""
INITIAL = 999
"""The initial sequence number that packets made by `wire_of` imply."""


class PlantedWire:
    """One connection at the client's interface: packets sent and received, and their events.

    Offsets count from the initial sequence number: the SYN is offset 0, the first byte of data offset 1.
    """

    def __init__(
        self, *, initial: int = 1_000, port: int = OWN[1], start_ns: int = 100 * SECOND, mss: int = 1_448
    ) -> None:
        self.initial, self.port, self.start_ns, self.mss = initial, port, start_ns, mss
        self.packets: list[np.ndarray] = []
        self.made: list[np.ndarray] = []
        self.stamped: list[np.ndarray] = []
        self.written: list[np.ndarray] = []

    def sequence(self, offset: int) -> int:
        return (self.initial + offset) % 2**32

    def sent(
        self, at_us: int, offset: int, length: int, *, flags: int = ACK, tsval: int = 0,
        stamp_ns: int | None = None,
    ) -> int:  # fmt: skip
        """Send a segment, stamped ``stamp_ns`` after the start if at all; return its row."""
        row = self._packet(at_us, True, seq=self.sequence(offset), payload=length, flags=flags, tsval=tsval)
        if stamp_ns is not None:
            stamp = stamps_of_wire(self.packets[row])
            stamp["stamp_ns"] = self.start_ns + stamp_ns
            self.stamped.append(stamp)
        return row

    def wrote(self, at_ns: int, end: int, *, connection: int = 0, server: int = 0) -> None:
        """Add the application's system call that gives TCP all data up to the offset ``end``."""
        row = np.zeros(1, dtype=WRITE)
        row["begin_ns"], row["end"], row["connection"], row["server"] = self.start_ns + at_ns, end, connection, server
        self.written.append(row)

    def observed(self, *, control: bool = False, flows: Any = FLOWS) -> Observation:
        """Return the run, or the control run, as an `Observation`."""
        writes = np.concatenate([np.zeros(0, dtype=WRITE), *self.written])
        stamps = np.concatenate([np.zeros(0, dtype=STAMP), *self.stamped])
        run = {"wire": self.wire, "stamps": stamps, "writes": writes, "flows": flows}
        recording = record()
        if control:
            kept = {f"control_{name}": table for name, table in run.items()}
            return Observation.of_control(dataclasses.replace(recording, control=self.events, **kept))
        return Observation.of_run(dataclasses.replace(recording, events=self.events, **run))

    def came(self, at_us: int, ack: int, *blocks: tuple[int, int], flags: int = ACK, tsecr: int = 0) -> int:
        """Receive an ACK, with SACK blocks as offsets; return its row."""
        row = self._packet(at_us, False, ack=self.sequence(ack), flags=flags, tsecr=tsecr, sack_blocks=len(blocks))
        for place, (left, right) in enumerate(blocks):
            self.packets[row]["sack"][0, place] = (self.sequence(left), self.sequence(right))
        return row

    def handshake(self) -> None:
        self.sent(0, 0, 0, flags=SYN)
        self.came(50, 1, flags=SYN | ACK)

    def event(
        self, at_us: int, una: int, *, first: int = -1, last: int = -1, sack: int = -1, flag: int = FLAG_DATA_ACKED,
        coarse: int = -1,
    ) -> int:  # fmt: skip
        """Add the event of an ACK processed at ``at_us`` with these values; return its number."""
        event = np.zeros(1, dtype=EVENT)
        now_ns = self.start_ns + at_us * 1_000
        fed = first if first >= 0 else sack if sack >= 0 else coarse
        event["timestamp_ns"], event["tcp_mstamp_us"] = now_ns + 3_000, now_ns // 1_000
        event["first_rtt_us"], event["last_rtt_us"], event["sack_rtt_us"] = first, last, sack
        event["sample_us"], event["rs_rtt_us"] = fed, last if last >= 0 else coarse
        event["taken"], event["flag"], event["snd_una"] = fed >= 0, flag, self.sequence(una)
        event["owned"] = Owned.NO
        event["write_seq"], event["mss_cache"], event["state"] = self.sequence(1 << 20), self.mss, TcpState.ESTABLISHED
        event["saddr"] = np.frombuffer(address_bytes(OWN[0]), np.uint8)
        event["daddr"] = np.frombuffer(address_bytes(PEER[0]), np.uint8)
        event["sport"], event["dport"], event["hz"] = self.port, PEER[1], 250
        self.made.append(event)
        return len(self.made) - 1

    @property
    def wire(self) -> np.ndarray:
        return np.concatenate(self.packets)

    @property
    def events(self) -> np.ndarray:
        return np.concatenate(self.made) if self.made else np.zeros(0, dtype=EVENT)

    def _packet(self, at_us: int, outgoing: bool, **fields: int) -> int:
        row = np.zeros(1, dtype=WIRE)
        row["time_ns"], row["point"], row["outgoing"] = self.start_ns + at_us * 1_000, Point.CLIENT, outgoing
        row["has_ts"] = 1
        for name, value in fields.items():
            row[name] = value
        own, peer = (OWN[0], self.port), PEER
        for mine, (host, port) in (("s", own if outgoing else peer), ("d", peer if outgoing else own)):
            row["src" if mine == "s" else "dst"] = np.frombuffer(address_bytes(host), np.uint8)
            row[f"{mine}port"] = port
        self.packets.append(row)
        return len(self.packets) - 1


def wire_of(events: np.ndarray, overhead_us: int = OVERHEAD_US) -> np.ndarray:
    """Return the packets of a planted recording's events: one segment and one ACK each, at the sender's interface.

    ``snd_una`` must increase by one per event. Where first- and last-acked differ, the last segment left that much
    later.
    """
    rows: list[np.ndarray] = []
    for event in events:
        point = Point.CLIENT if event["sport"] == OWN[1] else Point.SERVER
        arrival = int(event["timestamp_ns"]) - 2_000
        first, last = int(event["first_rtt_us"]), int(event["last_rtt_us"])
        leaves = [first] if first == last else [first, last]
        start = (int(event["snd_una"]) - 1) * 10
        pieces = [(start, 10)] if len(leaves) == 1 else [(start, 5), (start + 5, 5)]
        for value, (seq, payload) in zip(leaves, pieces, strict=True):
            rows.append(_row(event, True, point, arrival - (value - overhead_us) * 1_000, seq, payload))
        rows.append(_row(event, False, point, arrival, start + 10, 0))
    wire = np.concatenate(rows)
    order: np.ndarray = np.lexsort((wire["time_ns"], wire["point"]))
    in_order: np.ndarray = wire[order]
    return in_order


def _row(event: np.void, outgoing: bool, point: Point, time_ns: int, number: int, payload: int) -> np.ndarray:
    row = np.zeros(1, dtype=WIRE)
    row["time_ns"], row["point"], row["outgoing"], row["payload"] = time_ns, point, outgoing, payload
    row["seq" if outgoing else "ack"] = number + 1_000
    row["flags"] = ACK
    for name, ours, theirs in (("src", "saddr", "daddr"), ("dst", "daddr", "saddr")):
        row[name] = event[ours if outgoing else theirs]
    for name, ours, theirs in (("sport", "sport", "dport"), ("dport", "dport", "sport")):
        row[name] = event[ours if outgoing else theirs]
    return row


def stamps_of_wire(wire: np.ndarray) -> np.ndarray:
    """Return the stamps of packets that left an end, `LEAD_NS` before they left."""
    left = wire[wire["outgoing"] != 0]
    stamps = np.zeros(len(left), dtype=STAMP)
    for name in ("seq", "ack", "payload", "sport", "dport", "flags", "point"):
        stamps[name] = left[name]
    stamps["time_ns"], stamps["stamp_ns"] = left["time_ns"] + 200, left["time_ns"] - LEAD_NS
    return stamps


def writes_of_wire(wire: np.ndarray) -> np.ndarray:
    """Return one write for each segment of `wire_of`, `WRITE_NS` before it was stamped."""
    left = wire[wire["outgoing"] != 0]
    writes = np.zeros(len(left), dtype=WRITE)
    writes["begin_ns"] = left["time_ns"] - LEAD_NS - WRITE_NS
    writes["end"] = left["seq"].astype(np.int64) + left["payload"] - INITIAL
    writes["server"] = left["point"] == Point.SERVER
    return writes


Change = Callable[[np.ndarray], object]


def with_packets(
    *, fault: Change | None = None, control_fault: Change | None = None, stamped: bool = False,
    stamp_fault: Change | None = None, **keywords: Any,
) -> Recording:  # fmt: skip
    """Return a sound recording with packets (see `planted.record`); ``fault`` changes the events afterwards.

    The kernel's state, the kernel-side tables and TCP_INFO agree with the changed events: only the packets do not.
    ``stamped``: with stamps of packets and the application's writes. ``stamp_fault`` changes the stamps of the run and
    of the control run, ``control_fault`` the control run's events.
    """
    recording = record(**keywords)
    events = _counted(recording.events.copy())
    control = _counted(recording.control.copy())
    wire, control_wire = wire_of(events), wire_of(control)
    stamps, control_stamps = stamps_of_wire(wire), stamps_of_wire(control_wire)
    for table in (events, control):
        table["snd_una"] = table["snd_una"] * 10 + 1_000
        # The estimators' round trip is counted in sequence numbers, which `record` begins at 0.
        for field in ("snd_nxt", "rtt_seq"):
            table[field] = (table[field] + 1) * 10 + 1_000
    if fault is not None:
        changed = fault(events)
        events = changed if isinstance(changed, np.ndarray) else events
        relive(events)
    if control_fault is not None:
        control_fault(control)
    if stamp_fault is not None:
        stamp_fault(stamps)
        stamp_fault(control_stamps)
    infos = {"client_info": info_of(events, OWN), "server_info": info_of(events, PEER)}
    made = dataclasses.replace(
        recording,
        events=events,
        flows=({**recording.flows[0], **infos},),
        histograms=tables_of(events),
        wire=wire,
        wire_facts=FACTS,
        control=control,
        control_wire=control_wire,
        control_flows=FLOWS,
    )
    if not stamped:
        return made
    return dataclasses.replace(
        made,
        stamps=stamps,
        control_stamps=control_stamps,
        writes=writes_of_wire(wire),
        control_writes=writes_of_wire(control_wire),
    )


def relive(events: np.ndarray) -> None:
    """Feed these samples to a simulated kernel, and write its state into the events."""
    for port in np.unique(events["sport"]):
        kernel = Kernel()
        for at in np.flatnonzero((events["sport"] == port) & (events["taken"] != 0)):
            kernel.ack(events[at])


def _counted(events: np.ndarray) -> np.ndarray:
    """Make each event acknowledge ten bytes, the handshake's too: offsets 1 to 11, 11 to 21 and so on."""
    for port in np.unique(events["sport"]):
        mine = events["sport"] == port
        # An event's own number; it becomes the packets' sequence number later.
        events["snd_una"][mine] = np.arange(int(mine.sum())) + 1
    events["write_seq"] = 1 << 20
    events["mss_cache"] = 1_448
    return events
