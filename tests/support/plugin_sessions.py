"""Sessions of pytest inside a test: with planted recordings, and with a Python that stands in for a guest's."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).parents[2]

# Sessions run in the process of these tests, which others are run in, too.
REAL = """
import rttcheck.doctor.capabilities

real = rttcheck.doctor.capabilities.host_capabilities

def pytest_unconfigure():
    rttcheck.doctor.capabilities.host_capabilities = real
"""

HARNESS = f"""{REAL}
import sys
import pytest

sys.path.append({str(PROJECT)!r})
from tests.support.planted import record
from rttcheck.harness import Result
from rttcheck.judge.verdict import judge

from rttcheck.doctor.capability import HOST, Capability

rttcheck.doctor.capabilities.host_capabilities = lambda: (
    Capability(name="sch_netem", found=True, detail="", needed_for=HOST),
    Capability(name="probe fexit", found=True, detail="", needed_for=HOST, sees="every sample"),
    Capability(name="probe sockops", found=False, detail="no cgroup", remedy="mount one", sees="once a round trip"),
)

class Planted:
    lies = {{}}

    def run(self, scenario, *, reproduce=None):
        recording = record(**scenario.keywords(), **self.lies)
        return Result(recording=recording, verdict=judge(recording, reproduce=reproduce))

@pytest.fixture(scope="session")
def rtt_harness():
    return Planted()
"""

# A Python of this machine stands in for the guest's; what the launcher does is tested with real guests.
STAND_IN = """
from types import SimpleNamespace

import rttcheck.kernels.archive
import rttcheck.plugin.slots

def fetch(spec, **kwargs):
    return SimpleNamespace(release=f"{spec.series}.9")

def gateway_spec(settings, *, name):
    print(f"gateway {name}, fresh {settings.fresh}")
    settings.console.write_text("first line\\nBUG: kernel NULL pointer dereference\\n")
    return f"popen//id={name}//python=PYTHON"

rttcheck.kernels.archive.fetch = fetch
rttcheck.plugin.slots.gateway_spec = gateway_spec
"""
