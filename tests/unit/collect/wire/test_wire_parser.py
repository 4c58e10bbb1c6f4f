"""Frames made by hand, and what the parser reads in them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rttcheck.collect.wire.parser import SNAP, Parsed, parse
from rttcheck.record.packet import ACK, PSH, SYN

CLIENT, SERVER = "198.18.1.2", "198.18.2.2"
CLIENT6, SERVER6 = "2001:2:0:1::2", "2001:2:0:2::2"
TIMESTAMPS = b"\x01\x01\x08\x0a" + struct.pack("!II", 0xFFFFFFFE, 7)


def tcp(*, seq: int = 1, ack: int = 2, flags: int = ACK, options: bytes = b"", words: int | None = None) -> bytes:
    padded = options + b"\x00" * (-len(options) % 4)
    offset = 5 + len(padded) // 4 if words is None else words
    return struct.pack("!HHIIBBHHH", 40_000, 5_000, seq, ack, offset << 4, flags, 501, 0, 0) + padded


def ipv4(segment: bytes, payload: int = 0, *, options: bytes = b"", fragment: int = 0, protocol: int = 6) -> bytes:
    words, total = 5 + len(options) // 4, 20 + len(options) + len(segment) + payload
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, total, 1, fragment, 64, protocol, 0)
    addresses = socket.inet_aton(CLIENT) + socket.inet_aton(SERVER)
    return b"\x02" * 12 + b"\x08\x00" + header + addresses + options + segment + b"x" * payload


def ipv6(segment: bytes, payload: int = 0, *, next_header: int = 6) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(segment) + payload, next_header, 64)
    addresses = socket.inet_pton(socket.AF_INET6, CLIENT6) + socket.inet_pton(socket.AF_INET6, SERVER6)
    return b"\x02" * 12 + b"\x86\xdd" + header + addresses + segment + b"x" * payload


def read(*frames: bytes, lengths: Sequence[int] | None = None) -> Parsed:
    table = np.zeros((len(frames), SNAP), dtype=np.uint8)
    for row, frame in enumerate(frames):
        held = frame[:SNAP]
        table[row, : len(held)] = np.frombuffer(held, np.uint8)
    given_lengths = [min(len(frame), SNAP) for frame in frames] if lengths is None else lengths
    return parse(table, np.array(given_lengths, dtype=np.int64))


def one(frame: bytes) -> Any:
    parsed = read(frame)
    assert (len(parsed.rows), parsed.others, parsed.fragments, parsed.damaged) == (1, 0, 0, 0)
    return parsed.rows[0]


def test_a_segment_over_ipv4_is_read_whole() -> None:
    row = one(ipv4(tcp(seq=0xFFFFFFF0, ack=77, flags=ACK | PSH, options=TIMESTAMPS), 1_448))
    assert (row["seq"], row["ack"], row["flags"], row["window"], row["payload"]) == (0xFFFFFFF0, 77, 0x18, 501, 1_448)
    assert (row["sport"], row["dport"], row["has_ts"]) == (40_000, 5_000, 1)
    assert (row["tsval"], row["tsecr"]) == (0xFFFFFFFE, 7)
    assert bytes(row["src"]) == socket.inet_pton(socket.AF_INET6, f"::ffff:{CLIENT}")
    assert bytes(row["dst"]) == socket.inet_pton(socket.AF_INET6, f"::ffff:{SERVER}")


def test_a_segment_over_ipv6_is_read_whole() -> None:
    row = one(ipv6(tcp(options=TIMESTAMPS), 10))
    assert (row["payload"], row["has_ts"], row["sport"]) == (10, 1, 40_000)
    assert bytes(row["src"]) == socket.inet_pton(socket.AF_INET6, CLIENT6)
    assert bytes(row["dst"]) == socket.inet_pton(socket.AF_INET6, SERVER6)


def test_options_of_ipv4_move_the_tcp_header() -> None:
    parsed = read(ipv4(tcp(seq=5), 3), ipv4(tcp(seq=6), 4, options=b"\x01" * 40), ipv4(tcp(seq=7), 5))
    assert parsed.rows["seq"].tolist() == [5, 6, 7]
    assert parsed.rows["payload"].tolist() == [3, 4, 5]


def test_sack_blocks_are_read_beside_timestamps_in_any_order() -> None:
    blocks = ((10, 20), (0xFFFFFF00, 5), (40, 50))
    sack = struct.pack("!BB6I", 5, 26, *(edge for block in blocks for edge in block))
    for options in (TIMESTAMPS + b"\x01\x01" + sack, sack + TIMESTAMPS):
        row = one(ipv4(tcp(options=options)))
        assert row["sack_blocks"] == 3
        assert row["sack"].tolist() == [*map(list, blocks), [0, 0]]
        assert (row["has_ts"], row["tsecr"]) == (1, 7)


def test_four_sack_blocks_fit_without_timestamps() -> None:
    row = one(ipv6(tcp(options=b"\x01\x01" + struct.pack("!BB8I", 5, 34, *range(8)))))
    assert (row["sack_blocks"], row["has_ts"]) == (4, 0)
    assert row["sack"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_syn_with_the_kernels_own_options() -> None:
    options = b"\x02\x04\x05\xb4\x04\x02\x08\x0a" + struct.pack("!II", 9, 0) + b"\x01\x03\x03\x0a"
    row = one(ipv4(tcp(flags=SYN, options=options)))
    assert (row["tsval"], row["has_ts"], row["sack_blocks"], row["flags"]) == (9, 1, 0, SYN)


def test_options_end_where_the_kernel_stops_reading() -> None:
    assert one(ipv4(tcp(options=b"\x00\x01" + TIMESTAMPS)))["has_ts"] == 0
    assert one(ipv4(tcp(options=b"\x1e\x01" + TIMESTAMPS)))["has_ts"] == 0, "a length below 2"
    assert one(ipv4(tcp(options=b"\x08\x0a\x00\x00")))["has_ts"] == 0, "longer than the header"
    assert one(ipv4(tcp(options=b"\x1e\x04\x00\x00" + TIMESTAMPS)))["has_ts"] == 1, "unknown ones are skipped"


def test_padding_of_short_ethernet_frames_is_no_payload() -> None:
    assert one(ipv4(tcp()) + b"\x00" * 6)["payload"] == 0


def test_packets_of_many_segments_keep_their_length() -> None:
    assert one(ipv4(tcp(), 60_000))["payload"] == 60_000


def test_what_is_not_tcp_is_counted_and_left_out() -> None:
    arp = b"\x02" * 12 + b"\x08\x06" + b"\x00" * 46
    parsed = read(arp, ipv4(tcp(), protocol=17), ipv6(tcp(), next_header=58), ipv4(tcp(seq=3)))
    assert (parsed.others, parsed.kept.tolist(), parsed.rows["seq"].tolist()) == (3, [3], [3])


def test_fragments_are_counted_and_left_out() -> None:
    parsed = read(ipv4(tcp(), fragment=0x2000), ipv4(tcp(), fragment=0x0010), ipv4(tcp(), fragment=0x4000))
    assert (parsed.fragments, parsed.kept.tolist()) == (2, [2]), "the last one says do not fragment"


def test_damaged_packets_are_counted_and_left_out() -> None:
    whole = ipv4(tcp(options=TIMESTAMPS))
    parsed = read(
        ipv4(tcp(words=4)), ipv4(tcp(words=15)), whole, whole, lengths=[54, 54, 14 + 20 + 19, 14 + 20 + 31]
    )  # fmt: skip
    assert (parsed.damaged, len(parsed.rows)) == (4, 0)
    too_short = bytearray(ipv4(tcp()))
    too_short[14] = 0x44
    assert read(bytes(too_short)).damaged == 1


def test_no_frames_are_no_rows() -> None:
    parsed = parse(np.zeros((0, SNAP), np.uint8), np.zeros(0, np.int64))
    assert (len(parsed.rows), parsed.others) == (0, 0)


BLOCK = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@given(
    seq=st.integers(0, 2**32 - 1), ack=st.integers(0, 2**32 - 1), flags=st.integers(0, 255),
    payload=st.integers(0, 3_000),
    blocks=st.lists(BLOCK, max_size=3), stamps=st.none() | BLOCK, six=st.booleans(), pad=st.integers(0, 2),
)  # fmt: skip
def test_what_was_written_is_read(
    seq: int, ack: int, flags: int, payload: int, blocks: list[tuple[int, int]], stamps: tuple[int, int] | None,
    six: bool, pad: int,
) -> None:  # fmt: skip
    options = b"\x01" * pad
    if stamps is not None:
        options += struct.pack("!BBII", 8, 10, *stamps)
    if blocks:
        options += struct.pack(
            f"!BB{2 * len(blocks)}I", 5, 2 + 8 * len(blocks), *(e for block in blocks for e in block)
        )
    row = one((ipv6 if six else ipv4)(tcp(seq=seq, ack=ack, flags=flags, options=options), payload))
    assert (row["seq"], row["ack"], row["flags"], row["payload"]) == (seq, ack, flags, payload)
    assert row["sack"][: len(blocks)].tolist() == [list(block) for block in blocks]
    assert (row["sack_blocks"], row["has_ts"]) == (len(blocks), stamps is not None)
    assert (row["tsval"], row["tsecr"]) == (stamps or (0, 0))


@given(st.lists(st.binary(min_size=0, max_size=SNAP), min_size=1, max_size=8))
def test_noise_is_counted_and_never_an_error(noise: list[bytes]) -> None:
    frames = [b"\x02" * 12 + b"\x08\x00\x45" + more for more in noise]
    parsed = read(*frames)
    assert len(parsed.rows) + parsed.others + parsed.fragments + parsed.damaged == len(frames)
