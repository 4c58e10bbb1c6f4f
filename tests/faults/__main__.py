"""The planted faults from the command line: ``python -m tests.faults [--write docs/faults.md] [--record]``.

Both need a guest: ``--record`` makes the true recordings anew, and the faults of the link are real ones.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rttcheck.errors import RttcheckError
from rttcheck.recording import SUFFIX
from tests.faults.guest import record_in_guest
from tests.faults.table import planted_tables, write_part
from tests.faults.truth import DIRECTORY, KEYWORDS, scenario


def main() -> int:
    """Record the truth if that was asked for, judge every fault, print the tables, and put them into a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="judge every planted fault")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the tables in FILE")
    parser.add_argument("--record", action="store_true", help="make the true recordings anew first, in a guest")
    arguments = parser.parse_args()
    try:
        if arguments.record:
            record_truth()
    except RttcheckError as error:
        sys.exit(str(error))
    planted = planted_tables()
    print(planted)
    if arguments.write is not None:
        write_part(arguments.write, "planted", planted)
    return 0


def record_truth() -> None:
    """Make the true recordings anew. Raises RttcheckError when the guest fails."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        record_in_guest({each: scenario(each).keywords() for each in KEYWORDS}, made)
        DIRECTORY.mkdir(exist_ok=True)
        for each in KEYWORDS:
            shutil.copy(made / f"{each}{SUFFIX}", DIRECTORY)


if __name__ == "__main__":
    sys.exit(main())
