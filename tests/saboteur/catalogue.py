"""All faults of the saboteur, and the scenarios in which each is tried.

It owns the list. A kind comes with all its sizes, the smallest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from rttcheck.judge.findings import Layer
from rttcheck.scenario.library import NAMED
from tests.saboteur.fault import RealFault

_JITTER: Final = ("uniform-jitter",)
_FALLING: Final = ("rtt-40ms",)
"""The handshake's sample is the longest. Where delays are random the first sample may be the lowest, in one run of some
70, and then a minimum that never falls is right."""
_LOSS: Final = ("loss",)
_RATE: Final = ("rate-queue",)
_TIMEOUTS: Final = ("timeouts",)

SAMPLES: Final = (
    *(
        RealFault(kind="first-acked longer", what="seq_rtt_us is longer", size=size, layer=Layer.SAMPLE, does="first",
                  amount=amount, every=every, tested_in=tested)
        for size, amount, every, tested in (
            ("5 us", 5, 1, ()),
            ("20 us", 20, 1, ("rtt-40ms", "short-connections", "direct")),
            ("200 us", 200, 1, ("bbr", "loss")),
            ("1 ms", 1_000, 1, ()),
            ("100 ms", 100_000, 1, ("bbr", "direct")),
            ("200 us, one in 20", 200, 20, ()),
            ("1 ms, one in 10", 1_000, 10, ("bbr",)),
        )
    ),
    *(
        RealFault(kind="first-acked shorter", what="seq_rtt_us is shorter", size=f"{us} us", layer=Layer.SAMPLE,
                  does="first", amount=-us, tested_in=tested)
        for us, tested in ((20, ("rtt-40ms",)), (200, ()))
    ),
    *(
        RealFault(kind="all three longer", what="seq_rtt_us, sack_rtt_us and ca_rtt_us are longer", size=size,
                  layer=Layer.SAMPLE, does="all", amount=amount, every=every, tested_in=tested)
        for size, amount, every, tested in (
            ("20 us", 20, 1, ()),
            ("200 us", 200, 1, ("rate-queue",)),
            ("1 ms, one in 100", 1_000, 100, ("loss",)),
        )
    ),
    RealFault(kind="all three shorter", what="seq_rtt_us, sack_rtt_us and ca_rtt_us are shorter", size="200 us",
              layer=Layer.SAMPLE, does="all", amount=-200, tested_in=("rate-queue",)),
    *(
        RealFault(kind="last-acked longer", what="ca_rtt_us is longer", size=f"{us} us", layer=Layer.SAMPLE,
                  does="last", amount=us, tested_in=tested)
        for us, tested in ((20, ()), (200, ("loss",)))
    ),
    RealFault(kind="last-acked shorter", what="ca_rtt_us is shorter", size="200 us", layer=Layer.SAMPLE, does="last",
              amount=-200, tested_in=()),
    RealFault(kind="SACK times longer", what="sack_rtt_us is longer", size="200 us", layer=Layer.SAMPLE, does="sack",
              amount=200, tested_in=_LOSS),
    RealFault(kind="SACK times shorter", what="sack_rtt_us is shorter", size="200 us", layer=Layer.SAMPLE, does="sack",
              amount=-200, tested_in=()),
    RealFault(kind="handshake longer", what="the handshake's sample is longer", size="200 us", layer=Layer.SAMPLE,
              does="handshake", amount=200, tested_in=("short-connections",)),
    RealFault(kind="times stretched", what="all times are longer by a part of themselves", size="0.5 %",
              layer=Layer.SAMPLE, does="scaled", amount=5_000),
    RealFault(kind="cut to milliseconds", what="times are rounded down to milliseconds", layer=Layer.SAMPLE,
              does="cut_down", amount=1_000, tested_in=("rtt-40ms", "loss")),
    RealFault(kind="rounded up to milliseconds", what="times are rounded up to milliseconds", layer=Layer.SAMPLE,
              does="cut_up", amount=1_000),
    RealFault(kind="cut to jiffies", what="times are rounded down to whole jiffies of 4 ms", layer=Layer.SAMPLE,
              does="cut_down", amount=4_000, tested_in=()),
    RealFault(kind="first and last swapped", what="seq_rtt_us and ca_rtt_us change places", layer=Layer.SAMPLE,
              does="swapped", tested_in=_JITTER),
    RealFault(kind="last for first", what="seq_rtt_us is the last acked segment's", layer=Layer.SAMPLE,
              does="wrong_segment", tested_in=_JITTER),
    RealFault(kind="the sample before", what="a call has the time of the socket's call before", layer=Layer.SAMPLE,
              does="previous", tested_in=("rate-queue",)),
    RealFault(kind="timestamps halved", what="the time from an echoed timestamp is half as long", layer=Layer.SAMPLE,
              does="timestamps_halved", tested_in=_TIMEOUTS),
)  # fmt: skip

CLOCKS: Final = (
    *(
        RealFault(kind="stamps early", what="segments but the SYN are stamped before they leave", size=size,
                  layer=Layer.SAMPLE,
                  does="stamp", amount=amount, every=every, tested_in=tested)
        for size, amount, every, tested in (
            ("20 us", 20, 1, ("rtt-40ms",)),
            ("200 us", 200, 1, ("bbr", "loss")),
            ("200 us, one in 10", 200, 10, ()),
        )
    ),
    RealFault(kind="stamps late", what="segments but the SYN are stamped after they have left", size="200 us",
              layer=Layer.SAMPLE,
              does="stamp", amount=-200),
    RealFault(kind="stamps of the queue early", what="the segment that waits for its ACK is stamped earlier than the "
              "packet that left", size="200 us", layer=Layer.SAMPLE, does="queue_stamp", amount=200,
              tested_in=("rate-queue",)),
    RealFault(kind="stamps of packets early", what="the packet is stamped earlier than the segment that waits",
              size="200 us", layer=Layer.SAMPLE, does="packet_stamp", amount=200),
    RealFault(kind="clock ahead", what="TCP's clock is ahead when it looks at an ACK", size="150 us",
              layer=Layer.SAMPLE, does="now", amount=150, tested_in=("rtt-40ms", "loss")),
    RealFault(kind="clock behind", what="TCP's clock is behind when it looks at an ACK", size="50 us",
              layer=Layer.SAMPLE, does="now", amount=-50, tested_in=("rtt-40ms",)),
)  # fmt: skip

ELIGIBILITY: Final = (
    RealFault(kind="samples dropped", what="a call that has times gives no sample", size="one in 10",
              layer=Layer.ELIGIBILITY, does="dropped", every=10, tested_in=("rtt-40ms",)),
    RealFault(kind="no sample of handshakes", what="an ACK of a SYN gives no sample", layer=Layer.ELIGIBILITY,
              does="handshake_dropped", tested_in=("short-connections",)),
    RealFault(kind="no sample of SACK", what="a newly SACKed segment gives no sample", layer=Layer.ELIGIBILITY,
              does="sack_dropped", tested_in=_LOSS),
    RealFault(kind="no sample of timestamps", what="an echoed timestamp gives no sample", layer=Layer.ELIGIBILITY,
              does="no_fallback", tested_in=_TIMEOUTS),
    RealFault(kind="timestamps for times", what="a call that has times takes the echoed timestamp", size="one in 10",
              layer=Layer.ELIGIBILITY, does="fallback", every=10, tested_in=("rtt-40ms",)),
    RealFault(kind="Karn ignored", what="an ACK of what was retransmitted gives a time", layer=Layer.ELIGIBILITY,
              does="karn", tested_in=_TIMEOUTS),
    RealFault(kind="samples not due", what="an ACK that acknowledges nothing gives a sample", layer=Layer.ELIGIBILITY,
              does="undue", tested_in=_JITTER),
)  # fmt: skip

ARITHMETIC: Final = (
    RealFault(kind="srtt's gain", what="srtt moves by 1/4 of the error, not by 1/8", layer=Layer.ARITHMETIC,
              does="srtt_gain"),
    RealFault(kind="srtt off", what="srtt is more than the formula gives", size="20 us", layer=Layer.ARITHMETIC,
              does="srtt_off", amount=20),
    RealFault(kind="srtt stuck", what="a sample is taken and srtt stays", size="one in 20", layer=Layer.ARITHMETIC,
              does="srtt_stuck", every=20),
    RealFault(kind="mdev's gain", what="mdev moves twice as far", layer=Layer.ARITHMETIC, does="mdev_gain",
              tested_in=_JITTER),
    RealFault(kind="rttvar off", what="rttvar, and the RTO with it, is more than the formula gives", size="1 ms",
              layer=Layer.ARITHMETIC, does="rttvar_off", amount=1_000),
    *(
        RealFault(kind="RTO off", what="the RTO is more than srtt and rttvar give", size=f"{percent} %",
                  layer=Layer.ARITHMETIC, does="rto_off", percent=percent, tested_in=tested)
        for percent, tested in ((110, ("rtt-40ms",)), (200, ()))
    ),
    RealFault(kind="backoff kept", what="a sample does not clear the RTO's backoff", layer=Layer.ARITHMETIC,
              does="backoff_kept", tested_in=_TIMEOUTS),
    RealFault(kind="min_rtt keeps the first", what="min_rtt stays what the first sample was", layer=Layer.ARITHMETIC,
              does="minimum_first", tested_in=_FALLING),
    RealFault(kind="min_rtt never falls", what="a smaller sample does not become the minimum", layer=Layer.ARITHMETIC,
              does="minimum_stays_high", tested_in=_FALLING),
    RealFault(kind="min_rtt never rises", what="the minimum stays when its window is over", layer=Layer.ARITHMETIC,
              does="minimum_stays_low", tested_in=("expiry",)),
    *(
        RealFault(kind="min_rtt off", what="a new minimum is kept larger or smaller", size=f"{percent} %",
                  layer=Layer.ARITHMETIC, does="minimum_off", percent=percent, tested_in=tested)
        for percent, tested in ((110, ("rtt-40ms",)), (90, ()))
    ),
    *(
        RealFault(kind="TCP_INFO's rtt", what="tcpi_rtt is more than srtt", size=f"{us} us", layer=Layer.ARITHMETIC,
                  does="info_rtt", amount=us, tested_in=tested)
        for us, tested in ((20, ("rtt-40ms",)), (200, ()))
    ),
    RealFault(kind="TCP_INFO's rttvar", what="tcpi_rttvar is more than mdev", size="200 us", layer=Layer.ARITHMETIC,
              does="info_rttvar", amount=200),
    RealFault(kind="TCP_INFO's min_rtt", what="tcpi_min_rtt is more than min_rtt", size="200 us",
              layer=Layer.ARITHMETIC, does="info_minimum", amount=200),
    RealFault(kind="TCP_INFO's RTO", what="tcpi_rto is twice the RTO", layer=Layer.ARITHMETIC, does="info_rto",
              percent=200),
)  # fmt: skip

KERNEL: Final = (
    RealFault(kind="a warning", what="the kernel warns of itself, and every sample is right", size="one in 20",
              layer=Layer.KERNEL, does="warning", every=20),
)  # fmt: skip

LINK: Final = (
    *(
        RealFault(kind="packets late", what="netem delays for longer", size=size, layer=Layer.LINK, does="late",
                  amount=amount, every=every, tested_in=tested)
        for size, amount, every, tested in (
            ("20 us", 20, 1, ("rtt-40ms",)),
            ("200 us", 200, 1, ("loss",)),
            ("200 us, one in 20", 200, 20, ()),
            ("1 ms, one in 10", 1_000, 10, ("bbr",)),
        )
    ),
    *(
        RealFault(kind="packets early", what="netem delays for less long", size=f"{us} us", layer=Layer.LINK,
                  does="late", amount=-us, tested_in=tested)
        for us, tested in ((20, ("rtt-40ms",)), (200, ()))
    ),
    *(
        RealFault(kind="one direction late", what=f"netem delays for longer on the way {words}", size=f"200 us {words}",
                  layer=Layer.LINK, does="late", amount=200, way=way)
        for words, way in (("out", "to-server"), ("back", "to-client"))
    ),
    RealFault(kind="delay moved", what="the way out takes longer and the way back as much less", size="200 us",
              layer=Layer.LINK, does="moved", amount=200),
    RealFault(kind="delay stretched", what="the delay is longer by a part of itself", size="105 %", layer=Layer.LINK,
              does="latency", percent=105),
    RealFault(kind="full packets late", what="packets of 1400 bytes and more are delayed for longer", size="120 us",
              layer=Layer.LINK, does="late_large", amount=120, tested_in=("bbr",)),
    *(
        RealFault(kind="timers late", what="netem's timer fires later than it was set", size=size, layer=Layer.LINK,
                  does="timer", amount=amount, every=every, tested_in=tested)
        for size, amount, every, tested in (("200 us", 200, 1, ("rtt-40ms",)), ("1 ms, one in 10", 1_000, 10, ()))
    ),
    *(
        RealFault(kind="jitter off", what="delays are scattered otherwise", size=f"{percent} %", layer=Layer.LINK,
                  does="jitter", percent=percent, tested_in=tested)
        for percent, tested in ((50, _JITTER), (200, ()))
    ),
    RealFault(kind="jitter not asked for", what="a constant delay is scattered", size="100 us", layer=Layer.LINK,
              does="jitter_added", amount=100),
    RealFault(kind="no distribution", what="jitter is uniform, not normal", layer=Layer.LINK, does="no_distribution",
              tested_in=("normal-jitter",)),
    *(
        RealFault(kind="loss off", what="more or fewer packets are lost", size=f"{percent} %", layer=Layer.LINK,
                  does="loss", percent=percent, tested_in=tested)
        for percent, tested in ((0, _LOSS), (50, ()), (200, ()), (400, _LOSS))
    ),
    RealFault(kind="loss not asked for", what="packets are lost where none should be", size="2 %", layer=Layer.LINK,
              does="loss_added", percent=2, tested_in=("uniform-jitter",)),
    *(
        RealFault(kind="rate off", what="a packet takes as long as at another rate", size=f"{percent} %",
                  layer=Layer.LINK, does="rate", percent=percent, tested_in=tested)
        for percent, tested in ((90, _RATE), (110, ()))
    ),
    *(
        RealFault(kind="reordering off", what="other shares of packets are sent ahead", size=f"{percent} %",
                  layer=Layer.LINK, does="reorder", percent=percent, tested_in=tested)
        for percent, tested in ((0, ("reordering",)), (50, ()))
    ),
)  # fmt: skip

FAMILIES: Final = (
    ("The stack: samples", SAMPLES),
    ("The stack: stamps and clocks", CLOCKS),
    ("The stack: samples that are missing or not due", ELIGIBILITY),
    ("The stack: arithmetic and TCP_INFO", ARITHMETIC),
    ("The kernel itself", KERNEL),
    ("The link", LINK),
)
"""Title and faults of each family."""

SOUND: Final = RealFault(
    kind="no fault",
    what="the module's probes are in place, and none changes anything",
    layer=None,
    does="none",
    tested_in=("rtt-40ms", "loss", "bbr", "rate-queue", "short-connections", "direct"),
)

FAULTS: Final = tuple(fault for _, family in FAMILIES for fault in family)

_MORE: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        # One segment of full size at a time, whose ACK is no delayed one, and a window of a second: min_rtt rises.
        "expiry": {
            "rtt": "20ms",
            "count": 48,
            "size": 1448,
            "steps": [{"after": 12, "rtt": "40ms"}],
            "sysctls": {"net.ipv4.tcp_min_rtt_wlen": 1},
        },
        # Retransmissions are lost as well, so that the RTO backs off; no ACK is, so that connections end well.
        "timeouts": {
            "out": {"delay": "10ms", "loss": "40%"},
            "back": "10ms",
            # Where the backoff is kept, each timeout takes twice as long as the one before.
            "traffic": {"kind": "paced", "interval": "5ms", "count": 40, "size": 600, "deadline": "60min"},
        },
        # netem on the ends' own interfaces: captures come after it.
        "direct": {
            "rtt": "40ms",
            "jitter": "4ms",
            "loss": "3%",
            "topology": "direct",
            "traffic": "paced",
            "interval": "2ms",
            "count": 200,
            "size": 1_000,
        },
    }
)
"""Scenarios for paths that no named scenario uses."""

SCENARIOS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        **{name: scenario.keywords() for name, scenario in NAMED.items()},
        **{name: {"name": name, **keywords} for name, keywords in _MORE.items()},
    }
)
"""Keywords of `Scenario.make` by name: the named scenarios, then those for paths that none of them uses."""
