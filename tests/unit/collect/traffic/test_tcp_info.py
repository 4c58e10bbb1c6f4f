"""struct tcp_info: the layout is the kernel's, and every length that a kernel returns is decoded."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rttcheck.collect.traffic.tcp_info import FIELDS, Option, TcpInfo, dtype_of
from rttcheck.record.event import CaState, TcpState

HEADER = Path("/usr/include/linux/tcp.h")
SIZES = {"__u8": 1, "__u16": 2, "__u32": 4, "__u64": 8}
KERNEL_5_10, KERNEL_6_2, KERNEL_6_7, KERNEL_6_18 = 232, 240, 248, 280


def header_layout(text: str) -> list[tuple[str, int, int]]:
    """Name, offset and size of each member of the header's struct tcp_info; bit fields as the byte they are in."""
    body = re.search(r"struct tcp_info \{(.*?)\n\};", text, re.DOTALL)
    assert body is not None
    members = re.findall(r"(__u\d+)\s+(tcpi_\w+)([^;]*);", re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL))
    layout, offset = [], 0
    for kind, name, rest in members:
        size = SIZES[kind]
        offset = -(-offset // size) * size
        layout.append((name.removeprefix("tcpi_") + (":" if ":" in rest else ""), offset, size))
        offset += size
    return layout


@pytest.mark.skipif(not HEADER.exists(), reason=f"no {HEADER} here: install linux-libc-dev")
def test_the_layout_is_the_one_of_the_kernels_header() -> None:
    members = header_layout(HEADER.read_text())
    assert len(members) > 40
    ours = {field.name: (field.offset, field.size) for field in FIELDS}
    for name, offset, size in members:
        if name.endswith(":"):
            assert (offset, size) in [ours["wscale"], ours["flags"], ours["accecn"]], name
        elif name not in ("accecn_fail_mode", "accecn_opt_seen"):
            assert ours[name] == (offset, size), name


@pytest.mark.skipif(not shutil.which("bpftool"), reason="no bpftool here to read the running kernel's BTF with")
@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="the running kernel has no BTF")
def test_the_layout_is_the_one_of_the_running_kernel(connection: tuple[socket.socket, socket.socket]) -> None:
    dump = subprocess.run(
        ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "raw"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"STRUCT 'tcp_info' size=(\d+).*\n((?:\t.*\n)+)", dump)
    assert found is not None
    assert len(TcpInfo.of(connection[0]).raw) == int(found[1])
    theirs = {name: int(bits) // 8 for name, bits in re.findall(r"'tcpi_(\w+)' .*?bits_offset=(\d+)", found[2])}
    for field in FIELDS:
        if field.offset + field.size <= int(found[1]) and field.name not in ("wscale", "flags", "accecn"):
            assert theirs[field.name] == field.offset, field.name


def made(length: int, **values: int) -> TcpInfo:
    raw = bytearray(length)
    for field in FIELDS:
        if field.name in values:
            raw[field.offset : field.offset + field.size] = values[field.name].to_bytes(field.size, "little")
    return TcpInfo(bytes(raw))


@pytest.mark.parametrize(
    ("length", "last"),
    [(KERNEL_5_10, "snd_wnd"), (KERNEL_6_2, "rehash"), (KERNEL_6_7, "total_rto_time"), (KERNEL_6_18, "accecn")],
)
def test_an_older_kernel_returns_fewer_fields(length: int, last: str) -> None:
    info = made(length)
    assert info.fields[-1].name == last
    assert info.unknown_bytes == 0
    assert "unknown_bytes" not in info.as_dict()


def test_a_field_that_the_kernel_does_not_fill_is_absent_and_not_zero() -> None:
    info = made(KERNEL_5_10)
    assert "rehash" not in info.as_dict()
    with pytest.raises(KeyError, match="rehash"):
        info.value("rehash")


def test_bytes_of_a_newer_kernel_are_kept_and_counted() -> None:
    info = TcpInfo(bytes(KERNEL_6_18) + b"\1\2\3\4\5\6\7\10")
    assert info.unknown_bytes == 8
    assert info.as_dict()["unknown_bytes"] == 8
    assert info.raw.endswith(b"\7\10")


def test_a_field_cut_in_half_is_not_decoded() -> None:
    info = TcpInfo(bytes(KERNEL_5_10 - 2))
    assert info.fields[-1].name == "rcv_ooopack"
    assert info.unknown_bytes == 2


def test_a_minimum_before_the_first_sample_is_none() -> None:
    assert made(KERNEL_6_18, min_rtt=0xFFFFFFFF).min_rtt_us is None
    assert made(KERNEL_6_18, min_rtt=0xFFFFFFFF).as_dict()["min_rtt_us"] is None
    assert made(KERNEL_6_18, min_rtt=20_013).min_rtt_us == 20_013


def test_bit_fields_come_apart() -> None:
    info = made(KERNEL_6_18, wscale=0xA7, flags=0b101, options=7, state=1, ca_state=3)
    assert (info.snd_wscale, info.rcv_wscale) == (7, 10)
    assert (info.app_limited, info.fastopen_client_fail) == (True, 2)
    assert info.options == Option.TIMESTAMPS | Option.SACK | Option.WSCALE
    assert (info.state, info.ca_state) == (TcpState.ESTABLISHED, CaState.RECOVERY)
    decoded = info.as_dict()
    assert decoded["options"] == "TIMESTAMPS|SACK|WSCALE"
    assert (decoded["state"], decoded["ca_state"]) == ("ESTABLISHED", "RECOVERY")
    assert (decoded["snd_wscale"], decoded["rcv_wscale"], decoded["app_limited"]) == (7, 10, True)


def test_names_carry_their_unit() -> None:
    decoded = made(KERNEL_6_18, rtt=20_035, rto=224_000, total_rto_time=3, bytes_acked=9, pacing_rate=5).as_dict()
    assert decoded["rtt_us"] == 20_035
    assert decoded["rto_us"] == 224_000
    assert decoded["total_rto_time_ms"] == 3
    assert decoded["bytes_acked"] == 9
    assert decoded["pacing_rate_bytes_per_s"] == 5


def test_a_state_that_has_no_name_yet_is_its_number() -> None:
    assert made(KERNEL_6_18, state=77).as_dict()["state"] == 77


def test_the_array_has_the_same_numbers_as_the_table() -> None:
    info = TcpInfo((bytes(range(1, 72)) * 4)[: KERNEL_6_18 + 4])
    array = info.as_array()
    assert array.dtype == dtype_of(KERNEL_6_18 + 4)
    assert array.dtype.itemsize == len(info.raw)
    for field in FIELDS:
        assert int(array[field.name]) == info.value(field.name), field.name


def test_every_field_has_a_name_of_its_own_and_a_meaning() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    assert all(field.meaning and field.unit for field in FIELDS)


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection on the loopback, both having read a few bytes."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        for _ in range(5):
            client.sendall(b"ping")
            server.recv(4)
            server.sendall(b"pong!")
            client.recv(5)
        yield client, server


def test_a_live_socket_reports_what_it_sent(connection: tuple[socket.socket, socket.socket]) -> None:
    info = TcpInfo.of(connection[1])
    assert info.value("bytes_received") == 20
    assert info.value("bytes_sent") == 25
    assert info.value("data_segs_in") == info.value("data_segs_out") == 5
    assert 0 < info.rtt_us < 1_000_000
    assert info.min_rtt_us is not None
    assert json.loads(json.dumps(info.as_dict())) == info.as_dict()
    assert int(np.asarray(info.as_array())["bytes_received"]) == 20


def test_a_socket_that_never_connected_took_no_sample() -> None:
    with socket.socket() as idle:
        info = TcpInfo.of(idle)
    assert info.state is TcpState.CLOSE
    assert (info.rtt_us, info.min_rtt_us) == (0, None)


@pytest.mark.skipif(not shutil.which("ss"), reason="no ss here: install iproute2")
def test_ss_reads_the_same_numbers(connection: tuple[socket.socket, socket.socket]) -> None:
    port = connection[0].getsockname()[1]
    earlier = TcpInfo.of(connection[0])
    line = subprocess.run(["ss", "-tinH", "sport", "=", f":{port}"], capture_output=True, text=True, check=True).stdout
    info = TcpInfo.of(connection[0])
    shown_by_ss = dict(re.findall(r"(\w+):(\S+)", line.split("\n", 1)[1]))
    assert shown_by_ss["rtt"] == f"{info.rtt_us / 1000:g}/{info.rttvar_us / 1000:g}"
    assert float(shown_by_ss["minrtt"]) * 1000 == pytest.approx(info.min_rtt_us)
    assert shown_by_ss["wscale"] == f"{info.snd_wscale},{info.rcv_wscale}"
    assert float(shown_by_ss["rto"]) * 1000 == pytest.approx(info.value("rto"))
    for theirs, ours in (
        ("mss", "snd_mss"),
        ("pmtu", "pmtu"),
        ("cwnd", "snd_cwnd"),
        ("bytes_sent", "bytes_sent"),
        ("bytes_acked", "bytes_acked"),
        ("bytes_received", "bytes_received"),
        ("segs_out", "segs_out"),
        ("segs_in", "segs_in"),
        ("data_segs_out", "data_segs_out"),
        ("delivered", "delivered"),
    ):
        if theirs in shown_by_ss:  # the ACK of what was read last may be delayed and go out between the two looks
            assert earlier.value(ours) <= int(shown_by_ss[theirs]) <= info.value(ours), theirs
