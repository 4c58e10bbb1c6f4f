"""The saboteur's faults as Markdown: how many scenarios find each, the exceptions by name, sizes, and limits.

It owns the text. What was tried, and what came of it, is in the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rttcheck.scenario.library import NAMED
from tests.saboteur.catalogue import FAMILIES, FAULTS, SCENARIOS, SOUND
from tests.saboteur.fault import RealFault
from tests.saboteur.ledger import Entry, Word

Found = Mapping[str, Sequence[Entry]]
"""By the name of a fault: its entries at one place, in the order of the scenarios."""

_SAID: Final = {
    Word.MISBLAMED: "{layer} is blamed",
    Word.UNSURE: "inconclusive",
    Word.UNSEEN: "passed",
    Word.ALARM: "{outcome}, and nothing was wrong: {layer}",
    Word.LOST: "not recorded",
}


def tables(entries: Iterable[Entry]) -> str:
    """All tables, with a column for each place (kernel, probe, engine) of the entries."""
    places: dict[str, dict[str, list[Entry]]] = {}
    for entry in entries:
        places.setdefault(entry.where, {}).setdefault(entry.fault, []).append(entry)
    parts = [_introduction(places), ""]
    for title, family in FAMILIES:
        if any(_tried(fault, places) for fault in family):
            parts += [f"### {title}", "", *_family(family, places), ""]
    parts += ["### The smallest of each kind", "", *_smallest(places), ""]
    parts += ["### What is not found", "", *_limits(places)]
    return "\n".join(parts).rstrip()


def _introduction(places: Mapping[str, Found]) -> str:
    lines = []
    for where, found in places.items():
        sound = found.get(SOUND.name, ())
        well = sum(entry.word(None) is Word.UNUSED for entry in sound)
        words = Counter(entry.word(fault.layer) for fault in FAULTS for entry in found.get(fault.name, ()))
        acted = sum(words.values()) - words[Word.UNUSED] - words[Word.ALARM] - words[Word.LOST]
        some = next((entry for each in found.values() for entry in each if entry.kernel), None)
        how = f" ({some.probe}, {some.engine})" if some is not None else ""
        tried = sum(fault.name in found for fault in FAULTS)
        more = len(SCENARIOS) - len(NAMED)
        lines.append(
            f"- {where}{how}: {tried} faults in {len(NAMED)} named scenarios and {more} more. "
            f"A fault acted in {acted} recordings, and {words[Word.FOUND]} of these failed with its layer named. "
            f"Without a fault, with all of the module's probes in place, {well} of {len(sound)} scenarios passed."
        )
    return "\n".join(lines)


def _family(family: Sequence[RealFault], places: Mapping[str, Found]) -> list[str]:
    heads = ["fault", "what is wrong", "guilty", *(f"found in, {where}" for where in places), "exceptions"]
    rows = [_row(heads), _row(["---"] * len(heads))]
    for fault in family:
        if not _tried(fault, places):
            continue
        counts, exceptions = [], []
        for where, found in places.items():
            used, right, other = _counted(fault, found.get(fault.name, ()))
            counts.append(f"{right} of {used}" if used else "path not used" if found.get(fault.name) else "")
            exceptions += [f"{where}: {', '.join(other)}"] if other else []
        guilty = fault.layer.value if fault.layer is not None else ""
        rows.append(_row([fault.name, fault.what, guilty, *counts, "; ".join(exceptions)]))
    return rows


def _tried(fault: RealFault, places: Mapping[str, Found]) -> bool:
    return any(found.get(fault.name) for found in places.values())


def _counted(fault: RealFault, entries: Sequence[Entry]) -> tuple[int, int, list[str]]:
    """In how many scenarios the fault acted, how many of them found it, and what the others came to."""
    words = [(entry, entry.word(fault.layer)) for entry in entries]
    used = [word for _, word in words if word not in (Word.UNUSED, Word.ALARM, Word.LOST)]
    other: dict[str, list[str]] = {}
    for entry, word in words:
        if word in _SAID:
            said = _SAID[word].format(layer=entry.layer, outcome=entry.outcome)
            other.setdefault(said, []).append(entry.scenario)
    return len(used), used.count(Word.FOUND), [f"{', '.join(names)} {said}" for said, names in other.items()]


def _everywhere(fault: RealFault, places: Mapping[str, Found]) -> bool:
    """Whether it acted somewhere, and was found and blamed rightly wherever it did."""
    counts = [_counted(fault, found.get(fault.name, ())) for found in places.values()]
    return any(used for used, _, _ in counts) and all(used == right for used, right, _ in counts)


def _smallest(places: Mapping[str, Found]) -> list[str]:
    heads = ["kind", "sizes tried", "found wherever they acted"]
    rows = [_row(heads), _row(["---"] * len(heads))]
    kinds: dict[str, list[RealFault]] = {}
    for fault in FAULTS:
        if _tried(fault, places):
            kinds.setdefault(fault.kind, []).append(fault)
    for kind, faults in kinds.items():
        found = [fault.size or "yes" for fault in faults if _everywhere(fault, places)]
        rows.append(_row([kind, "; ".join(fault.size for fault in faults), "; ".join(found) or "none"]))
    return rows


def _limits(places: Mapping[str, Found]) -> list[str]:
    """Faults that acted and were not found, or blamed on another."""
    lines = []
    for fault in FAULTS:
        missed = [
            f"{where}: {'; '.join(other)}"
            for where, found in places.items()
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


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
