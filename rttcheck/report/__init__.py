"""Format rows and verdicts for terminals, Markdown and JSON. Nothing here is imported in a guest."""

from __future__ import annotations
