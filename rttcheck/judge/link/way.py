"""One direction of a run prepared for judging: each packet that passed, its setting, and when it was due.

The collector stops all traffic and lets the link drain before it changes a setting, so a packet belongs to the setting
in force when it came in. A packet that was in flight during a change nonetheless is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rttcheck.judge.evidence import Evidence
from rttcheck.judge.link.account import relay_due_of
from rttcheck.judge.link.bounds import packet_time_ns
from rttcheck.judge.link.model import ENGINES, Delay, EngineModel, frame_lengths
from rttcheck.judge.link.overhead import LinkOverhead
from rttcheck.judge.link.seed import due_by_seed, off_by_ns, replayable, seed_is_usable
from rttcheck.judge.pairing.ends import packets_of
from rttcheck.judge.pairing.transit import UNMATCHED, WAYS, Transit, identities
from rttcheck.record.recording import Recording
from rttcheck_netns.netem import Netem

Integers = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]
Settings = npt.NDArray[np.int16]

_UPPER_BITS = 16

_AT_ONCE = 1 << 13
"""Rows that fit into a processor's cache."""

_SHORTEST_FRAME = 42
"""Ethernet, IPv4 and UDP without data; ARP has the same length."""


# No slots: `cached_property` keeps its value in the instance's dictionary.
@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """A direction, ``out`` or ``back``. Arrays have one row per packet that came in and left, by time of leaving."""

    name: str
    engine: EngineModel
    transit: Transit
    overhead: LinkOverhead
    netems: tuple[Netem, ...]
    """The settings in force, in order of time."""
    delays: tuple[Delay, ...]
    changes_ns: Integers
    """When each setting but the first came into force."""
    entered_setting: Settings
    """The index in ``netems`` when each packet came in; a row for each packet that came in."""
    setting: Settings
    """The index in ``netems`` that each packet passed under; `UNMATCHED` for one in flight during a change."""
    ahead: Booleans
    """Whether each packet was sent ahead: it took less than any delay of a setting that sends packets ahead."""
    payload: Integers
    connection: Integers
    """A number for each connection of the run and direction of it."""
    left_ns: Integers
    longest_ns: Integers
    """The longest time that the packet may have taken: identical packets cannot be distinguished."""
    shortest_ns: Integers
    """The shortest time."""
    due_first_ns: Integers
    """The earliest time at which the engine may have released the packet."""
    due_last_ns: Integers
    """The latest time, without what the machine adds."""
    constant: Booleans
    """Whether each packet has a constant delay."""
    exact: Booleans
    """Whether the due time is known exactly: from a constant delay, netem's seed or the relay's record."""
    unfitting: bool
    """Whether packets did not leave at the times that netem's usable seed gives."""
    off_ns: int | None
    """The median difference from the draws in that case; None where delays do not follow the draws."""
    relay_due_ns: Integers
    """When each packet was due by the relay's record; 0 without a record."""
    unseen_bytes: int
    """Non-TCP bytes that the engine counted under the last setting: neighbour discovery, markers."""
    unseen: int
    """The most packets that these bytes may be."""
    unread_ns: Integers
    """When non-TCP packets left in this direction, ascending."""
    unread_bytes: Integers
    """The length of each of these."""
    unread: bool
    """Whether the captures recorded these: older ones did not."""

    @classmethod
    def of(cls, evidence: Evidence, name: str) -> Way:
        """Compute one direction. The recording's engine must be one of `ENGINES`."""
        recording, scenario = evidence.recording, evidence.scenario
        engine = ENGINES[recording.engine]
        transit = Transit.of(evidence.wire, name)
        in_force = (0, *(step.index + 1 for step in recording.steps))
        netems = tuple(scenario.links[link][name == "back"] for link in in_force)
        delays = tuple(engine.delay(netem) for netem in netems)
        changes = np.array([step.at_ns for step in recording.steps], dtype=np.int64)
        entered_setting = _settings(changes, transit.entered_ns)
        matched = transit.matched
        first = transit.earliest[matched]
        last = first if transit.latest is transit.earliest else transit.latest[matched]
        left_ns = transit.left_ns[matched] if len(matched) < len(transit.left_ns) else transit.left_ns
        setting = entered_setting[last]
        setting[(setting != _settings(changes, left_ns)) | (setting != entered_setting[first])] = UNMATCHED
        entered = transit.entered[first]
        payload, least, most = _lengths(evidence.wire, entered, family=scenario.family, mtu=scenario.mtu)
        overhead = evidence.overheads[name]
        longest_ns = transit.longest_ns
        shortest_ns = longest_ns if last is first else transit.shortest_ns
        ahead = np.zeros(len(matched), dtype=np.bool_)
        due_first, due_last = transit.entered_ns[first], transit.entered_ns[last]
        for place, (netem, delay) in enumerate(zip(netems, delays, strict=True)):
            here = setting == place
            if netem.reorder:
                ahead |= here & (shortest_ns < delay.lowest_ns)
            held = here & ~ahead
            if netem.rate_bytes and not evidence.virtual:
                due_first[held], due_last[held] = _as_served(due_first[held], due_last[held], overhead.handing_ns)
            sure, unsure = np.flatnonzero(held & (first == last)), np.flatnonzero(held & (first != last))
            _fill(due_first, engine.due, netem, least, delay.lowest_ns, sure)
            # A packet that may have come in later does not surely delay another one.
            for one in unsure:
                _fill(due_first, engine.due, netem, least, delay.lowest_ns, np.array([one]))
            _fill(due_last, engine.due, netem, most, delay.highest_ns, np.flatnonzero(held))
        constant = np.array([delay.constant for delay in delays] + [False])
        relay_due_ns = relay_due_of(recording, name, transit.entered_ns[last], left_ns)
        drawn_ns, unfitting, off_ns = _drawn(recording, name, netems, transit)
        drawn_ns = drawn_ns[first]
        relay_due_ns[(setting == UNMATCHED) | (first != last)] = drawn_ns[(setting == UNMATCHED) | (first != last)] = 0
        if drawn_ns.any():
            due_first, due_last = (np.where(drawn_ns > 0, drawn_ns, each) for each in (due_first, due_last))
        if np.array_equal(due_first, due_last):
            # Mostly: then they are held once.
            due_last = due_first
        statistics = recording.netem.get("statistics", {}).get(name, {})
        under_last = setting == len(netems) - 1
        unseen_bytes = max(int(statistics.get("bytes", 0)) - int(least[under_last].sum()), 0)
        # Qdiscs count segments, of which a packet may have several.
        unseen = min(unseen_bytes // _SHORTEST_FRAME, max(int(statistics.get("packets", 0)) - int(under_last.sum()), 0))
        unread = _unread(recording, name)
        return cls(
            name=name,
            engine=engine,
            transit=transit,
            overhead=overhead,
            netems=netems,
            delays=delays,
            changes_ns=changes,
            entered_setting=entered_setting,
            setting=setting,
            ahead=ahead,
            payload=payload,
            connection=_connections(evidence.wire, transit.left[matched]),
            left_ns=left_ns,
            longest_ns=longest_ns,
            shortest_ns=shortest_ns,
            due_first_ns=due_first,
            due_last_ns=due_last,
            constant=constant[setting],
            exact=constant[setting] | (relay_due_ns > 0) | (drawn_ns > 0),
            unfitting=unfitting,
            off_ns=off_ns,
            relay_due_ns=relay_due_ns,
            unseen=unseen,
            unread_ns=unread[:, 0],
            unread_bytes=unread[:, 1],
            unread="unread" in recording.wire_facts,
            unseen_bytes=unseen_bytes,
        )

    @cached_property
    def idle(self) -> Booleans:
        """Which packets became due on an idle processor."""
        return self.overhead.idle(self.due_last_ns, self.left_ns)

    @cached_property
    def beyond_ns(self) -> Integers:
        """How late each packet was, ns, less the work on other packets."""
        others_ns = self.overhead.others_ns(self.due_last_ns, self.left_ns, self.idle)
        return self.left_ns - self.due_last_ns - others_ns - self.unseen_ns

    @cached_property
    def unseen_ns(self) -> Integers:
        """Return how long, ns, non-TCP packets may have kept the rate busy before each packet.

        Counted are those that left before it and after the rate was last idle, which is when a packet came in and did
        not have to wait. Older captures do not record when such packets left: there all of them count for every packet.
        """
        busy = np.zeros(len(self.left_ns), dtype=np.int64)
        for place, (netem, delay) in enumerate(zip(self.netems, self.delays, strict=True)):
            here = np.flatnonzero(self.setting == place)
            if not netem.rate_bytes or not len(here):
                continue
            if not self.unread:
                each = packet_time_ns(netem, -(-self.unseen_bytes // self.unseen)) if self.unseen else -1
                busy[here] = self.unseen * (each + 1)
                continue
            order = here[np.argsort(self.left_ns[here], kind="stable")]
            ready_ns = self.left_ns[order] - self.shortest_ns[order] + delay.lowest_ns
            before_ns = np.concatenate(([np.iinfo(np.int64).min], self.left_ns[order][:-1]))
            fresh_ns = np.maximum.accumulate(np.where(ready_ns > before_ns, ready_ns, np.iinfo(np.int64).min))
            times_ns = np.array([packet_time_ns(netem, int(size)) + 1 for size in self.unread_bytes], dtype=np.int64)
            heaped = np.concatenate(([0], np.cumsum(times_ns)))
            until = np.searchsorted(self.unread_ns, self.left_ns[order], side="left")
            since = np.minimum(np.searchsorted(self.unread_ns, fresh_ns, side="left"), until)
            busy[order] = heaped[until] - heaped[since]
        return busy

    @property
    def straddling(self) -> int:
        """The number of packets in flight while the link was changed."""
        return int((self.setting == UNMATCHED).sum())

    def under(self, place: int) -> Booleans:
        """Return which packets passed under a setting and were not sent ahead."""
        held: Booleans = (self.setting == place) & ~self.ahead
        return held


def _drawn(
    recording: Recording, name: str, netems: tuple[Netem, ...], transit: Transit
) -> tuple[Integers, bool, int | None]:
    """Return when each packet was due by netem's seed (0: unknown), and `Way`'s ``unfitting`` and ``off_ns``."""
    unknown = np.zeros(len(transit.entered_ns), dtype=np.int64)
    if recording.engine != "netem" or len(netems) > 1 or not replayable(netems[0]):
        return unknown, False, None
    matched = transit.matched
    places, sure = transit.earliest[matched], transit.earliest[matched] == transit.latest[matched]
    left_ns = unknown.copy()
    left_ns[places[sure]] = transit.left_ns[matched[sure]]
    counted = int(recording.netem.get("statistics", {}).get(name, {}).get("packets", 0))
    held = str(recording.netem.get("held", {}).get(name, ""))
    others = max(counted - len(matched), 0)
    due_ns = due_by_seed(netems[0], held, transit.entered_ns, left_ns, others)
    if due_ns.any() or not seed_is_usable(netems[0], held, len(unknown), others):
        return due_ns, False, None
    return due_ns, True, off_by_ns(netems[0], held, transit.entered_ns, left_ns, others)


def _unread(recording: Recording, name: str) -> Integers:
    """Return when non-TCP packets left the link, and their lengths: one row each, in order of time."""
    point = WAYS[name][1].name.lower()
    rows = sorted(recording.wire_facts.get("unread", {}).get(point, ()))
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _fill(
    due_ns: Integers, model: Callable[[Netem, Integers, Integers, int], Integers], netem: Netem, lengths: Integers,
    held_ns: int, chosen: Places,
) -> None:  # fmt: skip
    """Replace the arrival times of the ``chosen`` packets by due times; a rate serves them in order of arrival."""
    times = due_ns[chosen]
    order = chosen if (times[1:] >= times[:-1]).all() else chosen[np.argsort(times, kind="stable")]
    due_ns[order] = model(netem, due_ns[order], lengths[order], held_ns)


def _as_served(first_ns: Integers, last_ns: Integers, within_ns: int) -> tuple[Integers, Integers]:
    """Return when packets behind a rate came in, earliest and latest, for each place in the order of leaving.

    A rate serves packets in the order in which it gets them. Several processors enqueue at the same time, and capturing
    and enqueuing are two steps: of two packets that came in within the time of forwarding one (``within_ns``), the one
    that left first may have been the first.
    """
    after = np.minimum.accumulate(first_ns[::-1])[::-1]
    before = np.maximum.accumulate(last_ns)
    return (
        np.where(first_ns - after <= within_ns, after, first_ns),
        np.where(before - last_ns <= within_ns, before, last_ns),
    )


def _settings(changes_ns: Integers, times_ns: Integers) -> Settings:
    """Return the setting that was in force at each time."""
    if not len(changes_ns):
        return np.zeros(len(times_ns), dtype=np.int16)
    return np.searchsorted(changes_ns, times_ns, side="right").astype(np.int16)


def _lengths(
    wire: np.ndarray, rows: npt.NDArray[np.integer], *, family: int, mtu: int
) -> tuple[Integers, Integers, Integers]:
    """Return the payload of the packets ``rows``, and `frame_lengths`."""
    payload, least, most = (np.empty(len(rows), dtype=np.int64) for _ in range(3))
    for at in range(0, len(rows), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        packets = packets_of(wire, rows[some])
        payload[some] = packets["payload"]
        least[some], most[some] = frame_lengths(packets, family=family, mtu=mtu)
    return payload, least, most


def _connections(wire: np.ndarray, rows: npt.NDArray[np.integer]) -> Integers:
    ends = ("src", "dst", "sport", "dport")
    names = identities(wire, rows, apart=tuple(name for name in wire.dtype.names or () if name not in ends))
    # Few connections: mostly the upper bits of their names tell them apart, and nothing is sorted.
    upper = (names >> np.uint64(64 - _UPPER_BITS)).astype(np.int64)
    held = np.zeros(1 << _UPPER_BITS, dtype=np.uint64)
    held[upper] = names
    if (held[upper] != names).any():
        return np.unique(names, return_inverse=True)[1].astype(np.int64)
    used = np.zeros(1 << _UPPER_BITS, dtype=np.bool_)
    used[upper] = True
    numbers: Integers = (np.cumsum(used) - 1)[upper]
    return numbers
