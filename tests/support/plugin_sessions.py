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

# As HARNESS, in a stand-in's worker: recordings are files, which the worker or its controller judges.
RECORDING = f"""
import dataclasses
import os
import sys
from pathlib import Path

import pytest

sys.path.append({str(PROJECT)!r})
from tests.support.planted import record
from rttcheck.judging.result import Result

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["RTTCHECK_KERNEL"] = "debian:9.9"

class Planted:
    lies, logs = {{}}, {{}}

    def __repr__(self):
        return "planted"

    def path_of(self, scenario):
        return Path("recordings", f"{{scenario.name}}.rttrec").absolute()

    def record(self, scenario):
        recording = record(**scenario.keywords(), **self.lies.get(scenario.name, {{}}))
        if scenario.name in self.logs:
            recording = dataclasses.replace(recording, kernel_log=self.logs[scenario.name])
        return recording, recording.save(self.path_of(scenario))

    def run(self, scenario, *, reproduce=None):
        recording, path = self.record(scenario)
        return Result.of(recording, path=path, reproduce=reproduce)

@pytest.fixture(scope="session")
def rtt_harness():
    return Planted()
"""

# The worker judges itself, as on other machines.
JUDGING_THERE = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_configure_node(node):
    del node.workerinput["rttcheck_judge"]
"""

# A kernel's log that tests write: ``kernel.say(TEXT)``.
LOG = """
import contextlib
import rttcheck.plugin.splats
from rttcheck.kernel_log.record import LogExcerpt, LogRecord

class Log:
    said = []

    def take(self):
        said, self.said[:] = tuple(self.said), []
        return LogExcerpt(records=said)

    read = take

    def say(self, text, facility=0):
        self.said.append(LogRecord(facility=facility, level=4, sequence=1, at_us=1, text=text))

LOG = Log()

@contextlib.contextmanager
def open_kernel_log():
    yield LOG

real_log = rttcheck.plugin.splats.open_kernel_log
rttcheck.plugin.splats.open_kernel_log = open_kernel_log

def pytest_sessionfinish():
    rttcheck.plugin.splats.open_kernel_log = real_log

LOG.say("kernel BUG at before.c:1!")

@pytest.fixture
def kernel():
    return LOG

@pytest.fixture
def bad_teardown():
    yield
    LOG.say("kernel BUG at teardown.c:1!")
"""
