"""A digest of rttcheck's own files: all suites of a soak must run the same code, which may be edited meanwhile."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

import rttcheck
import rttcheck_netns
from rttcheck.collect.bpf_files import BPF

PACKAGE = Path(rttcheck.__file__).parent


def code_digest(*directories: Path) -> str:
    """Return a digest of names and contents of all files in ``directories``; rttcheck's own where none is given.

    Bytecode and hidden files do not count.
    """
    digest = blake2b(digest_size=8)
    for top in directories or (PACKAGE, Path(rttcheck_netns.__file__).parent, BPF):
        for directory, names, files in os.walk(top, followlinks=True):
            names[:] = sorted(name for name in names if name != "__pycache__" and not name.startswith("."))
            for name in sorted(file for file in files if not file.startswith(".")):
                path = Path(directory) / name
                try:
                    content = path.read_bytes()
                except FileNotFoundError:
                    continue
                digest.update(f"{path.relative_to(top)}:{len(content)}:".encode() + content)
    return digest.hexdigest()
