"""rttcheck: are the TCP round-trip times that this kernel reports true?

The way through is one line: Scenario, Lab, Traffic, Probe, Recording, Judge, Verdict. What is left of the recording
collects (root, a kernel, light imports); what is right of it judges (pure functions over arrays).
"""

from __future__ import annotations

__version__ = "0.1.0"
