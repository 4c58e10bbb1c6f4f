"""The parser beside scapy's: frames that scapy builds, and what both read in them, field by field."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from rttcheck.collect.wire.parser import SNAP, Parsed, parse

ETHERNET = Ether(src="02:00:00:00:01:02", dst="02:00:00:00:01:01")
V4 = IP(src="198.18.1.2", dst="198.18.2.2")
V6 = IPv6(src="2001:2:0:1::2", dst="2001:2:0:2::2")
SEGMENT = TCP(sport=40_000, dport=40_001, seq=7, ack=9, flags="A")


def read(*frames: bytes) -> Parsed:
    table = np.zeros((len(frames), SNAP), dtype=np.uint8)
    for row, frame in enumerate(frames):
        held = frame[:SNAP]
        table[row, : len(held)] = np.frombuffer(held, np.uint8)
    return parse(table, np.array([min(len(frame), SNAP) for frame in frames], dtype=np.int64))


def mapped(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address if ":" in address else f"::ffff:{address}")


def read_by_scapy(frame: bytes, payload: int) -> dict[str, object]:
    """The fields of a row, as scapy reads the whole frame; ``payload`` is what it was given to carry."""
    packet = Ether(frame)
    network, tcp = packet.payload, packet[TCP]
    stamps = [value for kind, value in tcp.options if kind == "Timestamp"]
    edges = [edge for kind, value in tcp.options if kind == "SAck" for edge in value]
    blocks = [list(edges[at : at + 2]) for at in range(0, len(edges), 2)]
    return {
        "src": mapped(network.src),
        "dst": mapped(network.dst),
        "sport": tcp.sport,
        "dport": tcp.dport,
        "seq": tcp.seq,
        "ack": tcp.ack,
        "flags": int(tcp.flags) & 0xFF,
        "window": tcp.window,
        "payload": payload,
        "has_ts": len(stamps),
        "tsval": stamps[0][0] if stamps else 0,
        "tsecr": stamps[0][1] if stamps else 0,
        "sack_blocks": len(blocks),
        "sack": blocks + [[0, 0]] * (4 - len(blocks)),
    }


def read_by_the_parser(parsed: Parsed, row: int) -> dict[str, object]:
    fields = parsed.rows[row]
    plain = {name: fields[name].tolist() for name in parsed.rows.dtype.names or ()}
    for name in ("src", "dst"):
        plain[name] = bytes(plain[name])
    return {name: value for name, value in plain.items() if name not in ("time_ns", "point", "outgoing", "reserved")}


WORD, SHORT = st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)
PORT = st.integers(32_768, 65_535)
MSS = st.tuples(st.just("MSS"), SHORT)
SCALE = st.tuples(st.just("WScale"), st.integers(0, 14))
STAMPS = st.tuples(st.just("Timestamp"), st.tuples(WORD, WORD))
PERMITTED = st.just(("SAckOK", b""))
NOTHING = st.just(("NOP", None))
UNKNOWN = st.tuples(st.just(253), st.binary(min_size=2, max_size=6))


def sack(most: int) -> st.SearchStrategy[tuple[str, tuple[int, ...]]]:
    return st.integers(1, most).flatmap(
        lambda blocks: st.tuples(st.just("SAck"), st.tuples(*[WORD] * (2 * blocks)))
    )  # fmt: skip


def mixed(*kinds: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    return st.tuples(*(st.none() | kind for kind in kinds)).flatmap(
        lambda chosen: st.permutations([option for option in chosen if option is not None])
    )


# Each mix fits into the 40 bytes that options may take.
OPTIONS = st.one_of(
    mixed(STAMPS, sack(3), NOTHING), mixed(sack(4), NOTHING, NOTHING), mixed(MSS, SCALE, STAMPS, PERMITTED, UNKNOWN)
)
IP_OPTIONS = st.sampled_from([[], [IPOption_NOP()] * 4, [IPOption_RR(length=39, routers=["0.0.0.0"] * 9)]])
NETWORK = st.one_of(
    st.builds(
        lambda src, dst, ident, tos, options: IP(src=src, dst=dst, id=ident, tos=tos, flags="DF", options=options),
        st.ip_addresses(v=4).map(str), st.ip_addresses(v=4).map(str), SHORT, st.integers(0, 255), IP_OPTIONS,
    ),
    st.builds(
        lambda src, dst, label: IPv6(src=src, dst=dst, fl=label),
        st.ip_addresses(v=6).map(str), st.ip_addresses(v=6).map(str), st.integers(0, 2**20 - 1),
    ),
)  # fmt: skip
TRANSPORT = st.builds(
    lambda sport, dport, seq, ack, flags, window, options: TCP(
        sport=sport, dport=dport, seq=seq, ack=ack, flags=flags, window=window, options=options
    ),
    PORT, PORT, WORD, WORD, st.integers(0, 255), SHORT, OPTIONS,
)  # fmt: skip
FRAME = st.tuples(NETWORK, TRANSPORT, st.integers(0, 2_000))


# Scapy is slow: to shrink what failed would take minutes.
@settings(deadline=None, phases=(Phase.explicit, Phase.generate))
@given(st.lists(FRAME, min_size=1, max_size=3))
def test_every_field_is_what_scapy_reads(built: Sequence[tuple[Packet, Packet, int]]) -> None:
    frames = [bytes(ETHERNET / network / tcp / Raw(bytes(size))) for network, tcp, size in built]
    parsed = read(*frames)
    assert (parsed.others, parsed.fragments, parsed.damaged) == (0, 0, 0)
    assert [read_by_the_parser(parsed, row) for row in range(len(frames))] == [
        read_by_scapy(frame, size) for frame, (_, _, size) in zip(frames, built, strict=True)
    ]


def test_fragments_of_a_segment_are_counted() -> None:
    whole = bytes(V4 / SEGMENT / Raw(bytes(4_000)))[20:]
    cut = [whole[at : at + 1_480] for at in range(0, len(whole), 1_480)]
    parts = [
        IP(src=V4.src, dst=V4.dst, proto="tcp", frag=185 * place, flags="MF" if place < 2 else 0) / Raw(part)
        for place, part in enumerate(cut)
    ]
    parsed = read(*(bytes(ETHERNET / part) for part in parts), bytes(ETHERNET / V4 / SEGMENT))
    assert (parsed.fragments, parsed.others, parsed.damaged, parsed.kept.tolist()) == (3, 0, 0, [3])


@pytest.mark.parametrize(
    "packet",
    [
        ARP(psrc="198.18.1.2", pdst="198.18.1.1"),
        Dot1Q(vlan=7) / V4 / SEGMENT,
        V4 / UDP(sport=40_000, dport=40_001) / Raw(bytes(40)),
        V4 / ICMP() / V4 / SEGMENT,
        V6 / UDP(sport=40_000, dport=40_001) / Raw(bytes(40)),
        V6 / IPv6ExtHdrHopByHop() / SEGMENT,
        V6 / IPv6ExtHdrFragment() / SEGMENT,
        V4 / V6 / SEGMENT,
        IP(src=V4.src, dst=V4.dst, version=5) / SEGMENT,
        IPv6(src=V6.src, dst=V6.dst, version=4) / SEGMENT,
    ],
    ids=["arp", "vlan", "udp4", "icmp", "udp6", "hop-by-hop", "fragment6", "tunnel", "version5", "version4"],
)
def test_what_is_not_tcp_straight_over_ip_is_counted(packet: Packet) -> None:
    parsed = read(bytes(ETHERNET / packet))
    assert (parsed.others, len(parsed.rows), parsed.fragments, parsed.damaged) == (1, 0, 0, 0)


@pytest.mark.parametrize("network", [V4, V6], ids=["IPv4", "IPv6"])
def test_padding_that_scapy_separates_from_payload_is_no_payload(network: Packet) -> None:
    frame = bytes(ETHERNET / network / SEGMENT / Raw(b"x")) + bytes(9)
    assert len(Ether(frame)[Raw].load) == 1
    assert read(frame).rows["payload"].tolist() == [1]
