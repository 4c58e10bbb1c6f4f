"""The directory of compiled BPF programs and their sources.

It is ``bpf/`` beside the package in a source tree, ``rttcheck/bpf/`` in an installed wheel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import rttcheck

_PACKAGE = Path(rttcheck.__file__).parent
_INSTALLED = _PACKAGE / "bpf"

BPF: Final = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "bpf"
