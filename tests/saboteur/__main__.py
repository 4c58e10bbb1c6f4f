"""The saboteur from the command line: ``python -m tests.saboteur [--kernel debian:6.12] [--write docs/faults.md]``.

Records what is not in the ledger yet, one guest at a time, judges all that was asked for with today's judge, and prints
the tables. A run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rttcheck.doctor.choices import AUTO, ENGINES, PROBES
from rttcheck.errors import RttcheckError
from rttcheck.kernels.archive import fetch
from tests.faults.table import write_part
from tests.saboteur.catalogue import FAULTS, SCENARIOS, SOUND
from tests.saboteur.fault import RealFault
from tests.saboteur.ledger import Entry, Ledger
from tests.saboteur.session import PROJECT, Work, record
from tests.saboteur.table import tables

KERNELS: Final = ("debian:6.1", "debian:6.12")
DIRECTORY: Final = PROJECT / ".rttcheck/saboteur"
PART: Final = "real"
"""The tables' place in the document."""

_BY_NAME: Final = {fault.name: fault for fault in (SOUND, *FAULTS)}


def main() -> int:
    """Record what is missing, judge, and write the tables."""
    arguments = _parser().parse_args()
    faults = [fault for fault in (SOUND, *FAULTS) if _matches(fault, arguments.fault)]
    if not faults:
        sys.exit(f"no fault is called {' or '.join(arguments.fault)}; --list has the names")
    if arguments.list:
        for fault in faults:
            print(f"{fault.name}: {fault.what} ({' '.join(f'{n}={v}' for n, v in fault.parameters.items())})")
        return 0
    works = [_work(fault, arguments.scenario, tested=arguments.tested) for fault in faults]
    ledger = Ledger(arguments.directory / "ledger.jsonl")
    shown: list[Entry] = []
    try:
        for kernel in arguments.kernel or KERNELS:
            shown += _run(kernel, works, ledger, arguments)
    except RttcheckError as error:
        sys.exit(str(error))
    text = tables(shown)
    print(text)
    if arguments.write is not None:
        try:
            write_part(arguments.write, PART, text)
        except (OSError, ValueError) as error:
            sys.exit(f"the tables were to be written to {arguments.write} and were not: {error}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.saboteur", description="judge kernels with real faults")
    parser.add_argument("--kernel", action="append", metavar="SPEC", help=f"(default: {' and '.join(KERNELS)})")
    parser.add_argument("--fault", action="append", metavar="NAME", help="a name or a pattern, as 'stamps*' (all)")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, metavar="NAME", help="(all)")
    parser.add_argument("--tested", action="store_true", help="each fault only where the tests in CI try it")
    parser.add_argument("--probe", choices=(AUTO, *PROBES), default=AUTO)
    parser.add_argument("--engine", choices=(AUTO, *ENGINES), default=AUTO)
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="of the ledger and the recordings")
    parser.add_argument("--again", action="store_true", help="record anew what is in the ledger")
    parser.add_argument("--judge", action="store_true", help="record nothing: judge the recordings that there are")
    parser.add_argument("--list", action="store_true", help="name the faults, and do nothing")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the tables in FILE")
    return parser


def _matches(fault: RealFault, patterns: Sequence[str] | None) -> bool:
    return patterns is None or any(fnmatch.fnmatchcase(fault.name, pattern) for pattern in patterns)


def _work(fault: RealFault, scenarios: Sequence[str] | None, *, tested: bool) -> Work:
    names = fault.tested_in if tested else tuple(SCENARIOS)
    return Work(fault=fault, scenarios=tuple(name for name in names if scenarios is None or name in scenarios))


def _run(kernel: str, works: Sequence[Work], ledger: Ledger, arguments: argparse.Namespace) -> list[Entry]:
    """All entries that were asked for on one kernel, judged; what is missing is recorded before."""
    release = fetch(kernel).name
    where = " ".join([release, *(name for name in (arguments.probe, arguments.engine) if name != AUTO)])
    keys = [(where, work.fault.name, scenario) for work in works for scenario in work.scenarios]
    fresh = set()
    if not arguments.judge:
        missing = [
            Work(
                fault=work.fault,
                scenarios=tuple(
                    scenario
                    for scenario in work.scenarios
                    if arguments.again or not _is_known(ledger, (where, work.fault.name, scenario))
                ),
            )
            for work in works
        ]
        into = arguments.directory / where.replace(" ", ".")
        for recorded in record(kernel, missing, into, probe=arguments.probe, engine=arguments.engine):
            entry = Entry.of(where, recorded).judged()
            ledger.add(entry)
            fresh.add(entry.key)
            line = entry.render(_BY_NAME[entry.fault].layer)
            print(f"{where} | {entry.fault} | {entry.scenario} | {line}", file=sys.stderr, flush=True)
    known = [entry for entry in (ledger.get(key) for key in keys) if entry is not None]
    judged = [entry if entry.key in fresh else entry.judged() for entry in known]
    ledger.write(judged)
    return judged


def _is_known(ledger: Ledger, key: tuple[str, str, str]) -> bool:
    """What could not be recorded is tried again."""
    entry = ledger.get(key)
    return entry is not None and bool(entry.path) and Path(entry.path).exists()


if __name__ == "__main__":
    sys.exit(main())
