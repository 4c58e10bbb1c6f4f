"""The names of engines and probe backends, as command lines offer them. Importing this costs nothing."""

from __future__ import annotations

from typing import Final

AUTO: Final = "auto"

ENGINES: Final = ("netem", "relay")
"""What delays packets, in the order in which ``auto`` tries them."""

PROBES: Final = ("fexit", "kprobe", "bcc", "sockops", "tracepoint")
"""What sees samples, in the order in which ``auto`` tries them; ``bcc``, compiled on the spot, it leaves out."""
