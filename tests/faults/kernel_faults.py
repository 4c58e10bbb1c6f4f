"""Kernels that complain: what they then do may look right or not, and is the second thing to look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rttcheck.judge.findings import Layer
from rttcheck.kernel_log.record import LogExcerpt, LogRecord
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant
from tests.faults.sample_faults import resampled

_WARNING: Final = (
    "------------[ cut here ]------------",
    "WARNING: CPU: 0 PID: 812 at net/ipv4/tcp_input.c:3215 tcp_ack_update_rtt+0x5a/0x1b0",
    "Call Trace:",
    " tcp_ack+0x9c9/0x1550",
    "---[ end trace 0000000000000000 ]---",
)
_HUNG: Final = (
    "INFO: task kworker/0:1:14 blocked for more than 120 seconds.",
    "Call Trace:",
    " schedule+0x27/0xc0",
    " rtnl_lock+0x15/0x20",
)


def _said(*texts: str) -> Plant:
    def planted(recording: Recording) -> Recording:
        records = tuple(
            LogRecord(facility=0, level=4, sequence=number, at_us=number, text=text)
            for number, text in enumerate(texts)
        )
        return replace(recording, kernel_log=LogExcerpt(records=records).as_dict())

    return planted


def _too_long(recording: Recording) -> Recording:
    return _said(*_WARNING)(resampled(lambda us: us + 5_000)(recording))


FAULTS: Final = (
    Fault(
        name="a warning",
        layer=Layer.KERNEL,
        what="the kernel warns of itself in tcp_ack_update_rtt(), and every sample is right",
        scenarios=("ping-pong", "loss"),
        apply=_said(*_WARNING),
        says="net/ipv4/tcp_input.c:3215 tcp_ack_update_rtt",
    ),
    Fault(
        name="a hung task",
        layer=Layer.KERNEL,
        what="a task waits for the rtnl lock for two minutes, and every sample is right",
        scenarios=("ping-pong",),
        apply=_said(*_HUNG),
        says="rtnl_lock",
    ),
    Fault(
        name="a warning and its consequence",
        layer=Layer.KERNEL,
        what="the kernel warns of itself, and every sample is 5 ms too long",
        scenarios=("ping-pong",),
        apply=_too_long,
        says="tcp_ack_update_rtt",
    ),
)
