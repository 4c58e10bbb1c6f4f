"""The directory of compiled BPF programs and their sources.

In a source tree it is ``bpf/`` beside the package; in an installed wheel it is ``rttcheck/bpf/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import rttcheck

_PACKAGE = Path(rttcheck.__file__).parent
_INSTALLED = _PACKAGE / "bpf"

BPF: Final = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "bpf"
