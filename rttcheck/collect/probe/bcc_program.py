"""Generate the source of the bcc program, with the offsets of the running kernel's structures.

Offsets come from BTF: with kernel headers the program would take a minute to compile.
"""

from __future__ import annotations

import mmap
import re
from typing import Final

from rttcheck.collect.probe.btf import Btf, Place
from rttcheck.collect.probe.function import Unproven

_SOCKET: Final = {
    "tcp_mstamp_us": "tcp_mstamp",
    "cookie": "inet_conn.icsk_inet.sk.__sk_common.skc_cookie",
    "min_rtt": "rtt_min",
    "srtt_us": "srtt_us",
    "mdev_us": "mdev_us",
    "mdev_max_us": "mdev_max_us",
    "rttvar_us": "rttvar_us",
    "rtt_seq": "rtt_seq",
    "snd_una": "snd_una",
    "snd_nxt": "snd_nxt",
    "write_seq": "write_seq",
    "packets_out": "packets_out",
    "retrans_out": "retrans_out",
    "sacked_out": "sacked_out",
    "lost_out": "lost_out",
    "delivered": "delivered",
    "mss_cache": "mss_cache",
    "rcv_tsecr": "rx_opt.rcv_tsecr",
    "rto_jiffies": "inet_conn.icsk_rto",
    "wmem_queued": "inet_conn.icsk_inet.sk.sk_wmem_queued",
    "rmem_alloc": "inet_conn.icsk_inet.sk.sk_backlog.rmem_alloc",
    "write_queue": "inet_conn.icsk_inet.sk.sk_write_queue.qlen",
    "read_queue": "inet_conn.icsk_inet.sk.sk_receive_queue.qlen",
    "state": "inet_conn.icsk_inet.sk.__sk_common.skc_state",
    "timer": "inet_conn.icsk_pending",
    "backoff": "inet_conn.icsk_backoff",
}
"""Event members that are copied unchanged, and their places in ``struct tcp_sock``."""

_SK: Final = "inet_conn.icsk_inet.sk"
_COMMON: Final = f"{_SK}.__sk_common"
_NAMED: Final = {
    "skc_net": f"{_COMMON}.skc_net",
    "skc_num": f"{_COMMON}.skc_num",
    "skc_dport": f"{_COMMON}.skc_dport",
    "skc_family": f"{_COMMON}.skc_family",
    "skc_rcv_saddr": f"{_COMMON}.skc_rcv_saddr",
    "skc_daddr": f"{_COMMON}.skc_daddr",
    "skc_v6_rcv_saddr": f"{_COMMON}.skc_v6_rcv_saddr",
    "skc_v6_daddr": f"{_COMMON}.skc_v6_daddr",
    "sk_lock_owned": f"{_SK}.sk_lock.owned",
}

_EXPIRES: Final = (
    "inet_conn.icsk_timeout",
    f"{_SK}.tcp_retransmit_timer.expires",
    "inet_conn.icsk_retransmit_timer.expires",
)
_RECEIVED_ON: Final = (f"{_SK}.sk_rx_dst_ifindex", "inet_conn.icsk_inet.rx_dst_ifindex")


def program(template: str, btf: Btf, ring_bytes: int) -> str:
    """Return the template with all substitutions. Raises Unproven for a kernel that lacks a member."""

    def first(*paths: str) -> Place:
        for path in paths:
            place = btf.place("tcp_sock", path)
            if place is not None:
                return place
        raise Unproven(f"the kernel's struct tcp_sock has no {' or '.join(paths)}")

    def of(structure: str, path: str) -> int:
        place = btf.place(structure, path)
        if place is None:
            raise Unproven(f"the kernel's struct {structure} has no {path}")
        return place.offset

    ca_state, saw_tstamp = first("inet_conn.icsk_ca_state"), first("rx_opt.saw_tstamp")
    reads = {**{name: first(path) for name, path in _SOCKET.items()}, "ifindex": first(*_RECEIVED_ON)}
    values = {
        **{name: first(path).offset for name, path in _NAMED.items()},
        "net_inum": of("net", "ns.inum"),
        "rate_sample_rtt_us": of("rate_sample", "rtt_us"),
        "timer_expires": first(*_EXPIRES).offset,
        "ca_state_byte": ca_state.offset,
        "ca_state_shift": ca_state.shift,
        "ca_state_mask": (1 << ca_state.bits) - 1,
        "saw_tstamp_byte": saw_tstamp.offset,
        "saw_tstamp_shift": saw_tstamp.shift,
        "ring_pages": ring_bytes // mmap.PAGESIZE,
        "reads": "\n".join(f"\tREAD(event->{name}, sk, {place.offset});" for name, place in reads.items()),
    }
    return re.sub(r"%([a-z_0-9]+)", lambda found: str(values.get(found[1], found[0])), template)
