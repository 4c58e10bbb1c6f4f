"""The layout of a timer's tick in a recording, as a NumPy dtype."""

from __future__ import annotations

from typing import Final

import numpy as np

TICK: Final = np.dtype([("due_ns", "<i8"), ("late_ns", "<u4"), ("cpu", "<u4")])
"""When a timer was due (CLOCK_MONOTONIC), how much later the waiting process ran, and on which core. A tick that passed
while the process was still late for an earlier one counts with its full lateness."""
