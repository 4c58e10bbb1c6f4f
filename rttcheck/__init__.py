"""rttcheck checks the TCP round-trip times that a Linux kernel reports.

The pipeline is Scenario, Lab, Traffic, Probe, Recording, Judge, Verdict. The steps before the recording collect data
(they need root and a kernel, and import little); the steps after it judge (pure functions over arrays).

PYTEST_DONT_REWRITE: guests import the package before pytest begins, and pytest warns of that otherwise.
"""

from __future__ import annotations

__version__ = "0.1.0"
