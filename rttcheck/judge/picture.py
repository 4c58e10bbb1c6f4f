"""Draw the histogram of a verdict as text: expected values above the seen ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from rttcheck.record.histogram import Unit, bucket_label

_STEPS: Final = 10
"""The number of rows of a picture with even steps."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: the number of samples in it, and whether samples are expected there."""

    label: str
    expected: bool
    seen: int

    def drawn(self, mark: str, room: int, top: int, count_width: int, *, color: bool) -> str:
        """Return the bar of the seen samples: ``top`` samples fill ``room`` columns, one sample at least one column."""
        length = max(1, round(room * self.seen / top)) if self.seen else 0
        text = f"{mark * length:{room}} {self.seen:>{count_width}}"
        odd = bool(self.seen) and not self.expected
        text += "  < not expected" if odd else ""
        return f"\x1b[{31 if odd else 32}m{text}\x1b[0m" if color and self.seen else text


@dataclass(frozen=True, slots=True)
class Picture:
    """A title, and rows from the smallest value to the largest."""

    title: str
    bars: tuple[Bar, ...]

    def render(self, width: int = 80, *, color: bool = False, ascii_only: bool = False) -> str:
        """Return the picture as lines of at most ``width`` columns.

        Each row has the expected count above the seen one. If samples are expected in exactly one row, it is expected
        to hold all of them; otherwise any number may be in each expected row.
        """
        marks = (".", "#") if ascii_only else ("░", "█")
        total = sum(bar.seen for bar in self.bars)
        alone = sum(bar.expected for bar in self.bars) == 1
        label_width = max((len(bar.label) for bar in self.bars), default=0)
        count_width = max(3, len(str(total)))
        room = max(10, width - label_width - count_width - len(" | ") - len("  < not expected"))
        top = total if alone else max((bar.seen for bar in self.bars), default=0)
        lines = [f"{'':{label_width}}  expected {marks[0]} over seen {marks[1]}: {self.title}"]
        for empty, run in groupby(self.bars, key=lambda bar: not bar.seen and not bar.expected):
            bars = tuple(run)
            if empty:
                lines.append(f"{bars[0].label:>{label_width}} |")
                # Of many empty rows only the first and the last are drawn.
                lines += [f"{'...':>{label_width}} |"] if len(bars) > 2 else []
                lines += [f"{bars[-1].label:>{label_width}} |"] if len(bars) > 1 else []
                continue
            for bar in bars:
                count = str(total) if alone else "any"
                due = f"{marks[0] * room} {count:>{count_width}}" if bar.expected else ""
                lines.append(f"{bar.label:>{label_width}} |{due}")
                lines.append(f"{'':{label_width}} |{bar.drawn(marks[1], room, top, count_width, color=color)}")
        return "\n".join(lines)


def in_buckets(counts: Sequence[int], allowed: Sequence[bool], unit: Unit) -> Picture:
    """Return a picture of histogram buckets, from one before the first used or allowed one to one after the last."""
    matter = [index for index, count in enumerate(counts) if count or allowed[index]]
    if not matter:
        return Picture("no sample", ())
    shown = range(max(0, matter[0] - 1), min(len(counts), matter[-1] + 2))
    if all(allowed[index] for index in range(matter[0], len(counts))):
        # Without an upper bound all higher buckets are allowed: end the picture after the last one with samples.
        filled = [index for index, count in enumerate(counts) if count] or matter[:1]
        shown = range(max(0, min(matter[0], filled[0]) - 1), min(len(counts), filled[-1] + 2))
    return Picture(
        "data samples in each bucket",
        tuple(Bar(bucket_label(index, unit).strip(), bool(allowed[index]), int(counts[index])) for index in shown),
    )


def in_steps(values_us: np.ndarray, lowest_us: int, highest_us: int) -> Picture:
    """Return a picture with even steps of microseconds, for faults smaller than a bucket."""
    start = min(int(values_us.min()), lowest_us)
    stop = max(int(values_us.max()), highest_us) + 1
    # A step begins at the lower bound, where a single sample below it is a failure: no row crosses that bound.
    step = max(1, -(-(stop - start) // _STEPS))
    edges = np.arange(lowest_us - -(-(lowest_us - start) // step) * step, stop + step, step)
    counts, _ = np.histogram(values_us, edges)
    bars = tuple(
        Bar(f"{int(low)} - {int(high) - 1} us", bool(low <= highest_us and high > lowest_us), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    )
    return Picture("data samples, microseconds", bars)
