"""What importing the network library costs: nothing that describing a network does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_describing_an_impairment_needs_no_netlink() -> None:
    loaded = modules_after("from rttcheck_netns import Netem, Offloads, Namespace, NetnsError")
    assert not {name for name in loaded if name.startswith("pyroute2")}
    assert "numpy" not in loaded


def test_building_a_network_needs_the_message_classes_and_not_the_library() -> None:
    loaded = modules_after("from rttcheck_netns import routed, direct, Lab")
    assert "pyroute2.netlink" in loaded
    assert not loaded & {"pyroute2.iproute", "pyroute2.ndb", "asyncio", "ssl", "multiprocessing", "numpy", "pytest"}


@pytest.mark.parametrize(
    "use",
    [
        "from pyroute2 import IPRoute, NetNS",
        "import pyroute2; pyroute2.IPRoute; pyroute2.netlink.nlmsg",
        "import pyroute2; assert pyroute2.__version__",
        "from pyroute2.netlink.rtnl.tcmsg import tcmsg",
        "from pyroute2 import netlink, config; config.uname",
    ],
)
def test_pyroute2_is_complete_for_other_importers(use: str) -> None:
    assert "pyroute2.netlink" in modules_after(f"from rttcheck_netns import routed\n{use}")


def test_pyroute2_that_was_there_before_is_left_alone() -> None:
    modules_after("import pyroute2\nfrom rttcheck_netns import routed\nassert type(pyroute2).__name__ == 'module'")


def test_an_unknown_name_is_an_attribute_error() -> None:
    import rttcheck_netns

    with pytest.raises(AttributeError, match="rutted"):
        _ = rttcheck_netns.rutted
