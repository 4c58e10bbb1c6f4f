"""Format and parse one event as one line, as nettrace prints a socket's event in detail mode.

The line has time, function, addresses, TCP state, packets in flight, queues, timer and message.

Two things differ from nettrace on purpose. A timer is in seconds or in ``jiffies``: nettrace
takes HZ from the kernel's configuration file, and without one prints jiffies as seconds (``51.000s`` for 51
jiffies, 204 ms at HZ=250). An IPv6 address is printed, in brackets, where nettrace prints the word ``ipv6``. Lines of
nettrace are parsed as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rttcheck.nettrace.message import COLOUR_CODE, AnalyzerError, RttMessage

EMPHASIS = "\x1b[0;33m"
WARNING = "\x1b[0;32m"
ERROR = "\x1b[0;31m"
_PLAIN = "\x1b[0m"

_LINE = re.compile(
    r"\[(?P<seconds>\d+)\.(?P<micros>\d{6})\] (?P<header>\[.*\] )TCP: "
    r"(?P<source>\S+) -> (?P<destination>\S+) (?P<state>\w+) (?P<ca_state>\w+) "
    r"out:\(p(?P<packets_out>\d+) r(?P<retrans_out>\d+)\) unack:(?P<snd_una>\d+) "
    r"mem:\(w(?P<write_queue>\d+) r(?P<read_queue>\d+)\)"
    r"(?: timer:\((?P<timer>[^)]*)\))?(?P<message> \*rtt:[^*]*\*)?(?: \*(?P<remark>[^*]+)\*)?"
)
_SHORT_HEADER = re.compile(r"\[([\w.]+) *\] ")
_LONG_HEADER = re.compile(r"\[([0-9a-f]+)\]\[([\w.]+) *\]\[cpu:(\d+) *\]\[(\S*) *\]\[(.*)-(\d+)\]\[ns:(\d+)\] ")
_TIMER = re.compile(r"(\w+), (?:(\d+)\.(\d{3})s|(\d+) jiffies)")
_ENDPOINT = re.compile(r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<plain>[^:]+)):(?P<port>\d+)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port; ``ipv6`` stands for the address where nettrace left it out."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read ``10.0.0.1:80`` or ``[fd00::1]:80``. Raises AnalyzerError for anything else."""
        found = _ENDPOINT.fullmatch(text)
        if found is None:
            raise AnalyzerError(
                f"an address and port was expected, such as 10.0.0.1:80 or [fd00::1]:80, found '{text}'"
            )
        return cls(found["bracketed"] or found["plain"], int(found["port"]))


@dataclass(frozen=True, slots=True)
class Timer:
    """A pending timer and the time left: milliseconds, or jiffies where the kernel's HZ is not known."""

    name: str
    left: int
    jiffies: bool = False

    def __str__(self) -> str:
        left = f"{self.left} jiffies" if self.jiffies else f"{self.left // 1000}.{self.left % 1000:03d}s"
        return f"{self.name}, {left}"

    @classmethod
    def parse(cls, text: str) -> Timer:
        """Read ``loss_probe, 0.204s``. Raises AnalyzerError for anything else.

        nettrace's seconds are parsed as seconds; they may be jiffies, see the module's docstring.
        """
        found = _TIMER.fullmatch(text)
        if found is None:
            raise AnalyzerError(f"a timer was expected, such as 'loss_probe, 0.204s', found '{text}'")
        if found[4] is not None:
            return cls(found[1], int(found[4]), jiffies=True)
        return cls(found[1], int(found[2]) * 1000 + int(found[3]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What ``--detail`` adds: the context in which the ACK was processed (not the owner of the socket)."""

    key: int
    """The event's context: nettrace prints 0 for sockets, rttcheck the connection's generation."""
    cpu: int
    interface: str
    process: str
    pid: int
    netns: int
    """Inode of the network namespace; nettrace prints 0 for sockets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """One event of ``tcp_ack_update_rtt``. ``timestamp_us`` is CLOCK_MONOTONIC, cut to microseconds.

    ``write_queue`` and ``read_queue`` count packets, although the line calls them ``mem``. ``remark`` is a rule's text.
    """

    timestamp_us: int
    function: str
    source: Endpoint
    destination: Endpoint
    state: str
    ca_state: str
    packets_out: int
    retrans_out: int
    snd_una: int
    write_queue: int
    read_queue: int
    timer: Timer | None = None
    message: RttMessage | None = None
    remark: str = ""
    circumstances: Circumstances | None = None

    def render(self, *, colour: str = "", remark_colour: str = "") -> str:
        """Return the line without its newline; ``colour`` is the escape code for the message, none for plain text."""
        timer = f" timer:({self.timer})" if self.timer is not None else ""
        message = self.message.render() if self.message is not None else ""
        remark = f" *{self.remark}*" if self.remark else ""
        return (
            f"[{self.timestamp_us // 1_000_000}.{self.timestamp_us % 1_000_000:06d}] {self._header()}"
            f"TCP: {self.source} -> {self.destination} {self.state} {self.ca_state} "
            f"out:(p{self.packets_out} r{self.retrans_out}) unack:{self.snd_una} "
            f"mem:(w{self.write_queue} r{self.read_queue}){timer}"
            f"{_coloured(message, colour)}{_coloured(remark, remark_colour)}"
        )

    def _header(self) -> str:
        about = self.circumstances
        if about is None:
            return f"[{self.function:<20}] "
        return (
            f"[{about.key:x}][{self.function:<20}][cpu:{about.cpu:<3d}][{about.interface:<5}]"
            f"[{about.process}-{about.pid}][ns:{about.netns}] "
        )

    @classmethod
    def parse(cls, text: str) -> EventLine:
        """Read a line in either dialect, short or long, coloured or not.

        Raises AnalyzerError when it is not such a line; ``render()`` of the result gives the text without colours.
        """
        plain = COLOUR_CODE.sub("", text.rstrip("\n"))
        found = _LINE.fullmatch(plain)
        if found is None:
            raise AnalyzerError(
                "an event line was expected, such as '[76.209326] [tcp_ack_update_rtt  ] TCP: ...', "
                f"found '{plain[:120]}'"
            )
        function, circumstances = _parse_header(found["header"])
        return cls(
            timestamp_us=int(found["seconds"]) * 1_000_000 + int(found["micros"]),
            function=function,
            source=Endpoint.parse(found["source"]),
            destination=Endpoint.parse(found["destination"]),
            state=found["state"],
            ca_state=found["ca_state"],
            packets_out=int(found["packets_out"]),
            retrans_out=int(found["retrans_out"]),
            snd_una=int(found["snd_una"]),
            write_queue=int(found["write_queue"]),
            read_queue=int(found["read_queue"]),
            timer=Timer.parse(found["timer"]) if found["timer"] is not None else None,
            message=RttMessage.parse(found["message"]) if found["message"] is not None else None,
            remark=found["remark"] or "",
            circumstances=circumstances,
        )


def _coloured(text: str, colour: str) -> str:
    return f"{colour}{text}{_PLAIN}" if text and colour else text


def _parse_header(text: str) -> tuple[str, Circumstances | None]:
    short = _SHORT_HEADER.fullmatch(text)
    if short is not None:
        return short[1], None
    found = _LONG_HEADER.fullmatch(text)
    if found is None:
        raise AnalyzerError(f"a function was expected in brackets, such as '[tcp_ack_update_rtt  ]', found '{text}'")
    return found[2], Circumstances(
        key=int(found[1], 16),
        cpu=int(found[3]),
        interface=found[4],
        process=found[5],
        pid=int(found[6]),
        netns=int(found[7]),
    )
