"""TCP traffic through a lab: real sockets in its namespaces, threads on both ends, one deadline for all.

It records what each application wrote and when; packets and samples are recorded elsewhere.
"""

from __future__ import annotations

from rttcheck.collect.traffic.result import TIMING, FlowResult, TrafficResult
from rttcheck.collect.traffic.run import run_traffic
from rttcheck.collect.traffic.tcp_info import TcpInfo

__all__ = ["TIMING", "FlowResult", "TcpInfo", "TrafficResult", "run_traffic"]
