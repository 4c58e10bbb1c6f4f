"""Print the results of the saboteur's faults as Markdown: one row a kind of fault, with every size and exception.

A *place* is a kernel with the probe and the engine that were asked for. Each has a letter in the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Final

from rttcheck.scenario.library import NAMED
from tests.faults.table import markdown_row
from tests.saboteur.catalogue import FAMILIES, FAULTS, SCENARIOS, SOUND
from tests.saboteur.fault import RealFault
from tests.saboteur.ledger import Entry, Word

Found = Mapping[str, Sequence[Entry]]
"""By the name of a fault: its entries at one place, in the order of the scenarios."""

_EXCEPTIONS: Final = {
    Word.MISBLAMED: "failed with layer {layer}",
    Word.UNSURE: "inconclusive",
    Word.UNSEEN: "passed",
    Word.ALARM: "{outcome} although the fault did not act: {layer}",
    Word.LOST: "not recorded",
}


def tables(entries: Iterable[Entry]) -> str:
    """Return all tables: the places, a table for each family of faults, what is not found, what was not tried."""
    by_name: dict[str, dict[str, list[Entry]]] = {}
    for entry in entries:
        by_name.setdefault(entry.where, {}).setdefault(entry.fault, []).append(entry)
    places = dict(zip(ascii_uppercase, by_name.values(), strict=False))
    parts = [*_places(dict(zip(ascii_uppercase, by_name, strict=False)), places), ""]
    for title, family in FAMILIES:
        if any(_tried(fault, places) for fault in family):
            parts += [f"### {title}", "", *_family(family, places), ""]
    parts += ["### What is not found", "", *_limits(places)]
    return "\n".join(parts).rstrip()


def _places(names: Mapping[str, str], places: Mapping[str, Found]) -> list[str]:
    lines = [
        *_head(
            "", "kernel", "probes", "engine", "faults", "recordings in which a fault acted",
            "of these failed with the guilty layer named", "scenarios without a fault that passed",
        )
    ]  # fmt: skip
    for letter, found in places.items():
        sound = found.get(SOUND.name, ())
        failed = [
            f"{each.scenario} {each.outcome or 'not recorded'}" for each in sound if each.word(None) != Word.UNUSED
        ]
        passed = f"{len(sound) - len(failed)} of {len(sound)}" + (f" ({', '.join(failed)})" if failed else "")
        words = Counter(entry.word(fault.layer) for fault in FAULTS for entry in found.get(fault.name, ()))
        acted = sum(words.values()) - words[Word.UNUSED] - words[Word.ALARM] - words[Word.LOST]
        some = next((entry for each in found.values() for entry in each if entry.kernel), None)
        tried = sum(fault.name in found for fault in FAULTS)
        lines.append(
            markdown_row((
                letter, names[letter].split()[0], some.probe if some else "", some.engine if some else "", str(tried),
                str(acted), str(words[Word.FOUND]), passed if sound else "not tried",
            ))
        )  # fmt: skip
    more = len(SCENARIOS) - len(NAMED)
    return [*lines, "", f"Each fault is tried in {len(NAMED)} named scenarios and {more} more."]


def _family(family: Sequence[RealFault], places: Mapping[str, Found]) -> list[str]:
    kinds: dict[str, list[RealFault]] = {}
    for fault in family:
        if _tried(fault, places):
            kinds.setdefault(fault.kind, []).append(fault)
    heads = _head("fault", "what is wrong", "guilty", "found in, of the scenarios in which it acted", "exceptions")
    return [*heads, *(_row(kind, faults, places) for kind, faults in kinds.items())]


def _row(kind: str, faults: Sequence[RealFault], places: Mapping[str, Found]) -> str:
    found, exceptions = [], []
    for fault in faults:
        size = f"{fault.size}: " if fault.size else ""
        counts = []
        for letter, each in places.items():
            used, right, other = _counted(fault, each.get(fault.name, ()))
            if each.get(fault.name):
                counts.append(f"{letter} {right} of {used}" if used else f"{letter} did not act")
            exceptions += [f"{size}{letter}: {', '.join(other)}"] if other else []
        found.append(size + ", ".join(counts))
    layers = dict.fromkeys(fault.layer.value for fault in faults if fault.layer is not None)
    whats = dict.fromkeys(fault.what for fault in faults)
    return markdown_row((kind, "; ".join(whats), ", ".join(layers), "<br>".join(found), "<br>".join(exceptions)))


def _tried(fault: RealFault, places: Mapping[str, Found]) -> bool:
    return any(found.get(fault.name) for found in places.values())


def _counted(fault: RealFault, entries: Sequence[Entry]) -> tuple[int, int, list[str]]:
    """Count the scenarios in which the fault acted and those that found it; describe all other results."""
    words = [(entry, entry.word(fault.layer)) for entry in entries]
    used = [word for _, word in words if word not in (Word.UNUSED, Word.ALARM, Word.LOST)]
    other: dict[str, list[str]] = {}
    for entry, word in words:
        if word in _EXCEPTIONS:
            text = _EXCEPTIONS[word].format(layer=entry.layer, outcome=entry.outcome)
            other.setdefault(text, []).append(entry.scenario)
    return len(used), used.count(Word.FOUND), [f"{', '.join(names)} {text}" for text, names in other.items()]


def _limits(places: Mapping[str, Found]) -> list[str]:
    """List faults that acted and were not found or named another layer, that never acted, and that were not tried."""
    lines = []
    for fault in FAULTS:
        missed = [
            f"{letter}: {'; '.join(other)}"
            for letter, found in places.items()
            for used, right, other in [_counted(fault, found.get(fault.name, ()))]
            if used != right
        ]
        lines += [f"- {fault.name}: {' / '.join(missed)}"] if missed else []
    unused = [
        fault.name
        for fault in FAULTS
        if _tried(fault, places) and not any(_counted(fault, found.get(fault.name, ()))[0] for found in places.values())
    ]
    lines += [f"- never acted in any scenario: {', '.join(unused)}"] if unused else []
    lines = lines or ["Nothing of the above."]
    untried = [fault.name for fault in FAULTS if not _tried(fault, places)]
    if untried:
        lines += ["", "### What was not tried in the whole suite", "", f"{'; '.join(untried)}."]
    return lines


def _head(*names: str) -> list[str]:
    return [markdown_row(names), f"|{'---|' * len(names)}"]
