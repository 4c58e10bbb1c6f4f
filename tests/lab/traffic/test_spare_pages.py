"""Free pages that a processor keeps: given back when asked, and no traffic in virtual time meets that they are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rttcheck.collect.collector import open_collector
from rttcheck.collect.facts import current_clock
from rttcheck.collect.spare_pages import give_back_spare_pages
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Outcome
from rttcheck.judge.link.overhead import MOST_NS
from rttcheck.judge.link.way import Way
from rttcheck.judge.pairing.transit import WAYS
from rttcheck.judge.verdict import judge
from rttcheck.scenario.library import NAMED

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="packet sockets and namespaces need root"),
    pytest.mark.skipif(current_clock() != "virtual", reason="in real time each of several processors keeps its own"),
]

PAGES = 4096


def kept_pages() -> int:
    """How many free pages the only processor keeps, of all zones."""
    return sum(int(count) for count in re.findall(r"^ +count: +(\d+)$", Path("/proc/zoneinfo").read_text(), re.M))


@pytest.fixture
def many_kept() -> int:
    """The processor keeps what a program of some size leaves when it ends."""
    freed = bytearray(PAGES * os.sysconf("SC_PAGE_SIZE"))
    del freed
    many = kept_pages()
    if many < 2000:
        pytest.skip(
            f"a processor keeps {many} pages, and thousands since Linux 6.7: this kernel has {os.uname().release}"
        )
    return many


def test_they_are_given_back(many_kept: int) -> None:
    give_back_spare_pages()
    assert kept_pages() < many_kept // 10


def test_again_and_again_nothing_is_left_of_it() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        give_back_spare_pages()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_acks_that_free_a_burst_hold_nobody_up() -> None:
    with open_collector() as collector:
        collector.control(NAMED["bbr"])
        freed = bytearray(PAGES * os.sysconf("SC_PAGE_SIZE"))
        del freed
        recording = collector.record(NAMED["bbr"])
    evidence = Evidence.of(recording)
    for name in WAYS:
        way = Way.of(evidence, name)
        assert (way.left_ns - way.due_last_ns).max() < MOST_NS
    assert judge(recording).outcome is Outcome.PASSED
