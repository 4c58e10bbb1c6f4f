"""One socket's packets and events made by hand, on either side of a connection, for the tests of expected samples.

Offsets count from the initial sequence number: the SYN or SYN-ACK is offset 0, the first byte of data offset 1. Times
are microseconds; an event is `OVERHEAD_US` later than its ACK.
"""

from __future__ import annotations

import numpy as np

from rttcheck.judge.address import address_bytes
from rttcheck.judge.eligibility.expectations import expectations_of
from rttcheck.judge.eligibility.part import EXPECTATION, NEW_DATA, Part
from rttcheck.record.event import EVENT, FLAG_DATA_ACKED, FLAG_SYN_ACKED, Owned
from rttcheck.record.packet import ACK, FIN, SYN, WIRE, Point
from tests.support.planted import CLIENT, SECOND, SERVER

FLOWS = ({"client": [CLIENT, 40_000], "server": [SERVER, 5_000]},)
OVERHEAD_US = 3
NONE = -1
SYN_ACK = SYN | ACK

OPENED = NEW_DATA | Part.HANDSHAKE
SACKED = Part.SACK | Part.LAST | Part.TAKEN
ECHOED = int(Part.TAKEN)


class PlantedSocket:
    """The client's socket or, ``passive``, the server's; every packet carries a timestamp unless ``stamped`` is off.

    Timestamps count milliseconds of the same time that packets are planted at, from 1,000 on.
    """

    def __init__(
        self, *, passive: bool = False, stamped: bool = True, initial: int = 1_000, peer: int = 70_000
    ) -> None:
        self.passive, self.stamped, self.initial, self.peer = passive, stamped, initial, peer
        self.received = 0
        """End of the peer's data that is in order, as acknowledged by own packets."""
        self.peer_sent = 0
        """The offset that the peer sends next."""
        self.packets: list[np.ndarray] = []
        self.made: list[np.ndarray] = []
        self.start_ns = 100 * SECOND

    def opens(self) -> None:
        """Add a handshake of 50 us, and its event."""
        if self.passive:
            self.came(0, flags=SYN)
            self.sent(10, 0, 0, flags=SYN_ACK)
            self.came(60, 1)
        else:
            self.sent(10, 0, 0, flags=SYN)
            self.came(60, 1, flags=SYN_ACK)
        self.reports(60, 1, first=50, flag=FLAG_SYN_ACKED)

    def sent(self, at_us: int, offset: int, length: int, *, flags: int = ACK) -> int:
        """Add an outgoing packet; return its row."""
        return self._packet(at_us, True, offset, length, flags, self.received, ())

    def came(
        self, at_us: int, ack: int = 0, *blocks: tuple[int, int], length: int = 0, seq: int | None = None,
        flags: int = ACK, tsval: int | None = None, window: int = 500,
    ) -> int:  # fmt: skip
        """Add an incoming packet, in order unless ``seq`` is an offset of the peer's; return its row."""
        start = self.peer_sent if seq is None else seq
        row = self._packet(at_us, False, start, length, flags, ack, blocks, tsval=tsval, window=window)
        if seq is None:
            self.peer_sent = self.received = start + length + bool(flags & (SYN | FIN))
        return row

    def reports(
        self, at_us: int, una: int, *, first: int = -1, last: int | None = None, sack: int = -1, coarse: int = -1,
        flag: int = FLAG_DATA_ACKED, owned: Owned = Owned.NO,
    ) -> int:  # fmt: skip
        """Add the event of an ACK that came in at ``at_us`` or before; values are wire times, `OVERHEAD_US` less."""
        event = np.zeros(1, dtype=EVENT)
        now_ns = self.start_ns + (at_us + OVERHEAD_US) * 1_000
        values = {"first_rtt_us": first, "sack_rtt_us": sack, "last_rtt_us": max(first, sack) if last is None else last}
        for name, value in values.items():
            event[name] = value + OVERHEAD_US if value >= 0 else -1
        fed = first if first >= 0 else sack if sack >= 0 else coarse
        event["timestamp_ns"], event["tcp_mstamp_us"] = now_ns + 2_000, now_ns // 1_000
        event["sample_us"], event["taken"] = fed, fed >= 0
        event["flag"], event["owned"], event["hz"], event["rto_jiffies"] = flag, owned, 250, 50
        event["snd_una"] = (self.initial + una) % 2**32
        own, peer, sport, dport = self._addresses
        event["saddr"], event["daddr"] = own, peer
        event["sport"], event["dport"] = sport, dport
        self.made.append(event)
        return len(self.made) - 1

    @property
    def wire(self) -> np.ndarray:
        return np.concatenate(self.packets)

    @property
    def events(self) -> np.ndarray:
        return np.concatenate(self.made) if self.made else np.zeros(0, dtype=EVENT)

    def expectations(self) -> list[tuple[int, int, int, int, int]]:
        """Return row of the ACK, event, expected, reported, excluded by Karn's rule; by ACK, then by event."""
        return sorted_expectations(expectations_of(self.events, self.wire, FLOWS))

    @property
    def _addresses(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        client, server = (np.frombuffer(address_bytes(host), np.uint8) for host in (CLIENT, SERVER))
        return (server, client, 5_000, 40_000) if self.passive else (client, server, 40_000, 5_000)

    def _packet(
        self, at_us: int, outgoing: bool, start: int, length: int, flags: int, ack: int,
        blocks: tuple[tuple[int, int], ...], *, tsval: int | None = None, window: int = 500,
    ) -> int:  # fmt: skip
        row = np.zeros(1, dtype=WIRE)
        first, other = (self.initial, self.peer) if outgoing else (self.peer, self.initial)
        row["time_ns"] = self.start_ns + at_us * 1_000
        row["point"], row["outgoing"] = Point.SERVER if self.passive else Point.CLIENT, outgoing
        row["seq"], row["payload"], row["flags"], row["window"] = (first + start) % 2**32, length, flags, window
        row["ack"] = (other + ack) % 2**32 if flags & ACK else 0
        if self.stamped:
            row["has_ts"], row["tsval"] = 1, 1_000 + at_us // 1_000 if tsval is None else tsval
            row["tsecr"] = 0 if flags == SYN else 1_000
        row["sack_blocks"] = len(blocks)
        for place, (left, right) in enumerate(blocks):
            row["sack"][0, place] = ((other + left) % 2**32, (other + right) % 2**32)
        own, peer, sport, dport = self._addresses
        row["src"], row["dst"] = (own, peer) if outgoing else (peer, own)
        row["sport"], row["dport"] = (sport, dport) if outgoing else (dport, sport)
        self.packets.append(row)
        return len(self.packets) - 1


def sorted_expectations(rows: np.ndarray) -> list[tuple[int, int, int, int, int]]:
    """Return rows of dtype `EXPECTATION` without their socket, sorted."""
    assert rows.dtype == EXPECTATION
    return sorted(
        (int(row["ack"]), int(row["event"]), int(row["expected"]), int(row["reported"]), int(row["karn"]))
        for row in rows
    )


def opened(*, stamped: bool = True) -> PlantedSocket:
    """Return the client's socket after its handshake, whose row is `HANDSHAKE`."""
    planted = PlantedSocket(stamped=stamped)
    planted.opens()
    return planted


def as_expected(ack: int, event: int, parts: int, karn: int = 0) -> tuple[int, int, int, int, int]:
    """Return a row whose expected parts are reported."""
    return ack, event, parts, parts, karn


HANDSHAKE = as_expected(1, 0, OPENED)
