"""The planted faults from the command line: ``python -m tests.faults [--write docs/faults.md]``.

The faults of the link are set in netem and need a guest; ``--planted`` leaves them out. ``--record`` needs one too: it
makes the recordings without a fault again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rttcheck.errors import RttcheckError
from rttcheck.judge.findings import Layer
from rttcheck.record.recording import SUFFIX, Recording
from tests.faults import link_faults
from tests.faults.catalogue import Judged
from tests.faults.guest import record_in_guest
from tests.faults.table import planted_tables, row, titled, write_part
from tests.faults.truth import DIRECTORY, KEYWORDS, scenario


def main() -> int:
    """Record the recordings without a fault if asked to, judge every fault, print the tables, write them to a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="judge every planted fault")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the tables in FILE")
    parser.add_argument("--record", action="store_true", help="record those without a fault again first, in a guest")
    parser.add_argument("--planted", action="store_true", help="only those planted in recordings: no guest is booted")
    arguments = parser.parse_args()
    try:
        if arguments.record:
            record_truth()
    except RttcheckError as error:
        sys.exit(str(error))
    try:
        parts = {"planted": planted_tables()}
        if not arguments.planted:
            parts["links"] = link_table()
    except RttcheckError as error:
        sys.exit(str(error))
    print("\n\n".join(parts.values()))
    if arguments.write is not None:
        try:
            for name, part in parts.items():
                write_part(arguments.write, name, part)
        except (OSError, ValueError) as error:
            sys.exit(f"the tables were to be written to {arguments.write} and were not: {error}")
    return 0


def link_table() -> str:
    """Record the link's faults in a guest and return their table. Raises RttcheckError when the guest fails."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        record_in_guest({fault.name: fault.recorded.keywords() for fault in link_faults.FAULTS}, made)
        rows = [
            row(fault.name, fault.what, Layer.LINK, {settings(fault.asked): Judged.of(fault.pretend(recording))})
            for fault in link_faults.FAULTS
            for recording in (Recording.load(made / f"{fault.name}{SUFFIX}"),)
        ]
    return titled("The link", rows, recordings="judged as")


def settings(keywords: Mapping[str, Any]) -> str:
    """Return a scenario's keywords on one line."""
    return ", ".join(f"{name}={value}" for name, value in keywords.items() if name not in ("count", "seed"))


def record_truth() -> None:
    """Record the recordings without a fault again. Raises RttcheckError when the guest fails."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        record_in_guest({each: scenario(each).keywords() for each in KEYWORDS}, made)
        DIRECTORY.mkdir(exist_ok=True)
        for each in KEYWORDS:
            shutil.copy(made / f"{each}{SUFFIX}", DIRECTORY)


if __name__ == "__main__":
    sys.exit(main())
