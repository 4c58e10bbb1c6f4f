"""The lines on what was measured in the README, taken from the tables of docs/performance.md."""

from __future__ import annotations

import re
from typing import Final

_LINES: Final = (
    (
        r"\| a guest's suite when all is installed: boot, (\d+) scenarios, verdict \| ([^|]+?) \|",
        "- {0} scenarios on one guest kernel take {1}, from the command to the verdict, on 2 cores without KVM.",
    ),
    (
        r"\| of that, from the command to the first test \| ([^|]+?) \|",
        "- The first of them begins {0} after the command, in a guest that was frozen by an earlier session.",
    ),
    (
        r"\| the suite on (\d+) kernels \([^)]*\), one session: [^|]*\| ([^|]+?) \|",
        "- {0} kernels take {1} in one session.",
    ),
    (
        r"\| largest excess over the injected round trip, of (\d+) data samples [^|]*\| ([^|]+?) \|",
        "- Of {0} data samples over constant delays none was more than {1} above the injected round trip (6.12).",
    ),
    (
        r"\| the whole verdict on (1,0\d\d,\d+) events and ([\d,]+) packets, ping-pong \| [\d.]+ s "
        r"\(([\d.]+ s) of processor\), (\d+ MB) ",
        "- {0} samples with their {1} packets are judged in {2} of a processor, in {3} beside the tables.",
    ),
)


def lines(document: str) -> list[str]:
    """Return the lines for the README from the text of docs/performance.md. Raises ValueError for a row that lacks."""
    found = []
    for pattern, text in _LINES:
        row = re.search(pattern, document)
        if row is None:
            raise ValueError(f"docs/performance.md has no row {pattern!r}: run `make bench`")
        found.append(text.format(*row.groups()))
    return ["", *found, ""]
