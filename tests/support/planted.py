"""Synthetic recordings of a sound kernel and probe, for tests to plant faults in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rttcheck.judge.address import address_bytes
from rttcheck.judge.samples import visible_to_nettrace
from rttcheck.record.event import (
    EVENT,
    FLAG_ACK_MAYBE_DELAYED,
    FLAG_DATA_ACKED,
    FLAG_SYN_ACKED,
    Owned,
    TcpState,
)
from rttcheck.record.histogram import Histogram, Unit
from rttcheck.record.recording import Recording, StepTaken
from rttcheck.scenario.model import Scenario
from tests.support.kernel_by_hand import Kernel

CLIENT, SERVER = "10.0.1.2", "10.0.2.2"
SECOND = 1_000_000_000


def socket_events(
    samples_us: Sequence[int],
    *,
    last_us: Sequence[int] | None = None,
    own: tuple[str, int] = (CLIENT, 40_000),
    peer: tuple[str, int] = (SERVER, 5_000),
    start_ns: int = 100 * SECOND,
    handshake_us: int | None = None,
    tsecr: Sequence[int] = (),
    kernel: Kernel | None = None,
    pause_ns: int = 0,
    delayed: bool = True,
) -> np.ndarray:
    """Return one socket's events: a handshake sample, then data samples, with the kernel's estimator state.

    ``tsecr`` are indices into ``samples_us`` of samples that came from echoed timestamps. ``kernel`` may be a faulty
    one, ``pause_ns`` passes before each sample, and ``delayed`` is whether the ACKs of data may have been delayed.
    """
    handshake = [] if handshake_us is None else [handshake_us]
    values = [*handshake, *samples_us]
    lasts = [*handshake, *(samples_us if last_us is None else last_us)]
    events = np.zeros(len(values), dtype=EVENT)
    now_ns, kernel = start_ns, Kernel() if kernel is None else kernel
    for index, (value, last) in enumerate(zip(values, lasts, strict=True)):
        now_ns += max(value, 0) * 1_000 + 20_000 + pause_ns
        is_handshake = index < len(handshake)
        coarse = index - len(handshake) in tsecr
        event = events[index]
        event["timestamp_ns"] = now_ns
        event["tcp_mstamp_us"] = now_ns // 1_000
        event["owned"] = Owned.NO
        event["first_rtt_us"] = -1 if coarse else value
        event["last_rtt_us"] = -1 if coarse else last
        event["sack_rtt_us"] = -1
        event["rs_rtt_us"] = last
        event["sample_us"] = value
        event["flag"] = FLAG_SYN_ACKED if is_handshake else FLAG_DATA_ACKED | FLAG_ACK_MAYBE_DELAYED * delayed
        event["snd_una"] = event["delivered"] = index
        event["snd_nxt"] = event["write_seq"] = index + 1
        event["hz"] = kernel.hz
        event["jiffies"] = (now_ns * kernel.hz // SECOND) & 0xFFFF_FFFF
        kernel.ack(event)
    events["sk"] = 0xFFFF_0000_0000_0000 + own[1] * 4096 + (own[0] == SERVER) * 64
    events["generation"] = start_ns
    events["state"] = TcpState.ESTABLISHED
    events["taken"] = 1
    events["sport"], events["dport"] = own[1], peer[1]
    events["saddr"] = np.frombuffer(address_bytes(own[0]), dtype=np.uint8)
    events["daddr"] = np.frombuffer(address_bytes(peer[0]), dtype=np.uint8)
    return events


def info_of(events: np.ndarray, own: tuple[str, int]) -> dict[str, int]:
    """Return the estimators' fields of TCP_INFO of a socket after its last event."""
    address = np.frombuffer(address_bytes(own[0]), dtype=np.uint8)
    last = events[(events["sport"] == own[1]) & (events["saddr"] == address).all(axis=1)][-1]
    return {
        "delivered": int(last["delivered"]),
        "rtt_us": int(last["srtt_us"]) // 8,
        "rttvar_us": int(last["mdev_us"]) // 4,
        "min_rtt_us": int(last["min_rtt"]["v"][0]),
        "rto_us": int(last["rto_jiffies"]) * 1_000_000 // int(last["hz"]),
        "backoff": 0,
        "total_retrans": 0,
    }


def tables_of(events: np.ndarray) -> dict[str, np.ndarray]:
    """Return the kernel-side histograms of ``events``."""
    shown = events["first_rtt_us"][visible_to_nettrace(events)]
    return {unit.value: np.array(Histogram.of(shown, unit).counts, dtype=np.uint64) for unit in Unit}


def overheads(count: int, least: int = 35, most: int = 60) -> list[int]:
    """Return the overheads of a quiet machine, us: the same every time."""
    return [least + (index * 7) % (most - least + 1) for index in range(count)]


def record(
    *,
    client: Sequence[int] | None = None,
    client_last: Sequence[int] | None = None,
    server: Sequence[int] | None = None,
    control: Sequence[int] | None = None,
    tsecr: Sequence[int] = (),
    clock: str = "virtual",
    lost: int = 0,
    steps: tuple[StepTaken, ...] = (),
    change: Callable[[np.ndarray], None] | None = None,
    kernel: Callable[[], Kernel] = Kernel,
    pause_ns: int = 0,
    delayed: bool = True,
    sysctls: Mapping[str, str] | None = None,
    **keywords: Any,
) -> Recording:
    """Return a sound recording, as in ``record(rtt="20ms")``; ``client=`` and ``server=`` replace the samples (us).

    ``change`` is called with the events of both sides before the kernel-side tables and TCP_INFO are made of them.
    ``kernel`` makes the kernel of each side.
    """
    scenario = Scenario.make(**{"name": "planted", "rtt": "20ms", **keywords})
    injected = scenario.rtt_us
    sound = [injected + overhead for overhead in overheads(scenario.traffic.count)]
    client = sound if client is None else client
    server = sound if server is None else server
    server_own, client_own = (SERVER, 5_000), (CLIENT, 40_000)
    both = [
        socket_events(client, last_us=client_last, handshake_us=injected + 70, tsecr=tsecr, kernel=kernel(),
                      pause_ns=pause_ns, delayed=delayed),
        socket_events(server if scenario.traffic.server_writes else [], own=server_own, peer=client_own,
                      handshake_us=injected + 70, start_ns=100 * SECOND + 5_000, kernel=kernel(),
                      pause_ns=pause_ns, delayed=delayed),
    ]  # fmt: skip
    events = np.concatenate(both)
    events = events[np.argsort(events["timestamp_ns"], kind="stable")]
    if change is not None:
        change(events)
    quiet = overheads(100, 30, 75) if control is None else control
    links = scenario.links[steps[-1].index + 1 if steps else 0]
    return Recording(
        scenario=scenario.keywords(),
        kernel="6.12.0-test",
        clock=clock,
        engine="netem",
        probe="fexit",
        events=events,
        histograms=tables_of(events),
        lost=lost,
        control=socket_events(list(quiet)),
        flows=(
            {
                "client": [CLIENT, 40_000],
                "server": [SERVER, 5_000],
                "client_info": info_of(events, client_own),
                "server_info": info_of(events, server_own),
            },
        ),
        sysctls={} if sysctls is None else sysctls,
        steps=steps,
        netem={"out": links[0].changed(), "back": links[1].changed()},
    )


def with_events(recording: Recording, change: Callable[[np.ndarray], None]) -> Recording:
    """Return the recording with its events changed and its kernel-side tables unchanged."""
    events = recording.events.copy()
    change(events)
    return dataclasses.replace(recording, events=events)
