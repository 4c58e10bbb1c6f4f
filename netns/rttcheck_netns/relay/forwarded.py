"""The classic BPF program that selects the frames the relay takes: those that a router would forward.

All others stay with the link's own kernel: ARP and neighbour discovery, packets to its addresses, multicast and
link-local traffic. The module includes the small assembler for the program.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_LOAD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_AND, _EQUAL, _RETURN = 0x54, 0x15, 0x06
_PACKET_TYPE = 0xFFFFF004
"""SKF_AD_OFF + SKF_AD_PKTTYPE (include/uapi/linux/filter.h); 0 is PACKET_HOST, sent to this machine's MAC."""
_WHOLE = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction; jumps name a label, or are empty for the next step."""

    code: int
    value: int
    equal: str = ""
    unequal: str = ""


def forwarded(own: Sequence[str]) -> bytes:
    """Return an array of ``struct sock_filter`` for a machine with these IPv4 and IPv6 addresses."""
    steps: list[_Step | str] = [
        _Step(_LOAD, _PACKET_TYPE),
        _Step(_EQUAL, 0, unequal="leave"),
        _Step(_LOAD_HALF, 12),
        _Step(_EQUAL, 0x0800, equal="ipv4"),
        _Step(_EQUAL, 0x86DD, unequal="leave"),
        _Step(_LOAD_BYTE, 38),
        _Step(_EQUAL, 0xFF, equal="leave"),
        _Step(_LOAD_HALF, 38),
        _Step(_AND, 0xFFC0),
        _Step(_EQUAL, 0xFE80, equal="leave"),
    ]
    for number, address in enumerate(address for address in own if ":" in address):
        words = struct.unpack(">4I", socket.inet_pton(socket.AF_INET6, address))
        for at, word in enumerate(words):
            steps += [_Step(_LOAD, 38 + 4 * at)]
            steps += [_Step(_EQUAL, word, equal="leave" if at == 3 else "", unequal=f"not {number}")]
        steps += [f"not {number}"]
    steps += [_Step(_RETURN, _WHOLE), "ipv4", _Step(_LOAD, 30)]
    for address in own:
        if ":" not in address:
            steps += [_Step(_EQUAL, struct.unpack(">I", socket.inet_pton(socket.AF_INET, address))[0], equal="leave")]
    # 224.0.0.0/4 is multicast, above it are the reserved addresses and broadcast.
    steps += [_Step(_LOAD_BYTE, 30), _Step(_AND, 0xE0), _Step(_EQUAL, 0xE0, equal="leave")]
    steps += [_Step(_RETURN, _WHOLE), "leave", _Step(_RETURN, 0)]
    return _assembled(steps)


def _assembled(steps: Sequence[_Step | str]) -> bytes:
    places: dict[str, int] = {}
    instructions: list[_Step] = []
    for step in steps:
        if isinstance(step, str):
            places[step] = len(instructions)
        else:
            instructions.append(step)
    program = bytearray()
    for at, step in enumerate(instructions):
        true, false = (places[label] - at - 1 if label else 0 for label in (step.equal, step.unequal))
        program += struct.pack("=HBBI", step.code, true, false, step.value)
    return bytes(program)
