"""What a recording holds beside its tables, in JSON types: machine, clock, link and connections."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

import rttcheck
import rttcheck_netns as netns
from rttcheck.collect.traffic import FlowResult
from rttcheck_netns.lab import DIRECTIONS

PREEMPTION: Final = Path("/sys/kernel/debug/sched/preempt")


def current_clock() -> str:
    """Return ``virtual`` in a guest whose time counts instructions, else ``real``."""
    return os.environ.get("RTTCHECK_CLOCK", "real")


def machine_facts() -> dict[str, Any]:
    """Return the versions of software and machine for readers of the recording."""
    return {
        "rttcheck": rttcheck.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "kernel_version": platform.version(),
        "preemption": preemption_model(),
        "byteorder": sys.byteorder,
        "recorded_unix_s": int(time.time()),
    }


def preemption_model() -> str:
    """Return the kernel's preemption model: ``none``, ``voluntary``, ``full`` or ``lazy``; empty where it is not told.

    Source: ``sched_dynamic_show()`` (kernel/sched/debug.c), which puts the model in force into parentheses.
    """
    with suppress(OSError):
        found = re.search(r"\((\w+)\)", PREEMPTION.read_text())
        return found.group(1) if found else ""
    return ""


def relay_facts(lab: netns.Lab) -> dict[str, Any]:
    """Return what the relay's own account lacks; nothing where netem delays."""
    if lab.relay is None:
        return {}
    return {"unrecorded": lab.relay.unrecorded, "clock_set": lab.relay.clock_set}


def netem_facts(lab: netns.Lab) -> dict[str, Any]:
    """Return the link's state after the traffic: the settings that the kernel confirmed, and its counters."""
    return {
        **{direction: netem.changed() for direction, netem in (("out", lab.out), ("back", lab.back)) if netem},
        "held": {direction: str(lab.held(direction)) for direction in DIRECTIONS},
        "statistics": {name: dataclasses.asdict(counters) for name, counters in lab.statistics().items()},
    }


def flow_facts(result: FlowResult) -> dict[str, Any]:
    """Return a connection as the recording keeps it, in JSON types."""
    waits_ns = result.timings["done_ns"] - result.timings["sent_ns"]
    return {
        "client": list(result.client_address),
        "server": list(result.server_address),
        "client_cookie": result.client_cookie,
        "server_cookie": result.server_cookie,
        "started_ns": result.started_ns,
        "connected_ns": result.connected_ns,
        "finished_ns": result.finished_ns,
        "waits_ns": [int(wait) for wait in waits_ns],
        "client_info": result.client_info.as_dict(),
        "server_info": result.server_info.as_dict(),
    }
