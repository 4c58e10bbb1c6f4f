"""One direction of a run, ready to be judged: each packet that passed, the setting it passed under, when it was due.

It owns which setting was in force for which packet, which packets were sent ahead, and what of them can be judged. It
finds nothing.

The collector lets all traffic rest and the link run empty before it changes a setting, so that a packet belongs to the
setting in force when it came in; one that was under way during a change nonetheless is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rttcheck.judge.evidence import Evidence
from rttcheck.judge.link.account import account_of
from rttcheck.judge.link.model import ENGINES, Delay, Engine, frame_lengths
from rttcheck.judge.link.overhead import Overhead
from rttcheck.judge.link.seed import due_by_seed, off_by_ns, tells
from rttcheck.judge.pairing.transit import NOBODY, WAYS, Transit, identities
from rttcheck.record.recording import Recording
from rttcheck_netns.netem import Netem

Integers = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

_SHORTEST_FRAME = 42
"""Ethernet, IPv4 and UDP without data; ARP has as much."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """A direction, ``out`` or ``back``. Arrays have a row for each packet that came in and left, as they left."""

    name: str
    engine: Engine
    transit: Transit
    overhead: Overhead
    netems: tuple[Netem, ...]
    """The settings in force, one after the other."""
    delays: tuple[Delay, ...]
    changes_ns: Integers
    """When each but the first came into force."""
    entered_setting: Places
    """Which of ``netems`` each packet that came in found."""
    setting: Places
    """Which of ``netems`` each packet passed under; `NOBODY` for one that was under way during a change."""
    ahead: Booleans
    """Sent ahead: it took less time than any delay of its setting, where the setting sends packets ahead."""
    payload: Integers
    connection: Integers
    """A number for each connection of the run, and for each way of it."""
    left_ns: Integers
    longest_ns: Integers
    """How long the packet took at the most: less than one value where packets that are alike cannot be told apart."""
    shortest_ns: Integers
    due_first_ns: Integers
    """The earliest time at which the engine may have let the packet go."""
    due_last_ns: Integers
    """The latest, without the machine's part."""
    constant: Booleans
    """Delayed by a constant."""
    exact: Booleans
    """Due at one time: the delay is constant, or known from netem's seed or by the relay's account."""
    unfitting: bool
    """netem's seed should tell when each packet was due, and packets left at other times."""
    off_ns: int | None
    """By how much half of these are off what was drawn for them; None where they do not follow the draws at all."""
    account_ns: Integers
    """When the relay's own account says that each packet was due; 0 where it says nothing."""
    unseen_bytes: int
    """What the engine counted under the last setting that is no TCP: neighbour discovery, markers."""
    unseen: int
    """As many packets as that may be at the most."""
    unread_ns: Integers
    """When packets that are no TCP left this way, ascending."""
    unread_bytes: Integers
    """How long each of these was."""
    unread: bool
    """Whether the captures say so: older ones do not."""

    @classmethod
    def of(cls, evidence: Evidence, name: str) -> Way:
        """Work one direction out. The recording's engine must be one of `ENGINES`."""
        recording, scenario = evidence.recording, evidence.scenario
        engine = ENGINES[recording.engine]
        transit = Transit.of(recording.wire, name)
        in_force = (0, *(step.index + 1 for step in recording.steps))
        netems = tuple(scenario.links[link][name == "back"] for link in in_force)
        delays = tuple(engine.delay(netem) for netem in netems)
        changes = np.array([step.at_ns for step in recording.steps], dtype=np.int64)
        entered_setting = np.searchsorted(changes, transit.entered_ns, side="right")
        matched = transit.matched
        first, last = transit.earliest[matched], transit.latest[matched]
        left_ns = transit.left_ns[matched]
        setting = entered_setting[last].astype(np.intp)
        setting[(setting != np.searchsorted(changes, left_ns, side="right")) | (setting != entered_setting[first])] = (
            NOBODY
        )
        rows = recording.wire[transit.entered[first]]
        least, most = frame_lengths(rows, family=scenario.family, mtu=scenario.mtu)
        overhead = Overhead.of(recording, name)
        ahead = np.zeros(len(matched), dtype=np.bool_)
        due_first, due_last = transit.entered_ns[first].copy(), transit.entered_ns[last].copy()
        for place, (netem, delay) in enumerate(zip(netems, delays, strict=True)):
            here = setting == place
            if netem.reorder:
                ahead |= here & (transit.shortest_ns < delay.lowest_ns)
            held = here & ~ahead
            if netem.rate_bytes and not evidence.virtual:
                due_first[held], due_last[held] = _as_served(due_first[held], due_last[held], overhead.handing_ns)
            sure, unsure = np.flatnonzero(held & (first == last)), np.flatnonzero(held & (first != last))
            _fill(due_first, engine.due, netem, least, delay.lowest_ns, sure)
            # Who may have come in later keeps nobody waiting for sure.
            for one in unsure:
                _fill(due_first, engine.due, netem, least, delay.lowest_ns, np.array([one]))
            _fill(due_last, engine.due, netem, most, delay.highest_ns, np.flatnonzero(held))
        constant = np.array([delay.constant for delay in delays] + [False])
        account_ns = account_of(recording, name, transit.entered_ns[last], left_ns)
        drawn_ns, unfitting, off_ns = _drawn(recording, name, netems, transit)
        drawn_ns = drawn_ns[first]
        account_ns[(setting == NOBODY) | (first != last)] = drawn_ns[(setting == NOBODY) | (first != last)] = 0
        due_first, due_last = (np.where(drawn_ns > 0, drawn_ns, each) for each in (due_first, due_last))
        statistics = recording.netem.get("statistics", {}).get(name, {})
        under_last = setting == len(netems) - 1
        unseen_bytes = max(int(statistics.get("bytes", 0)) - int(least[under_last].sum()), 0)
        # Counted by qdiscs in segments, of which a packet may have several.
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
            payload=rows["payload"].astype(np.int64),
            connection=_connections(recording.wire, transit.left[matched]),
            left_ns=left_ns,
            longest_ns=transit.longest_ns,
            shortest_ns=transit.shortest_ns,
            due_first_ns=due_first,
            due_last_ns=due_last,
            constant=constant[setting],
            exact=constant[setting] | (account_ns > 0) | (drawn_ns > 0),
            unfitting=unfitting,
            off_ns=off_ns,
            account_ns=account_ns,
            unseen=unseen,
            unread_ns=unread[:, 0],
            unread_bytes=unread[:, 1],
            unread="unread" in recording.wire_facts,
            unseen_bytes=unseen_bytes,
        )

    @property
    def straddling(self) -> int:
        """Packets that were under way while the link was changed."""
        return int((self.setting == NOBODY).sum())

    def under(self, place: int) -> Booleans:
        """Which packets passed under a setting, and were not sent ahead."""
        held: Booleans = (self.setting == place) & ~self.ahead
        return held


def _drawn(
    recording: Recording, name: str, netems: tuple[Netem, ...], transit: Transit
) -> tuple[Integers, bool, int | None]:
    """Return when each packet was due by netem's seed, and `Way`'s ``unfitting`` and ``off_ns``; 0: not known."""
    unknown = np.zeros(len(transit.entered_ns), dtype=np.int64)
    if recording.engine != "netem" or len(netems) > 1:
        return unknown, False, None
    matched = transit.matched
    places, sure = transit.earliest[matched], transit.earliest[matched] == transit.latest[matched]
    left_ns = unknown.copy()
    left_ns[places[sure]] = transit.left_ns[matched[sure]]
    counted = int(recording.netem.get("statistics", {}).get(name, {}).get("packets", 0))
    held = str(recording.netem.get("held", {}).get(name, ""))
    others = max(counted - len(matched), 0)
    due_ns = due_by_seed(netems[0], held, transit.entered_ns, left_ns, others)
    if due_ns.any() or not tells(netems[0], held, len(unknown), others):
        return due_ns, False, None
    return due_ns, True, off_by_ns(netems[0], held, transit.entered_ns, left_ns, others)


def _unread(recording: Recording, name: str) -> Integers:
    """When packets that are no TCP left the link, and how long they were: a row each, in order of time."""
    point = WAYS[name][1].name.lower()
    rows = sorted(recording.wire_facts.get("unread", {}).get(point, ()))
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _fill(
    due_ns: Integers, model: Callable[[Netem, Integers, Integers, int], Integers], netem: Netem, lengths: Integers,
    held_ns: int, chosen: Places,
) -> None:  # fmt: skip
    """Turn when ``chosen`` packets came in into when they are due; a rate serves them in the order of coming in."""
    order = chosen[np.argsort(due_ns[chosen], kind="stable")]
    due_ns[order] = model(netem, due_ns[order], lengths[order], held_ns)


def _as_served(first_ns: Integers, last_ns: Integers, within_ns: int) -> tuple[Integers, Integers]:
    """When packets behind a rate came in, at the earliest and at the latest, for each place in the order of leaving.

    A rate serves in the order in which it is handed packets. Several processors hand them over at once, and none
    captures and hands over in one step: of two that came in within the time that one takes to be passed on
    (``within_ns``), the one that left first may have been the first.
    """
    after = np.minimum.accumulate(first_ns[::-1])[::-1]
    before = np.maximum.accumulate(last_ns)
    return (
        np.where(first_ns - after <= within_ns, after, first_ns),
        np.where(before - last_ns <= within_ns, before, last_ns),
    )


def _connections(wire: np.ndarray, rows: Places) -> Integers:
    ends = ("src", "dst", "sport", "dport")
    names = identities(wire, rows, apart=tuple(name for name in wire.dtype.names or () if name not in ends))
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
