"""Recordings of any size with known truth: exchanges repeated in time, put on the wire of any number of connections.

It owns the step from offsets and places to sequence numbers and rows of the tables. Which departures an event belongs
to comes from the exchange itself, so that a judge's answer can be compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.exchange import NEWS_NS, NONE, Exchange, Traffic
from rttcheck.judge.address import address_bytes
from rttcheck.record.event import EVENT, FLAG_SYN_ACKED, TcpState
from rttcheck.record.packet import ACK, SYN, WIRE, Point

HOSTS = ("10.0.1.2", "10.0.2.2")
PORTS = (40_000, 5_000)
SECOND = 1_000_000_000
TICK_NS = 4_000_000
"""A jiffy of the events' 250 a second."""
STAMP_MS = 7_000_000
"""The timestamps' clock at the beginning."""
LINK_NS = 2_000
"""From an end's interface to the link's, and back."""
_POINTS = (Point.CLIENT, Point.SERVER)

Rows = npt.NDArray[np.int32]
Times = npt.NDArray[np.int64]

_TRUTH = ("ack", "first", "last", "sack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One connection: an exchange as often as wanted, one after the other, from a handshake on."""

    exchange: Exchange
    times: int = 1
    client_port: int = PORTS[0]
    initial: tuple[int, int] = (1_000, 2_000)
    """Both sides' initial sequence numbers."""
    start_ns: int = 100 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planted:
    """The tables of a recording, and the rows of the wire that each event belongs to."""

    events: np.ndarray
    wire: np.ndarray
    flows: tuple[dict[str, Any], ...]
    ack: Rows
    first: Rows
    last: Rows
    sack: Rows


def plant(connections: Sequence[Connection], *, link: bool = False) -> Planted:
    """Put ``connections`` together; ``link`` adds the packets as the link saw them, which no end knows of."""
    wires, dues, tables, truths, owners = [], [], [], [], []
    before = 0
    for connection in connections:
        wire, due_ns, events, truth = _laid_out(connection)
        wires.append(wire)
        dues.append(due_ns)
        tables.append(events)
        truths.append(np.where(truth == NONE, NONE, truth + before))
        owners.append(connection.client_port)
        before += len(wire)
    wire, events, truth = np.concatenate(wires), np.concatenate(tables), np.concatenate(truths)
    due_ns = np.concatenate(dues)
    wires.clear()
    order = np.lexsort((wire["time_ns"], wire["point"]))
    row = np.empty(len(wire) + 1, dtype=np.int64)
    row[order], row[NONE] = np.arange(len(wire)), NONE
    wire, due_ns, truth = wire[order], due_ns[order], row[truth]
    if link:
        near, far = (wire["point"] == point for point in _POINTS)
        # The client's packets, those of the link in their order, the server's: as captures are put together.
        truth[truth >= int(near.sum())] += len(wire)
        sides = ((near, Point.LINK_NEAR), (far, Point.LINK_FAR))
        at_link = [_at_link(wire[side], due_ns[side], point) for side, point in sides]
        wire = np.concatenate((wire[near], *at_link, wire[far]))
    by_time = np.argsort(events["timestamp_ns"], kind="stable")
    ports = dict.fromkeys(owners)
    return Planted(
        events=events[by_time],
        wire=wire,
        flows=tuple({"client": [HOSTS[0], port], "server": [HOSTS[1], PORTS[1]]} for port in ports),
        **{name: truth[by_time, column].astype(np.int32) for column, name in enumerate(_TRUTH)},
    )


def _at_link(copies: np.ndarray, due_ns: Times, point: Point) -> np.ndarray:
    """One end's packets as the link saw them: exactly the link's delay apart, however long they waited for the end."""
    copies["time_ns"] = due_ns + np.where(copies["outgoing"] != 0, LINK_NS, -LINK_NS)
    copies["point"], copies["outgoing"] = point, copies["outgoing"] ^ 1
    in_order: np.ndarray = copies[np.argsort(copies["time_ns"], kind="stable")]
    return in_order


def _laid_out(connection: Connection) -> tuple[np.ndarray, Times, np.ndarray, npt.NDArray[np.int64]]:
    """Wire, due times and events of one connection, and the truth as rows of that wire."""
    exchange, times = connection.exchange, connection.times
    packets = exchange.packets
    one = _tile(packets)
    wire = np.tile(one, times)
    again = np.repeat(np.arange(times), len(one))
    sender = (wire["point"] == Point.CLIENT) ^ (wire["outgoing"] == 1)  # 0 where the client sent it.
    sent = np.array(exchange.sent, dtype=np.int64)
    initial = np.array(connection.initial, dtype=np.int64)
    mine = (initial[sender.astype(int)] + again * sent[sender.astype(int)]) & 0xFFFFFFFF
    theirs = (initial[1 - sender] + again * sent[1 - sender]) & 0xFFFFFFFF
    # Whole ticks of 4 ms: jiffies and timestamps of every exchange are those of the first, moved.
    lasting_ns = (-(-exchange.lasted_ns // TICK_NS) + 1) * TICK_NS
    later_ns = connection.start_ns + again * lasting_ns
    due_ns = np.tile(np.array([packet.due_ns for packet in packets], dtype=np.int64), times) + later_ns
    wire["time_ns"] += later_ns
    wire["tsval"] += (again * (lasting_ns // 1_000_000)).astype(np.uint32)
    wire["tsecr"] += (again * (lasting_ns // 1_000_000)).astype(np.uint32)
    wire["seq"] += mine.astype(np.uint32)
    wire["ack"] += theirs.astype(np.uint32)
    wire["sack"] += theirs.astype(np.uint32)[:, None, None] * (wire["sack"] != 0)
    opening = _handshake(connection)
    due_ns = np.concatenate((opening["time_ns"], due_ns))
    wire = np.concatenate((opening, wire))
    _address(wire, connection)

    seen = exchange.seen
    table = np.zeros(len(seen), dtype=EVENT)
    columns = np.array(
        [
            (s.side, s.now_ns, s.una, s.flag, s.first_us, s.last_us, s.sack_us, s.coarse_us, s.next, s.delivered)
            for s in seen
        ],
        np.int64,
    ).reshape(-1, 10)
    side, now_ns, una, flag, first, last, sack, coarse, following, delivered = columns.T
    fed = np.where(first >= 0, first, np.where(sack >= 0, sack, coarse))
    table["timestamp_ns"], table["tcp_mstamp_us"] = now_ns + NEWS_NS - 1_000, now_ns // 1_000
    table["first_rtt_us"], table["last_rtt_us"], table["sack_rtt_us"] = first, last, sack
    table["rs_rtt_us"], table["sample_us"] = np.where(last >= 0, last, coarse), fed
    table["taken"], table["flag"], table["snd_una"], table["snd_nxt"] = fed >= 0, flag, una, following
    # The SYN is the first that is delivered.
    table["delivered"] = delivered + 1
    truth = np.array([(s.ack, s.first, s.last, s.sack) for s in seen], dtype=np.int64).reshape(-1, 4)
    table = np.tile(table, times)
    again, side = np.repeat(np.arange(times), len(seen)), np.tile(side, times)
    for name in ("snd_una", "snd_nxt"):
        table[name] += ((initial[side] + again * sent[side]) & 0xFFFFFFFF).astype(np.uint32)
    table["delivered"] += (again * np.array(exchange.delivered)[side]).astype(np.uint32)
    for name, unit in (("timestamp_ns", 1), ("tcp_mstamp_us", 1_000)):
        table[name] += ((connection.start_ns + again * lasting_ns) // unit).astype(np.uint64)
    truth = np.tile(truth, (times, 1))
    truth = np.where(truth == NONE, NONE, truth + len(opening) + again[:, None] * len(one))
    shaken, answers = _shaken(connection)
    events = np.concatenate((shaken, table))
    _own(events, np.concatenate((np.arange(2), side)), connection)
    events["mss_cache"] = exchange.traffic.mss
    return wire, due_ns, events, np.concatenate((answers, truth))


def _tile(packets: Sequence[Any]) -> np.ndarray:
    table = np.zeros(len(packets), dtype=WIRE)
    columns = np.array(
        [(p.time_ns, p.seq, p.ack, p.payload, p.tsval, p.tsecr, _POINTS[p.side], p.outgoing, len(p.blocks))
         for p in packets], dtype=np.int64,
    ).reshape(-1, 9)  # fmt: skip
    names = ("time_ns", "seq", "ack", "payload", "tsval", "tsecr", "point", "outgoing", "sack_blocks")
    for name, column in zip(names, columns.T, strict=True):
        table[name] = column
    for at, packet in enumerate(packets):
        if packet.blocks:
            table["sack"][at, : len(packet.blocks)] = packet.blocks
    table["tsval"] += STAMP_MS
    table["tsecr"] += STAMP_MS
    table["flags"], table["has_ts"] = ACK, 1
    return table


def _handshake(connection: Connection) -> np.ndarray:
    """SYN and SYN-ACK, over before the exchange's clock is at 1 ms; the third packet is the first data."""
    wire = np.zeros(4, dtype=WIRE)
    wire["point"] = [Point.CLIENT, Point.SERVER, Point.SERVER, Point.CLIENT]
    wire["outgoing"] = [1, 0, 1, 0]
    wire["time_ns"] = _handshake_ns(connection)
    client, server = connection.initial
    wire["seq"], wire["ack"] = (
        [client, client, server, server],
        [0, 0, (client + 1) & 0xFFFFFFFF, (client + 1) & 0xFFFFFFFF],
    )
    wire["flags"] = [SYN, SYN, SYN | ACK, SYN | ACK]
    wire["has_ts"], wire["tsval"] = 1, STAMP_MS
    return wire


def _handshake_ns(connection: Connection) -> Times:
    """When each of its packets leaves and comes: the answer 20 us after the SYN came."""
    way_ns = connection.exchange.traffic.delay_us * 1_000
    since = np.array([100_000 - 2 * way_ns, 100_000 - way_ns, 120_000 - way_ns, 120_000], dtype=np.int64)
    return connection.start_ns + since


def _shaken(connection: Connection) -> tuple[np.ndarray, npt.NDArray[np.int64]]:
    """The client's event of the handshake; the server's, whose ACK is the client's first packet."""
    events = np.zeros(2, dtype=EVENT)
    client, server = connection.initial
    came = next(at for at, packet in enumerate(connection.exchange.packets) if packet.side and not packet.outgoing)
    sent_ns, _, answered_ns, ended_ns = _handshake_ns(connection).tolist()
    now_ns = np.array([ended_ns, connection.start_ns + connection.exchange.packets[came].time_ns]) + NEWS_NS
    rtt = [int(now) // 1_000 - since // 1_000 for now, since in zip(now_ns, (sent_ns, answered_ns), strict=True)]
    events["timestamp_ns"] = now_ns + np.array([NEWS_NS - 1_000, -1_500])
    events["tcp_mstamp_us"] = now_ns // 1_000
    for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
        events[name] = rtt
    events["sack_rtt_us"], events["flag"], events["taken"] = -1, FLAG_SYN_ACKED, 1
    # A passive handshake has no socket yet that could have a snd_una: it is the one of the child.
    events["snd_una"] = events["snd_nxt"] = [(client + 1) & 0xFFFFFFFF, (server + 1) & 0xFFFFFFFF]
    events["delivered"] = [1, 0]
    return events, np.array([(3, 0, 0, NONE), (4 + came, 2, 2, NONE)], dtype=np.int64)


def _address(wire: np.ndarray, connection: Connection) -> None:
    hosts = [np.frombuffer(address_bytes(host), np.uint8) for host in HOSTS]
    from_client = (wire["point"] == Point.CLIENT) == (wire["outgoing"] == 1)
    wire["src"], wire["dst"] = (np.where(from_client[:, None], hosts[at], hosts[1 - at]) for at in (0, 1))
    ports = (connection.client_port, PORTS[1])
    wire["sport"], wire["dport"] = (np.where(from_client, ports[at], ports[1 - at]) for at in (0, 1))


def _own(events: np.ndarray, side: npt.NDArray[Any], connection: Connection) -> None:
    hosts = np.array([np.frombuffer(address_bytes(host), np.uint8) for host in HOSTS])
    ports = np.array([connection.client_port, PORTS[1]], dtype=np.uint16)
    events["saddr"], events["daddr"], events["sport"], events["dport"] = (
        hosts[side], hosts[1 - side], ports[side], ports[1 - side],
    )  # fmt: skip
    events["state"], events["hz"] = TcpState.ESTABLISHED, 250


def pingpong(events: int) -> Planted:
    """One byte there and one back, nothing lost: two events an exchange, one a side."""
    return _one(Traffic(writes=min(events, 1_000), answer=1), events)


def bulk(events: int) -> Planted:
    """Full segments one way, of which every ACK answers two."""
    return _one(Traffic(writes=min(2 * events, 4_000), write=1_448, window=40, every=2), events)


def lossy(events: int) -> Planted:
    """The same with 3 % of all packets lost, on the way out and back: retransmissions and SACK blocks."""
    return _one(Traffic(writes=min(events, 6_000), write=1_448, window=40, loss=0.03), events)


def sacked(events: int) -> Planted:
    """The worst for whoever goes through SACK blocks: so many holes that nearly every ACK tells of some."""
    return _one(Traffic(writes=min(events, 6_000), write=1_448, window=250, loss=0.04), events)


def many(events: int) -> Planted:
    """Short connections of which the ports are used again, half of them lossy."""
    exchanges = [Exchange(Traffic(writes=60, answer=1, loss=0.02 * (seed % 2), seed=seed)).run() for seed in range(8)]
    random = np.random.default_rng(1)
    connections: list[Connection] = []
    made = 0
    while made < events:
        exchange = exchanges[len(connections) % len(exchanges)]
        initial = random.integers(0, 2**32, 2).tolist()
        place = len(connections)
        connections.append(
            Connection(
                exchange=exchange, client_port=10_000 + place % 64, initial=(initial[0], initial[1]),
                start_ns=100 * SECOND + (place // 64) * 60 * SECOND + place * 1_000_000,
            )
        )  # fmt: skip
        made += len(exchange.seen) + 2
    return plant(connections, link=True)


def _one(traffic: Traffic, events: int) -> Planted:
    exchange = Exchange(traffic).run()
    times = max(1, round(events / len(exchange.seen)))
    return plant([Connection(exchange=exchange, times=times, initial=(4_294_900_000, 17))], link=True)


RECORDINGS = {"ping-pong": pingpong, "bulk": bulk, "lossy": lossy, "all SACK": sacked, "many": many}
"""What is measured, by name: each makes a recording of about as many events."""
