"""Run on the other machine, with the transferred code: print as JSON what it lacks for booting guests."""

from __future__ import annotations

import json

from rttcheck.doctor.capability import GUEST, missing
from rttcheck.doctor.equipment import equipment


def main() -> None:
    """Print a list of ``name: remedy``."""
    print(json.dumps([f"{thing.name}: {thing.remedy}" for thing in missing(equipment(), GUEST)]))


if __name__ == "__main__":
    main()
