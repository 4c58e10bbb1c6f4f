"""Parse and print sizes and ages: ``2G``, ``90d``, ``5 hours ago``.

Sizes count in powers of 1000, as disks do.
"""

from __future__ import annotations

import re
from datetime import datetime

from rttcheck.errors import KernelError

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_BYTES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(text: str, *, what: str) -> int:
    """Return the bytes of ``2G``, ``500M``, ``1.5GB``, ``0``. Raises `KernelError` for other text or no unit."""
    found = _AMOUNT.fullmatch(text.strip())
    unit = found[2].upper().removesuffix("B") if found else ""
    if found is None or (unit not in _BYTES and float(found[1])):
        raise KernelError(f"{what} {text!r} is no size; write a number and K, M, G or T, as in 2G")
    return int(float(found[1]) * _BYTES.get(unit, 1))


def parse_age(text: str, *, what: str) -> float:
    """Return the seconds of ``90d``, ``12h``, ``2w``. Raises `KernelError` for other text."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2].lower() not in _SECONDS:
        raise KernelError(f"{what} {text!r} is no age; write a number and h, d or w, as in 90d")
    return float(found[1]) * _SECONDS[found[2].lower()]


def size_text(count: int) -> str:
    """Format a number of bytes: ``102 MB``, ``1.4 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def age_text(seconds: float) -> str:
    """Format an age: ``just now``, ``5 hours ago``."""
    for unit, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        count = int(seconds / unit)
        if count:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def date_text(epoch_s: float) -> str:
    """Format a time in seconds since the epoch, as local time: ``2026-11-22 21:30``."""
    return datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d %H:%M")
