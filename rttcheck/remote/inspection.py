"""Run on the other machine, with the code that was brought there: what it lacks for booting guests, as JSON."""

from __future__ import annotations

import json

from rttcheck.doctor.capability import GUEST, missing
from rttcheck.doctor.equipment import equipment


def main() -> None:
    """Write a list of ``name: remedy``."""
    print(json.dumps([f"{thing.name}: {thing.remedy}" for thing in missing(equipment(), GUEST)]))


if __name__ == "__main__":
    main()
