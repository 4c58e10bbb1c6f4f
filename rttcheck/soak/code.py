"""Which code a soak is of: suites of two are not one soak, and somebody may edit the code while it runs.

Owns the digest of the package's files. Installed or in the tree, it is the code that this process was started from.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

import rttcheck

PACKAGE = Path(rttcheck.__file__).parent


def code_digest(package: Path = PACKAGE) -> str:
    """Names the files of ``package`` by their names and contents; bytecode and files that come and go do not count."""
    digest = blake2b(digest_size=8)
    # In the tree netns and bpf are links.
    for directory, names, files in os.walk(package, followlinks=True):
        names[:] = sorted(name for name in names if name != "__pycache__" and not name.startswith("."))
        for name in sorted(file for file in files if not file.startswith(".")):
            path = Path(directory) / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            digest.update(f"{path.relative_to(package)}:{len(content)}:".encode() + content)
    return digest.hexdigest()
