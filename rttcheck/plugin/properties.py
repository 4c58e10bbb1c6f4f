"""The names under which a test's report carries what rttcheck found."""

from __future__ import annotations

from typing import Final

PROPERTY: Final = "rtt."
"""Prefix of the properties that carry a scenario's row in reports and JUnit files."""
