"""Whole recordings of any size: planted exchanges with all that a judge looks at, in the frame of a real recording.

It owns the step from the tables of packets and events to a recording: stamps, writes, estimators, a second probe,
TCP_INFO. The kernel, its sysctls, the control run and the timers are those of a short real recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.estimators import relive
from benchmarks.exchange import APART_NS, Exchange, Traffic
from benchmarks.planted import LINK_NS, TICK_NS, Connection, Planted, plant
from rttcheck.judge.arithmetic.rto import us_of_jiffies
from rttcheck.judge.observation import addresses
from rttcheck.judge.pairing.transit import WAYS
from rttcheck.judge.samples import Side, connections_of, shown_us, visible_to_nettrace
from rttcheck.record.event import FLAG_SYN_ACKED, Hook, Owned
from rttcheck.record.histogram import Histogram, Unit
from rttcheck.record.packet import SYN, Point
from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.record.stamp import STAMP
from rttcheck.record.write import WRITE
from rttcheck.scenario.duration import format_ns
from rttcheck.scenario.model import Scenario
from tests.faults.plant import seen_by_second

_FRAMES: Final = Path(__file__).parents[1] / "tests" / "faults" / "recordings"
_WRITTEN_NS: Final = 2_000
"""From the application's write to the departure of what it wrote."""
_AFTER_CAPTURE_NS: Final = 1_400
"""From the capture of a leaving packet to the program that reads its stamp."""


def pingpong(events: int) -> Recording:
    """One byte there and one back, one connection."""
    return _whole("ping-pong", Traffic(writes=min(events, 1_000), answer=1), events, count=1_000)


def bulk(events: int) -> Recording:
    """Four connections with 200 segments on their way, of which every ACK answers two."""
    traffic = Traffic(writes=min(2 * events, 8_000), write=1_448, window=200, every=2)
    return _whole("bulk", traffic, events, flows=4, traffic="bulk", size=1 << 20)


def lossy(events: int) -> Recording:
    """One connection with 3 % of all packets lost, each way: retransmissions and SACK blocks."""
    traffic = Traffic(writes=min(events, 6_000), write=1_448, window=40, loss=0.03)
    return _whole("lossy", traffic, events, traffic="bulk", size=1 << 20)


WHOLE: Final = {"ping-pong": pingpong, "bulk": bulk, "lossy": lossy}
"""By name: each makes a recording of about as many events."""


def _whole(name: str, ends: Traffic, events: int, *, flows: int = 1, **keywords: Any) -> Recording:
    exchange = Exchange(ends).run()
    times = max(1, round(events / flows / len(exchange.seen)))
    connections = [
        Connection(
            exchange=exchange, times=times, client_port=40_000 + flow, initial=(4_294_900_000, 17),
            # Ticks between them, so that jiffies are those of every other.
            start_ns=100_000_000_000 + flow * 5 * TICK_NS,
        )
        for flow in range(flows)
    ]  # fmt: skip
    planted = plant(connections, link=True)
    ways = {way: _direction(planted.wire, ends, *points) for way, points in WAYS.items()}
    scenario = Scenario.make(name=name, flows=flows, **ways, **keywords)
    frame = Recording.load(_FRAMES / f"{'loss' if ends.loss else 'ping-pong'}{SUFFIX}")
    table = _with_state(planted, exchange, frame)
    made = replace(
        frame,
        scenario=scenario.keywords(),
        events=table,
        wire=planted.wire,
        stamps=_stamps(planted.wire),
        writes=_writes(planted),
        histograms=_histograms(table),
        flows=tuple(_flow(table, planted.flows, index, ends) for index in range(flows)),
        steps=(),
        wire_facts=_facts(frame, planted.wire),
        netem=_settings(scenario),
    )
    return replace(made, second=seen_by_second(made))


def _direction(wire: np.ndarray, ends: Traffic, entered: Point, left: Point) -> dict[str, str]:
    """Return the settings of one direction: the share that was lost, as an exchange that is repeated loses no other."""
    delay = format_ns(ends.delay_us * 1_000 - 2 * LINK_NS)
    came = int(((wire["point"] == entered) & (wire["outgoing"] == 0)).sum())
    went = int(((wire["point"] == left) & (wire["outgoing"] == 1)).sum())
    return {"delay": delay, "loss": f"{100 * (1 - went / came):.4f}%"} if went < came else {"delay": delay}


def _with_state(planted: Planted, exchange: Exchange, frame: Recording) -> np.ndarray:
    """Return the events with all that a probe reads of a socket beside the arguments of the call."""
    events = planted.events.copy()
    connection, side = connections_of(events, addresses(planted.flows))
    socket = 2 * connection + (side == Side.SERVER)
    events["sk"], events["cookie"] = (socket << 12) + 4_096, socket + 1
    events["netns"], events["watch"], events["family"] = 4_026_533_157 + (side == Side.SERVER), 7, 2
    events["jiffies"] = events["timestamp_ns"] // TICK_NS
    events["hook"], events["owned"], events["saw_tstamp"] = Hook.FEXIT, Owned.NO, 1
    events["write_seq"] = events["snd_nxt"]
    # A passive handshake has no clock of its own yet; its call ends after the sample's "now".
    passive = (side == Side.SERVER) & ((events["flag"] & FLAG_SYN_ACKED) != 0)
    events["tcp_mstamp_us"][passive] = 0
    events["timestamp_ns"][passive] += 2_000
    seen = [sum(1 for one in exchange.seen if one.side == server) for server in (0, 1)]
    for number in np.unique(socket).tolist():
        mine = np.flatnonzero(socket == number)
        events["generation"][mine] = events["timestamp_ns"][mine[0]]
        events[mine] = relive(events[mine], 1, seen[number % 2], frame.sysctls)
    return events


def _stamps(wire: np.ndarray) -> np.ndarray:
    """Return TCP's stamp of each packet that leaves an end: a little before, but for the handshake's."""
    left = wire[(wire["outgoing"] != 0) & np.isin(wire["point"], (Point.CLIENT, Point.SERVER))]
    stamps = np.zeros(len(left), dtype=STAMP)
    for name in ("seq", "ack", "payload", "sport", "dport", "flags", "point"):
        stamps[name] = left[name]
    stamps["time_ns"] = left["time_ns"] + _AFTER_CAPTURE_NS
    stamps["stamp_ns"] = left["time_ns"] - np.where((left["flags"] & SYN) != 0, 0, APART_NS)
    return stamps


def _writes(planted: Planted) -> np.ndarray:
    """Return one write for each segment, a moment before it first leaves."""
    wire = planted.wire
    found = []
    for server, point in enumerate((Point.CLIENT, Point.SERVER)):
        left = wire[
            (wire["outgoing"] != 0) & (wire["point"] == point) & ((wire["payload"] > 0) | (wire["flags"] & SYN > 0))
        ]
        for index, flow in enumerate(planted.flows):
            mine = left[left["dport" if server else "sport"] == flow["client"][1]]
            # The SYN is the first byte.
            steps = np.diff(mine["seq"], prepend=mine["seq"][:1]).view(np.int32)
            ends = np.cumsum(steps, dtype=np.int64) + np.maximum(mine["payload"], 1)
            new = ends > np.maximum.accumulate(np.append(0, ends[:-1]))
            table = np.zeros(int(new.sum()), dtype=WRITE)
            table["begin_ns"], table["end"] = mine["time_ns"][new] - _WRITTEN_NS, ends[new]
            table["connection"], table["server"] = index, server
            found.append(table[server:])
    return np.concatenate(found)


def _histograms(events: np.ndarray) -> dict[str, np.ndarray]:
    shown = shown_us(events)[visible_to_nettrace(events)]
    return {unit.value: np.array(Histogram.of(shown, unit).counts, dtype=np.uint64) for unit in Unit}


def _flow(events: np.ndarray, flows: Sequence[Mapping[str, Any]], index: int, traffic: Traffic) -> dict[str, Any]:
    """Return a connection's addresses, and TCP_INFO of both ends after the last event."""
    connection, side = connections_of(events, addresses(flows))
    flow = dict(flows[index])
    for one, name in ((Side.CLIENT, "client"), (Side.SERVER, "server")):
        last = events[(connection == index) & (side == one)][-1]
        late = one == Side.SERVER and not traffic.answer
        flow[f"{name}_info"] = {
            "delivered": int(last["delivered"]) + late,
            "rtt_us": int(last["srtt_us"]) >> 3,
            "rttvar_us": int(last["mdev_us"]) >> 2,
            "min_rtt_us": int(last["min_rtt"]["v"][0]),
            "rto_us": int(us_of_jiffies(int(last["rto_jiffies"]), int(last["hz"]))),
            "total_retrans": int(traffic.loss > 0),
            "backoff": 0,
        }
    return flow


def _facts(frame: Recording, wire: np.ndarray) -> dict[str, Any]:
    """Return what the captures took: every packet of the table."""
    points = {
        name: {**facts, "captured": int((wire["point"] == Point[name.upper()]).sum()), "others": 0}
        for name, facts in frame.wire_facts["points"].items()
    }
    return {"points": points, "clock_step_ns": 0, "unread": {}}


def _settings(scenario: Scenario) -> dict[str, Any]:
    """Return netem as the kernel gave it back: as it was asked for."""
    out, back = scenario.links[0]
    return {"out": out.changed(), "back": back.changed()}
