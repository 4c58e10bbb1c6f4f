"""The names of engines and probe backends for command lines. Cheap to import."""

from __future__ import annotations

from typing import Final

AUTO: Final = "auto"

ENGINES: Final = ("netem", "relay")
"""What delays packets, in the order of ``auto``."""

PROBES: Final = ("fexit", "kprobe", "bcc", "sockops", "tracepoint")
"""What reads samples, in the order of ``auto``, which omits ``bcc``: it compiles at run time."""
