"""The file that Wireshark opens: what scapy and tshark read in it, and what the specification requires."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import PcapNgReader

from rttcheck.collect.wire.frames import Frames
from rttcheck.collect.wire.parser import SNAP
from rttcheck.collect.wire.pcapng import PACKET_MOST, CapturedInterface, interfaces_of, packets_at, pcapng

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
START_NS = 1_795_390_907_611_950_924
TSHARK = shutil.which("tshark")


def frames(
    *packets: tuple[int, bytes], outgoing: int = 1, dropped: int = 0, width: int = SNAP, beyond: int = 0
) -> Frames:
    """What a ring would hold of packets (time after the start, bytes), cut off after ``width`` bytes.

    ``beyond``: the byte that stands in the row where the packet's own end.
    """
    table = np.full((len(packets), width), beyond, dtype=np.uint8)
    for row, (_, packet) in enumerate(packets):
        held = packet[:width]
        table[row, : len(held)] = np.frombuffer(held, np.uint8)
    return Frames(
        bytes=table,
        captured=np.array([min(len(packet), width) for _, packet in packets], dtype=np.int64),
        lengths=np.array([len(packet) for _, packet in packets], dtype=np.int64),
        realtime_ns=START_NS + np.array([after for after, _ in packets], dtype=np.int64),
        outgoing=np.full(len(packets), outgoing, dtype=np.uint8),
        dropped=dropped,
    )


def file_of(comment: str = "", /, **points: Frames) -> bytes:
    sources = [CapturedInterface(name=name, interface=f"to-{name}", frames=held) for name, held in points.items()]
    return pcapng(sources, started_ns=START_NS - 5, ended_ns=START_NS + 10**10, comment=comment)


def blocks(file: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block; both lengths of each are looked at, as figure 1 of the specification has them."""
    found, at = [], 0
    while at < len(file):
        kind, length = struct.unpack_from("<II", file, at)
        assert length % 4 == 0
        assert struct.unpack_from("<I", file, at + length - 4) == (length,)
        found.append((kind, file[at + 8 : at + length - 4]))
        at += length
    assert at == len(file)
    return found


def options(content: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        code, length = struct.unpack_from("<HH", content, at)
        if code == 0:
            assert (length, at + 4) == (0, len(content)), "the end of the options is the block's"
            return found
        found[code] = content[at + 4 : at + 4 + length]
        assert not any(content[at + 4 + length : at + 4 + length + -length % 4]), "padding is zero"
        at += 4 + length + -length % 4
    raise AssertionError("the options have no end")


def seen(file: bytes) -> list[tuple[str, int, bytes, int, int]]:
    """What scapy reads: interface, time after the start, bytes, length on the wire, direction."""
    # It takes open files too, which its annotation lacks.
    with PcapNgReader(cast("str", io.BytesIO(file))) as reader:
        return [
            (
                str(packet.sniffed_on),
                int(packet.time * 10**9) - START_NS,
                bytes(packet.original),
                int(packet.wirelen or 0),
                int(packet.direction or 0),
            )
            for packet in reader
        ]


def test_scapy_reads_the_same_bytes_times_and_interfaces() -> None:
    file = file_of(
        client=frames((0, b"a" * 66), (1_000, b"b" * 67), (3_000, b"")),
        server=frames((999, b"c" * SNAP), (3_000, b"d" * 1_514), outgoing=0),
    )
    assert seen(file) == [
        ("client", 0, b"a" * 66, 66, 2),
        ("server", 999, b"c" * SNAP, SNAP, 1),
        ("client", 1_000, b"b" * 67, 67, 2),
        ("client", 3_000, b"", 0, 2),
        ("server", 3_000, b"d" * SNAP, 1_514, 1),
    ]


PACKETS = st.lists(st.tuples(st.integers(0, 2**40), st.binary(max_size=SNAP + 9)), max_size=12)


@settings(deadline=None)
@given(near=PACKETS, far=PACKETS, beyond=st.integers(0, 255))
def test_whatever_was_captured_is_read_back(
    near: list[tuple[int, bytes]], far: list[tuple[int, bytes]], beyond: int
) -> None:
    file = file_of(near=frames(*near, beyond=beyond), far=frames(*far, outgoing=0, beyond=beyond))
    expected = [("near", after, packet[:SNAP], len(packet), 2) for after, packet in near]
    expected += [("far", after, packet[:SNAP], len(packet), 1) for after, packet in far]
    # Those of one time stay in the order of the points, and of each point's capture.
    assert seen(file) == sorted(expected, key=lambda packet: packet[1])
    for kind, body in blocks(file):
        if kind == PACKET:
            captured = struct.unpack_from("<I", body, 12)[0]
            assert not any(body[20 + captured : 20 + captured + -captured % 4]), "padding is zero"
            assert len(options(body[20 + captured + -captured % 4 :])[2]) == 4


def test_more_packets_than_are_laid_out_at_once_are_in_the_order_of_time() -> None:
    many = 9_001
    ways = [frames(*((2 * i + odd, struct.pack("<I", i) * (i % 34)) for i in range(many))) for odd in (0, 1)]
    found = seen(file_of(client=ways[0], server=ways[1]))
    assert [after for _, after, *_ in found] == list(range(2 * many))
    assert [packet for _, _, packet, *_ in found] == [
        struct.pack("<I", i) * (i % 34) for i in range(many) for _ in ways
    ]


def test_the_section_names_the_program_and_its_length() -> None:
    file = file_of("äb", client=frames((0, b"x")))
    kind, body = blocks(file)[0]
    assert (kind, struct.unpack_from("<IHHq", body)) == (
        SECTION, (0x1A2B3C4D, 1, 0, len(file) - len(body) - 12),
    )  # fmt: skip
    values = options(body[16:])
    assert values[1].decode() == "äb"
    assert values[3].startswith(b"Linux ")
    assert values[4].startswith(b"rttcheck ")
    assert values[2]


def test_each_point_is_an_interface_with_nanoseconds_and_its_drops() -> None:
    file = file_of(client=frames((7, b"x"), dropped=3), server=frames(dropped=2**32))
    described = [(body[:8], options(body[8:])) for kind, body in blocks(file) if kind == INTERFACE]
    assert [head for head, _ in described] == [struct.pack("<HHI", 1, 0, SNAP)] * 2
    assert [values[2] for _, values in described] == [b"client", b"server"]
    assert [values[3] for _, values in described] == [b"to-client of the lab", b"to-server of the lab"]
    assert [values[9] for _, values in described] == [b"\x09"] * 2
    counted = {body[:4]: options(body[12:]) for kind, body in blocks(file) if kind == STATISTICS}
    assert [struct.unpack("<QQ", values[4] + values[5]) for values in counted.values()] == [(4, 3), (2**32, 2**32)]
    assert list(counted) == [struct.pack("<I", index) for index in range(2)]
    high, low = struct.unpack("<II", counted[bytes(4)][2])
    assert (high << 32) + low == START_NS - 5
    high, low = struct.unpack("<II", counted[bytes(4)][3])
    assert (high << 32) + low == START_NS + 10**10


def test_a_capture_without_packets_is_a_file_too() -> None:
    assert seen(file_of(client=frames())) == []
    assert [kind for kind, _ in blocks(pcapng([], started_ns=0, ended_ns=1))] == [SECTION]


def test_a_packet_takes_no_more_than_the_limit() -> None:
    one, two = (file_of(client=frames(*((0, bytes(9_000)) for _ in range(count)))) for count in (1, 2))
    assert len(two) - len(one) == PACKET_MOST


def test_some_points_can_be_taken_out() -> None:
    held = {name: frames((i, name.encode()), (9, b"9")) for i, name in enumerate(("client", "near", "far", "server"))}
    file = file_of("", **held)
    assert interfaces_of(file) == ("client", "near", "far", "server")
    taken = packets_at(file, ["server", "near"])
    assert seen(taken) == [packet for packet in seen(file) if packet[0] in ("near", "server")]
    assert interfaces_of(taken) == interfaces_of(file)
    assert [kind for kind, _ in blocks(taken)] == [SECTION, *[INTERFACE] * 4, *[PACKET] * 4, *[STATISTICS] * 4]
    assert struct.unpack_from("<q", taken, 16)[0] == len(taken) - (len(blocks(taken)[0][1]) + 12)
    assert packets_at(file, interfaces_of(file)) == file


def test_another_file_is_refused() -> None:
    file = file_of(client=frames((0, b"x" * 60)))
    for other in (b"", b"PK\x03\x04" * 9, file[:-1], file[:40], file[:-76] + bytes(76)):
        with pytest.raises(ValueError, match=r"does not begin|is incomplete"):
            packets_at(other, ["client"])
    with pytest.raises(ValueError, match="no name"):
        interfaces_of(file.replace(b"\x02\x00\x06\x00client", b"\x0b\x00\x06\x00client"))


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed: apt install tshark")
def test_tshark_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "both.pcapng"
    path.write_bytes(
        file_of(client=frames((5, b"a" * 70), (8, b"b" * 1_514)), server=frames((7, b"c" * 60), outgoing=0))
    )
    fields = ("frame.interface_name", "frame.time_epoch", "frame.len", "frame.cap_len", "frame.packet_flags_direction")
    assert TSHARK is not None
    done = subprocess.run(
        [TSHARK, "-r", str(path), "-T", "fields", *(word for field in fields for word in ("-e", field))],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    at = [f"{(START_NS + after) // 10**9}.{(START_NS + after) % 10**9:09}" for after in (5, 7, 8)]
    assert [(name, time, total, held, int(way, 16)) for name, time, total, held, way in lines] == [
        ("client", at[0], "70", "70", 2), ("server", at[1], "60", "60", 1), ("client", at[2], "1514", str(SNAP), 2),
    ]  # fmt: skip
