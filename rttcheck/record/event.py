"""The layout of one probe event, as a NumPy dtype, and the constants for its numbers.

It is the Python side of ``bpf/rtt_event.h``: names, types, order. A test compares the two through the BTF of the built
object.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

import numpy as np

MINMAX_SAMPLE: Final = np.dtype([("t", "<u4"), ("v", "<u4")])
"""One of the three candidates of the kernel's windowed minimum (``struct minmax_sample``): jiffies, microseconds."""

EVENT: Final = np.dtype(
    [
        ("timestamp_ns", "<u8"),  # CLOCK_MONOTONIC when the function returned
        ("tcp_mstamp_us", "<u8"),  # tp->tcp_mstamp, the "now" of the samples; 0 in a passive handshake
        ("sk", "<u8"),  # the kernel reuses socket addresses: a connection is (sk, generation)
        ("cookie", "<u8"),  # SO_COOKIE; 0 until it is requested
        ("generation", "<u8"),  # timestamp_ns of the connection's first event
        ("first_rtt_us", "<i8"),  # argument seq_rtt_us: nettrace's `rtt`; -1 when there is none
        ("sack_rtt_us", "<i8"),  # argument sack_rtt_us
        ("last_rtt_us", "<i8"),  # argument ca_rtt_us: nettrace's `rtt_min`
        ("rs_rtt_us", "<i8"),  # rs->rtt_us on return: last_rtt_us after the timestamp fallback
        ("sample_us", "<i8"),  # the estimator's input; -1 when nothing was taken
        ("min_rtt", MINMAX_SAMPLE, (3,)),  # tp->rtt_min; [0]["v"] is what TCP_INFO shows
        ("srtt_us", "<u4"),  # tp->srtt_us as the kernel keeps it: the smoothed RTT << 3
        ("mdev_us", "<u4"),  # tp->mdev_us as the kernel keeps it: the mean deviation << 2
        ("mdev_max_us", "<u4"),
        ("rttvar_us", "<u4"),
        ("rtt_seq", "<u4"),
        ("snd_una", "<u4"),
        ("snd_nxt", "<u4"),
        ("write_seq", "<u4"),
        ("packets_out", "<u4"),
        ("retrans_out", "<u4"),
        ("sacked_out", "<u4"),
        ("lost_out", "<u4"),
        ("delivered", "<u4"),
        ("mss_cache", "<u4"),
        ("rcv_tsecr", "<u4"),  # the last echoed timestamp, where saw_tstamp
        ("flag", "<i4"),  # argument flag, see FLAG_
        ("jiffies", "<u4"),  # low 32 bits; the call's own tcp_jiffies32 plus or minus one tick
        ("rto_jiffies", "<u4"),  # icsk_rto
        ("timer_jiffies", "<i4"),  # until the timer in `timer` expires: 0 without one, negative when overdue
        ("wmem_queued", "<i4"),  # bytes
        ("rmem_alloc", "<i4"),  # bytes
        ("write_queue", "<u4"),  # segments: nettrace's mem:(w)
        ("read_queue", "<u4"),  # segments: nettrace's mem:(r)
        ("netns", "<u4"),  # inode number of the socket's network namespace
        ("cpu", "<u4"),
        ("ifindex", "<u4"),  # interface the socket last received from; 0 when unknown
        ("pid", "<u4"),  # the thread that was current, often not the socket's owner
        ("watch", "<u4"),  # number of the active watch
        ("hz", "<u2"),  # jiffies a second
        ("family", "<u2"),  # AF_INET or AF_INET6
        ("sport", "<u2"),  # host byte order
        ("dport", "<u2"),  # host byte order
        ("saddr", "u1", (16,)),  # network byte order; IPv4 as ::ffff:a.b.c.d
        ("daddr", "u1", (16,)),
        ("comm", "S16"),
        ("state", "u1"),  # see TcpState
        ("ca_state", "u1"),  # see CaState
        ("taken", "u1"),  # the return value: 1 when the estimators were updated
        ("hook", "u1"),  # see Hook
        ("timer", "u1"),  # icsk_pending, see PendingTimer
        ("saw_tstamp", "u1"),
        ("backoff", "u1"),  # icsk_backoff, reset by every sample that is taken
        ("owned", "u1"),  # see Owned; "reserved" and 0 in older recordings
    ]
)
"""``struct rtt_event``: what the probe recorded in one call of ``tcp_ack_update_rtt()``.

``first_rtt_us``, ``sack_rtt_us``, ``last_rtt_us`` and ``flag`` are the arguments at entry; all else is read on return,
when srtt and min_rtt include the sample already. Backends that attach elsewhere see less: `View.unseen` names the
members that carry no information in their events.
"""

EVENT_ALWAYS: Final = frozenset(
    [
        "timestamp_ns",
        "tcp_mstamp_us",
        "sk",
        "first_rtt_us",
        "last_rtt_us",
        "rs_rtt_us",
        "sample_us",
        "min_rtt",
        "srtt_us",
        "mdev_us",
        "mdev_max_us",
        "rttvar_us",
        "rtt_seq",
        "snd_una",
        "snd_nxt",
        "delivered",
        "flag",
        "jiffies",
        "netns",
        "hz",
        "sport",
        "dport",
        "saddr",
        "daddr",
        "taken",
    ]
)
"""Columns that every version wrote, and that checks use without naming them as a need. A file without one is damaged;
any other column may be absent from an older file."""

FLAG_DATA_ACKED: Final = 0x04
FLAG_RETRANS_DATA_ACKED: Final = 0x08
FLAG_SYN_ACKED: Final = 0x10
FLAG_ORIG_SACK_ACKED: Final = 0x200
FLAG_ACK_MAYBE_DELAYED: Final = 0x10000
# The values are those of net/ipv4/tcp_input.c, the same from 5.10 to 7.3.


class TcpState(IntEnum):
    """``sk->sk_state`` (include/net/tcp_states.h)."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12


class CaState(IntEnum):
    """``icsk_ca_state`` (include/uapi/linux/tcp.h, enum tcp_ca_state)."""

    OPEN = 0
    DISORDER = 1
    CWR = 2
    RECOVERY = 3
    LOSS = 4


class PendingTimer(IntEnum):
    """``icsk_pending`` (include/net/inet_connection_sock.h)."""

    NONE = 0
    RETRANS = 1
    DACK = 2
    PROBE0 = 3
    LOSS_PROBE = 5
    REO_TIMEOUT = 6


class Hook(IntEnum):
    """Which program made the event."""

    FEXIT = 1
    KRETPROBE = 2
    SOCKOPS = 3
    TRACEPOINT = 4
    BCC = 5


class Owned(IntEnum):
    """Whether a thread owned the socket at the call (``sk->sk_lock.owned``).

    An ACK that arrives meanwhile waits in the backlog until the thread releases it (``tcp_v4_rcv()``,
    ``release_sock()``).
    """

    UNKNOWN = 0
    NO = 1
    YES = 2


BUCKETS: Final = 17
"""nettrace's log2 buckets: [0, 1], [2, 3], [4, 7], ... and all from 65536 up in the last."""

CONFIG: Final = np.dtype(
    [
        ("modes", "<u4"),  # ProbeMode; 0 is off
        ("watch", "<u4"),
        ("filter_netns", "<u4"),
        ("port", "<u2"),
        ("hz", "<u2"),
        ("first_below_us", "<i8"),
        ("last_below_us", "<i8"),
    ]
)
"""``struct rtt_config``: the program's settings."""

COUNTS: Final = np.dtype(
    [
        ("us", "<u8", (BUCKETS,)),
        ("ms", "<u8", (BUCKETS,)),
        ("calls", "<u8"),
        ("lost_ring_full", "<u8"),
        ("lost_no_return", "<u8"),
        ("lost_calls_full", "<u8"),
        ("lost_no_identity", "<u8"),
        ("stood_in", "<u8"),
    ]
)
"""``struct rtt_counts``: the program's counters."""


class ProbeMode(IntFlag):
    """``enum rtt_mode``: what the program does with a call."""

    EVENTS = 1
    HISTOGRAM = 2
    WAKE = 4
