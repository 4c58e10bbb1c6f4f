"""Records scenarios on the running kernel, for a directory: run inside a guest by `tests.faults.guest`.

It knows names and keywords of what it records and nothing of what is made of it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from rttcheck.collect.collector import open_collector
from rttcheck.record.recording import SUFFIX
from rttcheck.scenario.model import Scenario


def main(directory: Path, table: str) -> None:
    """Record every scenario of ``table``, a JSON object of keywords by name, into ``directory``."""
    with open_collector() as collector:
        for name, keywords in json.loads(table).items():
            recording = collector.record(Scenario.make(**keywords))
            # The judge does not look at the captured frames, and they are half of the file.
            dataclasses.replace(recording, packets=b"").save(directory / f"{name}{SUFFIX}")
            print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
