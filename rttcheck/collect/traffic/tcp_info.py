"""The kernel's ``struct tcp_info`` of one TCP socket, decoded with names and units, as kernels 5.10 to 7.3 fill it.

The structure only ever grows at its end, so a kernel returns a prefix of ``FIELDS`` or, when it is newer than this
table, more bytes than the table names; those are kept and counted in ``TcpInfo.unknown_bytes``.

| kernel    | bytes | last field            |
|-----------|-------|-----------------------|
| 5.4       | 232   | ``snd_wnd``           |
| 6.2       | 240   | ``rehash``            |
| 6.7       | 248   | ``total_rto_time_ms`` |
| 6.18      | 280   | ``accecn``            |
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cache
from typing import TYPE_CHECKING

from rttcheck.record.event import CaState, TcpState

if TYPE_CHECKING:
    import numpy as np

NO_MIN_RTT = 0xFFFFFFFF
"""``tcpi_min_rtt`` of a socket that took no sample yet (``tcp_init_sock`` starts the minimum filter with ``~0U``)."""

_READ_AT_MOST = 1024


class Option(IntFlag):
    """Bits of ``tcpi_options`` (``TCPI_OPT_*``): what the two ends negotiated."""

    TIMESTAMPS = 1
    SACK = 2
    WSCALE = 4
    ECN = 8
    ECN_SEEN = 16
    SYN_DATA = 32
    USEC_TS = 64
    TFO_CHILD = 128


@dataclass(frozen=True, slots=True)
class Field:
    """One field: the kernel's name without ``tcpi_``, its offset, its unit and meaning."""

    name: str
    offset: int
    size: int
    unit: str
    meaning: str

    @property
    def key(self) -> str:
        """The name with its unit, where the unit is ambiguous: ``rtt_us``, ``pacing_rate_bytes_per_s``."""
        suffix = _SUFFIXES.get(self.unit, "")
        return self.name if suffix.strip("_") in self.name.split("_") else self.name + suffix


_SUFFIXES = {"µs": "_us", "ms": "_ms", "bytes": "_bytes", "bytes/s": "_bytes_per_s"}

_TABLE: tuple[tuple[str, int, str, str], ...] = (
    ("state", 1, "TcpState", "state of the socket"),
    ("ca_state", 1, "CaState", "state of congestion control"),
    ("retransmits", 1, "timeouts", "timeouts in a row that are not recovered yet"),
    ("probes", 1, "segments", "zero-window or keepalive probes that have no answer yet"),
    ("backoff", 1, "doublings", "how often the timeout was doubled"),
    ("options", 1, "Option", "what the two ends negotiated"),
    ("wscale", 1, "bits", "window scales: sent in the low half, received in the high half"),
    ("flags", 1, "bits", "bit 0: delivery rate was limited by the application; bits 1-2: why fast open failed"),
    ("rto", 4, "µs", "retransmission timeout, a whole number of jiffies"),
    ("ato", 4, "µs", "delayed-ACK timeout, a whole number of jiffies"),
    ("snd_mss", 4, "bytes", "largest segment to send"),
    ("rcv_mss", 4, "bytes", "largest segment the other end seems to send"),
    ("unacked", 4, "segments", "sent and not acknowledged (a listener: connections to be accepted)"),
    ("sacked", 4, "segments", "acknowledged selectively (a listener: its backlog)"),
    ("lost", 4, "segments", "thought lost"),
    ("retrans", 4, "segments", "retransmitted and not acknowledged"),
    ("fackets", 4, "segments", "unused since 4.15"),
    ("last_data_sent", 4, "ms", "time since data was sent last"),
    ("last_ack_sent", 4, "ms", "never filled in"),
    ("last_data_recv", 4, "ms", "time since data came last"),
    ("last_ack_recv", 4, "ms", "time since an ACK came last"),
    ("pmtu", 4, "bytes", "path MTU"),
    ("rcv_ssthresh", 4, "bytes", "limit of the window offered"),
    ("rtt", 4, "µs", "smoothed round-trip time, srtt_us >> 3"),
    ("rttvar", 4, "µs", "mean deviation, mdev_us >> 2 (not the variable rttvar_us that makes the timeout)"),
    ("snd_ssthresh", 4, "segments", "slow start threshold"),
    ("snd_cwnd", 4, "segments", "congestion window"),
    ("advmss", 4, "bytes", "segment size announced to the other end"),
    ("reordering", 4, "segments", "reordering that is taken for granted"),
    ("rcv_rtt", 4, "µs", "the receiver's estimate of the round-trip time; 0 when it never received enough"),
    ("rcv_space", 4, "bytes", "receive buffer tuning: bytes read in one round trip"),
    ("total_retrans", 4, "segments", "retransmitted so far"),
    ("pacing_rate", 8, "bytes/s", "pacing rate; all ones when there is none"),
    ("max_pacing_rate", 8, "bytes/s", "its ceiling; all ones when there is none"),
    ("bytes_acked", 8, "bytes", "acknowledged so far, the SYN counted as one"),
    ("bytes_received", 8, "bytes", "received in order so far"),
    ("segs_out", 4, "segments", "sent so far, pure ACKs included"),
    ("segs_in", 4, "segments", "received so far, pure ACKs included"),
    ("notsent_bytes", 4, "bytes", "written and not sent"),
    ("min_rtt", 4, "µs", "minimum filter over the round-trip times; all ones before the first sample"),
    ("data_segs_in", 4, "segments", "segments with data received"),
    ("data_segs_out", 4, "segments", "segments with data sent"),
    ("delivery_rate", 8, "bytes/s", "most recent delivery rate"),
    ("busy_time", 8, "µs", "time with data to send or to be acknowledged"),
    ("rwnd_limited", 8, "µs", "time stalled by the receiver's window"),
    ("sndbuf_limited", 8, "µs", "time stalled by the send buffer"),
    ("delivered", 4, "segments", "delivered so far, selectively acknowledged ones included"),
    ("delivered_ce", 4, "segments", "of these with a congestion mark"),
    ("bytes_sent", 8, "bytes", "sent so far, retransmissions included"),
    ("bytes_retrans", 8, "bytes", "retransmitted so far"),
    ("dsack_dups", 4, "segments", "duplicates that the other end reported"),
    ("reord_seen", 4, "events", "reordering seen"),
    ("rcv_ooopack", 4, "segments", "received out of order"),
    ("snd_wnd", 4, "bytes", "window of the other end, scaled"),
    ("rcv_wnd", 4, "bytes", "window offered, scaled (6.2)"),
    ("rehash", 4, "events", "new paths tried, by PLB or after a timeout (6.2)"),
    ("total_rto", 2, "timeouts", "timeouts so far (6.7)"),
    ("total_rto_recoveries", 2, "events", "recoveries by timeout (6.7)"),
    ("total_rto_time", 4, "ms", "time in such recoveries (6.7)"),
    ("received_ce", 4, "segments", "received with a congestion mark (6.18, AccECN)"),
    ("delivered_e1_bytes", 4, "bytes", "delivered with ECT(1) (6.18, AccECN)"),
    ("delivered_e0_bytes", 4, "bytes", "delivered with ECT(0) (6.18, AccECN)"),
    ("delivered_ce_bytes", 4, "bytes", "delivered with CE (6.18, AccECN)"),
    ("received_e1_bytes", 4, "bytes", "received with ECT(1) (6.18, AccECN)"),
    ("received_e0_bytes", 4, "bytes", "received with ECT(0) (6.18, AccECN)"),
    ("received_ce_bytes", 4, "bytes", "received with CE (6.18, AccECN)"),
    # Two 16-bit fields in 6.18 (accecn_fail_mode, accecn_opt_seen), four bit fields in the same word since 7.0
    # (ecn_mode:2, accecn_opt_seen:2, accecn_fail_mode:4, options2:24): the length does not tell which, so it stays raw.
    ("accecn", 4, "bits", "AccECN negotiation, undecoded: 6.18 and 7.0 lay it out in different ways"),
)


def _lay_out() -> Iterator[Field]:
    offset = 0
    for name, size, unit, meaning in _TABLE:
        offset = -(-offset // size) * size
        yield Field(name, offset, size, unit, meaning)
        offset += size


FIELDS: tuple[Field, ...] = tuple(_lay_out())
"""Every field, in the order and at the offset of ``include/uapi/linux/tcp.h`` (little endian)."""

_BY_NAME = {field.name: field for field in FIELDS}
_CODES = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """The bytes that ``getsockopt(TCP_INFO)`` returned; the properties and ``as_dict`` decode them.

    Fields that the running kernel does not fill (it returned fewer bytes) are absent: ``as_dict`` leaves them out,
    ``value`` raises KeyError.
    """

    raw: bytes

    @classmethod
    def of(cls, sock: socket.socket) -> TcpInfo:
        """Read it from ``sock``, in any state and from any thread. Raises OSError when the socket is closed."""
        return cls(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _READ_AT_MOST))

    @property
    def fields(self) -> tuple[Field, ...]:
        """Return the fields that this kernel fills, whole ones only."""
        return tuple(field for field in FIELDS if field.offset + field.size <= len(self.raw))

    @property
    def unknown_bytes(self) -> int:
        """How many bytes at the end belong to no field of the table: the kernel is newer than the table."""
        known = max((field.offset + field.size for field in self.fields), default=0)
        return len(self.raw) - known

    def value(self, name: str) -> int:
        """Return the raw number of a field by the kernel's name, without ``tcpi_``.

        Raises KeyError for a name that is not in the table or that this kernel does not fill.
        """
        field = _BY_NAME[name]
        if field.offset + field.size > len(self.raw):
            raise KeyError(name)
        number: int = struct.unpack_from(_CODES[field.size], self.raw, field.offset)[0]
        return number

    @property
    def state(self) -> TcpState:
        """State of the socket."""
        return TcpState(self.value("state"))

    @property
    def ca_state(self) -> CaState:
        """State of congestion control."""
        return CaState(self.value("ca_state"))

    @property
    def options(self) -> Option:
        """The options that the two ends negotiated."""
        return Option(self.value("options"))

    @property
    def snd_wscale(self) -> int:
        """Shift of the windows that the other end sends."""
        return self.value("wscale") & 0xF

    @property
    def rcv_wscale(self) -> int:
        """Shift of the windows that this end sends."""
        return self.value("wscale") >> 4

    @property
    def app_limited(self) -> bool:
        """The delivery rate was limited by the application, not by the path."""
        return bool(self.value("flags") & 1)

    @property
    def fastopen_client_fail(self) -> int:
        """Why TCP fast open fell back (``enum tcp_fastopen_client_fail``; 0: it did not)."""
        return self.value("flags") >> 1 & 3

    @property
    def rtt_us(self) -> int:
        """Smoothed round-trip time in µs; 0 before the first sample."""
        return self.value("rtt")

    @property
    def rttvar_us(self) -> int:
        """Mean deviation in µs, ``mdev_us >> 2``."""
        return self.value("rttvar")

    @property
    def min_rtt_us(self) -> int | None:
        """The minimum filter in µs; None before the first sample."""
        number = self.value("min_rtt")
        return None if number == NO_MIN_RTT else number

    @property
    def unacked(self) -> int:
        """Segments sent and not acknowledged."""
        return self.value("unacked")

    def as_dict(self) -> dict[str, int | bool | str | None]:
        """Return all fields that this kernel fills, keyed by name and unit (``rtt_us``), in JSON types.

        Enumerations are given by name, ``wscale`` and ``flags`` in their parts, ``min_rtt_us`` is None before the first
        sample, and ``unknown_bytes`` is present only when the kernel returned more than the table names.
        """
        decoded: dict[str, int | bool | str | None] = {}
        for field in self.fields:
            if field.name == "wscale":
                decoded["snd_wscale"], decoded["rcv_wscale"] = self.snd_wscale, self.rcv_wscale
            elif field.name == "flags":
                decoded["app_limited"] = self.app_limited
                decoded["fastopen_client_fail"] = self.fastopen_client_fail
            elif field.name == "state":
                decoded["state"] = _name_of(TcpState, self.value("state"))
            elif field.name == "ca_state":
                decoded["ca_state"] = _name_of(CaState, self.value("ca_state"))
            elif field.name == "options":
                decoded["options"] = "|".join(option.name or "" for option in Option if option in self.options)
            elif field.name == "min_rtt":
                decoded["min_rtt_us"] = self.min_rtt_us
            else:
                decoded[field.key] = self.value(field.name)
        if self.unknown_bytes:
            decoded["unknown_bytes"] = self.unknown_bytes
        return decoded

    def as_array(self) -> np.ndarray:
        """Return a NumPy record (shape ``()``) of ``dtype_of(len(raw))``, with the kernel's field names."""
        import numpy as np

        return np.frombuffer(self.raw, dtype=dtype_of(len(self.raw))).reshape(())


def _name_of(kind: type[IntEnum], number: int) -> str | int:
    try:
        return kind(number).name
    except ValueError:
        return number


@cache
def dtype_of(length: int) -> np.dtype[np.void]:
    """Return the NumPy dtype of the structure's first ``length`` bytes; unknown bytes at the end are its padding."""
    import numpy as np

    fields = [field for field in FIELDS if field.offset + field.size <= length]
    return np.dtype(
        {
            "names": [field.name for field in fields],
            "formats": [f"<u{field.size}" for field in fields],
            "offsets": [field.offset for field in fields],
            "itemsize": length,
        }
    )
