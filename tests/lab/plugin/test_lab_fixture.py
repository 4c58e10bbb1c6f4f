"""The fixture `lab`: a live network that is there for the test and gone after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

BY_HAND = """
import socket

import pytest

@pytest.mark.rtt(MARKER)
def test_by_hand(lab):
    with lab.server.namespace.socket(FAMILY, socket.SOCK_STREAM) as listener:
        listener.bind((lab.server.address(IP), 0))
        listener.listen()
        with lab.client.namespace.socket(FAMILY, socket.SOCK_STREAM) as client:
            client.settimeout(20)
            client.connect(listener.getsockname())
            peer, address = listener.accept()
            with peer:
                client.sendall(b"ping")
                assert peer.recv(4) == b"ping"
                assert address[0] == lab.client.address(IP)
"""


def namespaces() -> int:
    """How many network namespaces this process holds open."""
    links = (entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())
    return sum(str(link).startswith("net:") for link in links)


@pytest.mark.parametrize(("marker", "family", "version"), [("", "socket.AF_INET", 4), ("", "socket.AF_INET6", 6)])
def test_a_lab_carries_traffic_of_the_tests_own_and_is_gone_after_it(
    pytester: pytest.Pytester, marker: str, family: str, version: int
) -> None:
    before = namespaces()
    pytester.makepyfile(BY_HAND.replace("MARKER", marker).replace("FAMILY", family).replace("IP", str(version)))
    pytester.runpytest("-p", "no:cacheprovider", "-p", "no:hypothesispytest").assert_outcomes(passed=1)
    assert namespaces() == before


def test_a_lab_of_another_topology_has_no_link_node(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.rtt(topology="direct")
        def test_direct(lab):
            assert lab.link is None
        """
    )
    pytester.runpytest("-p", "no:cacheprovider", "-p", "no:hypothesispytest").assert_outcomes(passed=1)
