"""What is reported of this kernel is what this kernel does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rttcheck.collect.probe.probe import open_probe
from rttcheck.doctor.capabilities import Capability, can_judge_host, host_capabilities
from rttcheck.errors import CapabilityError
from rttcheck_netns import Netem, UnsupportedByKernel, routed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and probes need root")


@pytest.fixture(scope="module")
def known() -> dict[str, Capability]:
    return {capability.name: capability for capability in host_capabilities()}


def works(name: str) -> bool:
    """Whether what a capability stands for works, tried the way a scenario does."""
    try:
        if name == "sch_netem":
            with routed(out=Netem(delay_ns=1_000_000)):
                return True
        with open_probe(name.removeprefix("probe ")):
            return True
    except (UnsupportedByKernel, CapabilityError):
        return False


@pytest.mark.parametrize("name", ["sch_netem", "probe fexit", "probe kprobe"])
def test_what_is_found_works_and_what_is_missing_does_not(name: str, known: dict[str, Capability]) -> None:
    assert known[name].found is works(name)


def test_what_is_missing_comes_with_a_remedy_and_with_words_for_a_sentence(known: dict[str, Capability]) -> None:
    lacking = [capability for capability in known.values() if not capability.found]
    assert all(capability.remedy and capability.lack and capability.detail for capability in lacking)
    assert can_judge_host(known.values()) is (
        known["sch_netem"].found and (known["probe fexit"].found or known["probe kprobe"].found)
    )


def test_a_missing_netem_is_told_in_the_kernels_own_words(known: dict[str, Capability]) -> None:
    if known["sch_netem"].found:
        pytest.skip("this kernel has netem")
    assert "the kernel reports: " in known["sch_netem"].detail


def test_looking_leaves_nothing_behind() -> None:
    host_capabilities()
    before = len(list(Path("/proc/self/fd").iterdir()))
    namespace = Path("/proc/thread-self/ns/net").stat().st_ino
    host_capabilities()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert Path("/proc/thread-self/ns/net").stat().st_ino == namespace
