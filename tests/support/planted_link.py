"""Synthetic packets on both sides of a link with a simulated netem, for tests to plant faults in.

The netem here follows the kernel's code, packet by packet in plain integers, and shares no code with the judge's model.
"""

from __future__ import annotations

import dataclasses
import heapq
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from rttcheck.judge.address import address_bytes
from rttcheck.judge.data_quality import apply_data_quality
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding
from rttcheck.judge.link.check import LinkChecks, check_link
from rttcheck.record.packet import ACK, WIRE, Point
from rttcheck.record.recording import Recording, StepTaken
from rttcheck.record.tick import TICK
from rttcheck.scenario.model import Scenario
from rttcheck_netns.netem import GilbertElliott, Netem, RandomLoss
from tests.support.planted import CLIENT, SECOND, SERVER, record

START_NS = 200 * SECOND
WAYS = {"out": (Point.LINK_NEAR, Point.LINK_FAR), "back": (Point.LINK_FAR, Point.LINK_NEAR)}

Fate = tuple[int, ...]
"""When each copy of a packet leaves; empty: it is lost."""
Link = Callable[[Netem, list[tuple[int, int]], random.Random], list[Fate]]
"""From the arrival times and lengths of packets to the `Fate` of each."""


def facts(dropped: int = 0) -> dict[str, Any]:
    """Return the captures' own counters."""
    one = {"interface": "x", "captured": 900, "dropped": 0, "others": 0, "fragments": 0, "damaged": 0}
    points = {name: dict(one) for name in ("client", "link_near", "link_far", "server")}
    points["link_far"]["dropped"] = dropped
    return {"points": points, "clock_step_ns": 12}


def tabledist(netem: Netem, number: int) -> int:
    """Return the delay of ``tabledist()``, with C's division."""
    mu, sigma = netem.delay_ns, netem.jitter_ns
    if not sigma:
        return mu
    if netem.distribution is None:
        return number % (2 * sigma) + mu - sigma
    table = netem.distribution.table
    entry = table[number % len(table)]
    x = sigma % 8192 * entry
    x += 4096 if x >= 0 else -4096
    return int(x / 8192) + sigma // 8192 * entry + mu


def netem_by_hand(netem: Netem, packets: list[tuple[int, int]], dice: random.Random) -> list[Fate]:
    """Run ``netem_enqueue()`` with random or Gilbert-Elliott loss, duplication, reordering, rate and limit."""
    fates: list[list[int]] = [[] for _ in packets]
    due: list[int] = []
    counter, bad, last = 0, False, 0

    def lost() -> bool:
        nonlocal bad
        if isinstance(netem.loss, RandomLoss):
            return dice.random() * 100 < netem.loss.percent
        if isinstance(netem.loss, GilbertElliott):
            was = bad
            if dice.random() * 100 < (netem.loss.r if bad else netem.loss.p):  # type: ignore[operator]
                bad = not bad
            return dice.random() * 100 >= netem.loss.h if was else dice.random() * 100 < netem.loss.k1
        return False

    def enqueue(place: int, now: int, length: int, twice: bool) -> None:
        nonlocal counter, last
        count = 1 + int(twice and dice.random() * 100 < netem.duplicate) - int(lost())
        while due and due[0] <= now:
            heapq.heappop(due)
        if count == 0 or len(due) >= netem.limit:
            return
        if count > 1:
            enqueue(place, now, length, False)
        if netem.reorder and counter >= netem.gap - 1 and dice.random() * 100 < netem.reorder:
            counter = 0
            fates[place].append(now)
            return
        counter += 1
        leaves = now + max(tabledist(netem, dice.getrandbits(32)), 0)
        if netem.rate_bytes:
            leaves = max(last, leaves) + length * SECOND // netem.rate_bytes
            last = leaves
        heapq.heappush(due, leaves)
        fates[place].append(leaves)

    for place, (now, length) in enumerate(packets):
        enqueue(place, now, length, True)
    return [tuple(fate) for fate in fates]


def packets(way: str, came_ns: list[int], fates: list[Fate], payload: list[int], late_ns: int) -> list[np.ndarray]:
    """Return the rows of both sides of the link; each packet leaves a few microseconds late, in order of due time."""
    first, last = WAYS[way]
    rows = []
    for place, (came, fate) in enumerate(zip(came_ns, fates, strict=True)):
        rows.append(packet(way, first, came, place, payload[place], outgoing=0))
        for leaves in fate:
            late = late_ns + 90 * (place % 9)
            rows.append(packet(way, last, leaves + late, place, payload[place], outgoing=1))
    return rows


def packet(
    way: str, point: Point, time_ns: int, number: int, payload: int, *, outgoing: int, port: int = 40_000
) -> np.ndarray:
    """Return one packet of the client's (``out``) or the server's connection at one point."""
    row = np.zeros(1, dtype=WIRE)
    row["time_ns"], row["point"], row["outgoing"], row["payload"] = time_ns, point, outgoing, payload
    row["seq"], row["flags"], row["has_ts"], row["tsval"] = 1 + 1_448 * number, ACK, 1, number
    ends = (("src", CLIENT, port), ("dst", SERVER, 5_000))
    for name, host, own in ends:
        end = name if way == "out" else {"src": "dst", "dst": "src"}[name]
        row[end] = np.frombuffer(address_bytes(host), np.uint8)
        row[f"{end[0]}port"] = own
    return row


def linked(
    *,
    count: int = 120,
    apart_us: int = 2_000,
    payload: Callable[[int], int] = lambda _: 100,
    link: Link = netem_by_hand,
    truth: dict[str, Any] | None = None,
    dice: int = 1,
    late_ns: int = 4_500,
    clock: str = "virtual",
    **keywords: Any,
) -> Recording:
    """Return a recording of ``keywords`` whose link really had the settings ``truth``, or the same ones.

    It has ``count`` packets in each direction, ``apart_us`` apart; those of the control run, whose link has no qdisc,
    took at least 3.6 us. Timers were 6 us late in virtual time and 30 us in real time.
    """
    asked = Scenario.make(**{"name": "planted", "rtt": "20ms", **keywords})
    base = dataclasses.replace(record(clock=clock), scenario=asked.keywords())
    real = asked if truth is None else Scenario.make(**{"name": "truth", "rtt": "20ms", **truth})
    source = random.Random(dice)
    rows: list[np.ndarray] = []
    control: list[np.ndarray] = []
    # The control run has the machine's overhead only, no netem.
    for way, netem in (("out", real.out), ("back", real.back)):
        came = [START_NS + place * apart_us * 1_000 + (way == "back") * 777_000 for place in range(count)]
        sizes = [payload(place) for place in range(count)]
        lengths = [14 + 20 + 20 + 12 + size for size in sizes]
        rows += packets(way, came, link(netem, list(zip(came, lengths, strict=True)), source), sizes, late_ns)
        control += packets(way, came, [(each,) for each in came], sizes, 3_600)
    recording = dataclasses.replace(
        base, wire=in_order(rows), control_wire=in_order(control), wire_facts=facts(), control_flows=base.flows
    )
    return timed(recording, lambda _: 6_000) if clock == "virtual" else timed(recording, lambda _: 30_000, count=4_000)


def timed(recording: Recording, late_ns: Callable[[int], int], *, count: int = 40) -> Recording:
    """Return the recording with timers; ``late_ns`` of the n-th. In real time they ran on two cores, during the run."""
    ticks = np.zeros(count, dtype=TICK)
    ticks["due_ns"] = START_NS + np.arange(count) * 997_000
    ticks["late_ns"] = [late_ns(number) for number in range(count)]
    if recording.clock == "virtual":
        return dataclasses.replace(recording, timers=ticks)
    other = ticks.copy()
    other["cpu"], other["late_ns"] = 1, 20_000
    return dataclasses.replace(recording, noise=np.concatenate((ticks, other)))


def in_order(rows: list[np.ndarray]) -> np.ndarray:
    """Return one table, sorted by point and time."""
    wire = np.concatenate(rows)
    order: np.ndarray = np.lexsort((wire["time_ns"], wire["point"]))
    ordered: np.ndarray = wire[order]
    return ordered


def stepped(recording: Recording, *at_ns: int) -> Recording:
    """Return the recording with its steps applied at these times."""
    return dataclasses.replace(
        recording, steps=tuple(StepTaken(at_ns=when, index=index) for index, when in enumerate(at_ns))
    )


def shifted(recording: Recording, way: str, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Recording:
    """Return the recording with one direction delayed: ``change`` gives the ns from the leaving rows and times."""
    wire = recording.wire.copy()
    left = np.flatnonzero((wire["point"] == WAYS[way][1]) & (wire["outgoing"] == 1))
    wire["time_ns"][left] += change(wire[left], wire["time_ns"][left]).astype(np.int64)
    return dataclasses.replace(recording, wire=in_order([wire]))


def checked(recording: Recording) -> LinkChecks:
    """Return the link's checks, after data quality."""
    evidence = Evidence.of(recording)
    checks = check_link(evidence)
    return dataclasses.replace(checks, findings=apply_data_quality(checks.findings, evidence))


def finding(checks: LinkChecks, check: str) -> Finding:
    """Return the finding of this check."""
    (found,) = [each for each in checks.findings if each.key == check]
    return found


def failed(checks: LinkChecks) -> list[str]:
    """Return the keys of failed checks."""
    return [each.key for each in checks.findings if each.outcome == "failed"]
