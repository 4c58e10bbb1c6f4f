"""A tick of a timer as a recording keeps it. Owns the columns and nothing else."""

from __future__ import annotations

from typing import Final

import numpy as np

TICK: Final = np.dtype([("due_ns", "<i8"), ("late_ns", "<u4"), ("cpu", "<u4")])
"""When a timer was due (CLOCK_MONOTONIC), how much later whoever waited for it ran, and on which core. One that nobody
waited for, because the one before it was late, counts as if somebody had."""
