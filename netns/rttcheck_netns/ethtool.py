"""Read and set the offloads of an interface through netlink's ethtool family (no program, no ioctl)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .errors import NetnsError, UnsupportedByKernel
from .netlink import ACK, GENERIC, REQUEST, Channel, Request
from .nla import ctrlmsg, genlmsg, nla
from .offloads import FEATURES, Offloads
from .rtnetlink import encoded

_CONTROL, _GETFAMILY = 0x10, 3
_FEATURES_GET, _FEATURES_SET = 11, 12
_COMPACT = 1


class ethtool_header(nla):  # type: ignore[misc]  # noqa: N801  # pyroute2 is untyped; the name is its convention
    """ETHTOOL_A_HEADER_*."""

    nla_flags = 0x8000
    nla_map = ((1, "ETHTOOL_A_HEADER_DEV_INDEX", "uint32"), (3, "ETHTOOL_A_HEADER_FLAGS", "uint32"))


class ethtool_bitset(nla):  # type: ignore[misc]  # noqa: N801  # as above
    """ETHTOOL_A_BITSET_*, in the verbose form that names its bits."""

    nla_flags = 0x8000
    nla_map = (
        (1, "ETHTOOL_A_BITSET_NOMASK", "flag"),
        (2, "ETHTOOL_A_BITSET_SIZE", "uint32"),
        (3, "ETHTOOL_A_BITSET_BITS", "bits"),
        (4, "ETHTOOL_A_BITSET_VALUE", "cdata"),
        (5, "ETHTOOL_A_BITSET_MASK", "cdata"),
    )

    class bits(nla):  # type: ignore[misc]  # noqa: N801  # as above
        nla_flags = 0x8000
        nla_map = ((1, "ETHTOOL_A_BITSET_BITS_BIT", "bit"),)

        class bit(nla):  # type: ignore[misc]  # noqa: N801  # as above
            nla_flags = 0x8000
            nla_map = (
                (1, "ETHTOOL_A_BITSET_BIT_INDEX", "uint32"),
                (2, "ETHTOOL_A_BITSET_BIT_NAME", "asciiz"),
                (3, "ETHTOOL_A_BITSET_BIT_VALUE", "flag"),
            )


class features_message(genlmsg):  # type: ignore[misc]  # noqa: N801  # as above
    """ETHTOOL_MSG_FEATURES_GET, its reply, and ETHTOOL_MSG_FEATURES_SET."""

    nla_map = (
        (1, "ETHTOOL_A_FEATURES_HEADER", "ethtool_header"),
        (2, "ETHTOOL_A_FEATURES_HW", "ethtool_bitset"),
        (3, "ETHTOOL_A_FEATURES_WANTED", "ethtool_bitset"),
        (4, "ETHTOOL_A_FEATURES_ACTIVE", "ethtool_bitset"),
        (5, "ETHTOOL_A_FEATURES_NOCHANGE", "ethtool_bitset"),
    )
    ethtool_header = ethtool_header
    ethtool_bitset = ethtool_bitset


@lru_cache(maxsize=1)
def _family() -> int:
    """Return the ethtool family's number, the same in all namespaces until the next boot."""
    asking = ctrlmsg()
    asking["cmd"], asking["version"] = _GETFAMILY, 1
    asking["attrs"] = [["CTRL_ATTR_FAMILY_NAME", "ethtool"]]
    request = Request("find netlink's ethtool family", encoded(asking, _CONTROL, REQUEST | ACK), _no_family)
    with Channel.current(GENERIC) as channel:
        for raw in channel.transact([request]):
            answer = ctrlmsg(raw)
            answer.decode()
            return int(answer.get_attr("CTRL_ATTR_FAMILY_ID"))
    raise _no_family(0, "")


def _no_family(_code: int, _reason: str) -> Exception:
    return UnsupportedByKernel(
        "offloads were asked for and the kernel has no netlink family for it: use one with CONFIG_ETHTOOL_NETLINK (5.6)"
    )


@lru_cache(maxsize=128)
def _set_request(index: int, offloads: Offloads) -> Request:
    bits = []
    for name, on in offloads.features().items():
        bit: list[list[object]] = [["ETHTOOL_A_BITSET_BIT_NAME", name]]
        bits.append(
            ["ETHTOOL_A_BITSET_BITS_BIT", {"attrs": [*bit, ["ETHTOOL_A_BITSET_BIT_VALUE", None]] if on else bit}]
        )
    message = _message(_FEATURES_SET, index)
    message["attrs"].append(["ETHTOOL_A_FEATURES_WANTED", {"attrs": [["ETHTOOL_A_BITSET_BITS", {"attrs": bits}]]}])
    return Request(f"set the offloads of interface {index}", encoded(message, _family(), REQUEST | ACK))


def _message(command: int, index: int) -> Any:
    message = features_message()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = [["ETHTOOL_A_FEATURES_HEADER", {"attrs": [["ETHTOOL_A_HEADER_DEV_INDEX", index]]}]]
    return message


def set_offloads(channel: Channel, indexes: tuple[int, ...], offloads: Offloads) -> None:
    """Set the offloads of interfaces in the namespace of a generic netlink channel.

    Raises NetnsError when the kernel did not change one: its reply names the features that differ from the request.
    """
    asked = offloads.features()
    for raw in channel.transact([_set_request(index, offloads) for index in indexes]):
        kept = _not_as_wanted(raw[:8] + bytes(8) + raw[16:]) & asked.keys()
        if kept:
            raise NetnsError(
                f"the offloads {', '.join(sorted(kept))} cannot be set as asked: the kernel ties them to others, "
                "ask for those too"
            )


@lru_cache(maxsize=16)
def _not_as_wanted(reply_bytes: bytes) -> frozenset[str]:
    """Return the features that a reply to ETHTOOL_MSG_FEATURES_SET lists as not set as wanted."""
    reply = features_message(reply_bytes)
    reply.decode()
    return frozenset(_named_bits(reply, "ETHTOOL_A_FEATURES_WANTED"))


def features(channel: Channel, index: int) -> dict[str, bool]:
    """Return which of the features that `Offloads` switches are on."""
    request = Request(
        f"read the offloads of interface {index}", encoded(_message(_FEATURES_GET, index), _family(), REQUEST | ACK)
    )
    active: set[str] = set()
    for raw in channel.transact([request]):
        reply = features_message(raw)
        reply.decode()
        active |= _named_bits(reply, "ETHTOOL_A_FEATURES_ACTIVE")
    return {name: name in active for names in FEATURES.values() for name in names}


def _named_bits(reply: Any, attribute: str) -> set[str]:
    bitset = reply.get_attr(attribute)
    bits = bitset.get_attr("ETHTOOL_A_BITSET_BITS") if bitset is not None else None
    if bits is None:
        return set()
    return {bit.get_attr("ETHTOOL_A_BITSET_BIT_NAME") for bit in bits.get_attrs("ETHTOOL_A_BITSET_BITS_BIT")}
