"""What a refusal by the kernel becomes: the kernel's own message, or the remedy where there is a known one."""

from __future__ import annotations

import errno
import struct

import pytest

from rttcheck_netns import Netem, NetnsError, UnsupportedByKernel
from rttcheck_netns.netlink import Request, kernel_message_of
from rttcheck_netns.qdisc import add_netem
from rttcheck_netns.rtnetlink import address, link_up, veth_pair


def refusal(words: bytes, *, capped: bool) -> bytes:
    """An NLMSG_ERROR with NLMSGERR_ATTR_OFFS and NLMSGERR_ATTR_MSG behind a refused message of 40 bytes."""
    flags = 0x200 | (0x100 if capped else 0)
    echoed = struct.pack("=IHHII", 40, 16, 5, 1, 0) + (b"" if capped else bytes(24))
    offset = struct.pack("=HHI", 8, 2, 20)
    text = struct.pack("=HH", 4 + len(words), 1) + words + bytes(-len(words) % 4)
    body = struct.pack("=i", -errno.EINVAL) + echoed + offset + text
    return struct.pack("=IHHII", 16 + len(body), 2, flags, 1, 0) + body


@pytest.mark.parametrize("capped", [True, False])
def test_the_kernels_message_is_found(capped: bool) -> None:
    assert kernel_message_of(refusal(b"netem: invalid\0", capped=capped)) == "netem: invalid"


def test_no_message_is_an_empty_string() -> None:
    plain = struct.pack("=IHHIIi", 36, 2, 0x100, 1, 0, -errno.EINVAL) + struct.pack("=IHHII", 40, 16, 5, 1, 0)
    assert kernel_message_of(plain) == ""


PAIR = veth_pair("a", 5, "02:00:00:00:00:01", "b", 6, "02:00:00:00:00:02", 3, 1500, 1)


@pytest.mark.parametrize(
    ("request_", "code", "message", "remedy"),
    [
        (PAIR, errno.EOPNOTSUPP, "Unknown device type", "modprobe veth"),
        (address(5, "2001:2:0:1::1", 64), errno.EACCES, "IPv6 is disabled on this device", "ipv6.disable"),
        (address(5, "2001:2:0:1::1", 64), errno.EOPNOTSUPP, "", "ipv6.disable"),
        (add_netem(5, Netem()), errno.ENOENT, "Specified qdisc kind is unknown", "modprobe sch_netem"),
        (add_netem(5, Netem()), errno.EINVAL, "netem: cannot mix duplicating netems with other", "6.12.93"),
    ],
)
def test_what_a_kernel_lacks_is_named_with_its_remedy(request_: Request, code: int, message: str, remedy: str) -> None:
    assert request_.refusal is not None
    better = request_.refusal(code, message)
    assert isinstance(better, UnsupportedByKernel)
    assert isinstance(better, NetnsError)
    assert remedy in str(better)


@pytest.mark.parametrize("request_", [PAIR, address(5, "2001:2:0:1::1", 64), add_netem(5, Netem())])
def test_other_refusals_keep_the_kernels_message(request_: Request) -> None:
    assert request_.refusal is not None
    assert request_.refusal(errno.EPERM, "") is None


def test_a_request_that_cannot_be_lacking_has_no_remedy() -> None:
    assert link_up(1).refusal is None
