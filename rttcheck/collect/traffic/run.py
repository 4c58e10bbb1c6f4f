"""Run a scenario's traffic through a lab: set up, pause all flows at each step, wait for the end, report failures."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rttcheck.collect.cores import ANYWHERE, Cores
from rttcheck.collect.traffic.endpoint import PeerClosed, open_listener
from rttcheck.collect.traffic.flow import AT_A_BARRIER, THROUGH, Flow
from rttcheck.collect.traffic.pattern import pattern_of
from rttcheck.collect.traffic.result import TrafficResult
from rttcheck.collect.traffic.server import Server
from rttcheck.collect.traffic.server_report import FlowFailed, ServerReports, TrafficPart
from rttcheck.collect.traffic.threads import Barrier, DeadlinePassed, TrafficThreads
from rttcheck.errors import ScenarioError, TrafficError

if TYPE_CHECKING:
    from rttcheck.scenario.model import Scenario
    from rttcheck.scenario.traffic import Traffic
    from rttcheck_netns import Lab

_REMEDIES = {
    errno.EADDRNOTAVAIL: "the client is out of ports, so make fewer connections",
    errno.ECONNREFUSED: "nothing listens there any more, so see what else runs in the lab",
    errno.ECONNRESET: "see what else runs in the lab and resets connections",
    errno.EHOSTUNREACH: "see that the lab's links are up and its neighbours are known",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or take fewer flows",
    errno.ENETUNREACH: "see that the lab's links are up and its routes are there",
    errno.ETIMEDOUT: "the kernel gave up retransmitting, so see that the link lets packets through",
}


def run_traffic(
    lab: Lab,
    scenario: Scenario,
    *,
    on_start: Callable[[], None] | None = None,
    on_step: Callable[[int], None] | None = None,
    cores: Cores = ANYWHERE,
) -> TrafficResult:
    """Run ``scenario.traffic`` from ``lab.client`` to ``lab.server``; return when the last FIN is acknowledged.

    All flows connect first and then start together (``connections``: each connects when its turn comes). Between the
    two, when all threads wait and nothing is in flight, ``on_start`` is called once in the calling thread. Where a step
    of the scenario is due (``Step.after`` exchanges or writes of each flow; for ``connections`` that many connections,
    for ``bulk`` that many writes of 64 KiB), all flows pause with nothing unacknowledged at either end, ``on_step(i)``
    is called once in the calling thread, and all continue when it returns. Without ``on_step`` nothing pauses. The
    deadline covers everything except the time in ``on_start`` and ``on_step``, which have their own deadlines.
    ``cores`` sets where the threads of both ends run.

    Raises TrafficError when the deadline passes or a connection fails, ScenarioError for a step or a pace that the
    traffic never reaches, and whatever ``on_start`` and ``on_step`` raise; in each case no thread and no socket is
    left.
    """
    traffic = replace(scenario.traffic, deadline_s=scenario.deadline_s)
    connections = traffic.flows * (traffic.count if traffic.kind == "connections" else 1)
    flows: list[Flow] = []
    begun_ns = time.monotonic_ns()
    try:
        with TrafficThreads(deadline_s=traffic.deadline_s, cores=cores) as threads:
            start, pauses, parts = _plan(threads, scenario, pause=on_step is not None)
            listener = open_listener(threads, lab.server, traffic, family=scenario.family, backlog=traffic.flows)
            address = listener.getsockname()
            reports = ServerReports(threads)
            tickets = itertools.count()
            for index in range(traffic.flows):
                flow = Flow(
                    index=index,
                    traffic=traffic,
                    family=scenario.family,
                    threads=threads,
                    reports=reports,
                    client_host=lab.client,
                    server_address=(address[0], address[1]),
                    pattern=pattern_of(traffic),
                    start=start,
                    parts=parts,
                )
                flows.append(flow)
                server = Server(
                    index=index,
                    traffic=traffic,
                    threads=threads,
                    reports=reports,
                    listener=listener,
                    pattern=pattern_of(traffic),
                    start=start,
                    parts=parts,
                    tickets=tickets,
                    connections=connections,
                )
                threads.spawn(f"server {index}", server.run)
                threads.spawn(f"client {index}", flow.run)
            threads.await_all_at(start)
            if on_start is not None:
                with threads.clock_stopped():
                    on_start()
            start.opened.set()
            for step, barrier in pauses:
                threads.await_all_at(barrier)
                assert on_step is not None  # no pauses are planned without it
                with threads.clock_stopped():
                    on_step(step)
                barrier.opened.set()
            threads.await_end()
    except DeadlinePassed:
        raise TrafficError(_late(flows, traffic)) from None
    except FlowFailed as failed:
        raise TrafficError(_failed(flows, failed, time.monotonic_ns() - begun_ns)) from failed.cause
    return TrafficResult(tuple(result for flow in flows for result in flow.results), threads.scheduling)


def _plan(
    threads: TrafficThreads, scenario: Scenario, *, pause: bool
) -> tuple[Barrier, list[tuple[int, Barrier]], list[TrafficPart]]:
    """Return the start barrier, the pauses as (step, barrier) in order, and the parts of traffic between them."""
    traffic = replace(scenario.traffic, deadline_s=scenario.deadline_s)
    total = traffic.count if traffic.kind == "connections" else pattern_of(traffic).writes
    takes_s = (total - 1) * traffic.interval_us / 1e6
    if takes_s > traffic.deadline_s:
        raise ScenarioError(
            f"{total} writes, one every {traffic.interval_us / 1000:g} ms, take {takes_s:g} s and the deadline is "
            f"{traffic.deadline_s:g} s: lower count or interval, or raise the deadline"
        )
    # With `connections` any server thread may accept any connection, so that only the clients wait at barriers.
    parties = traffic.flows * (1 if traffic.kind == "connections" else 2)
    start = threads.barrier(parties)
    pauses: list[tuple[int, Barrier]] = []
    parts: list[TrafficPart] = []
    at = 0
    steps = sorted(enumerate(scenario.steps), key=lambda numbered: numbered[1].after) if pause else []
    for index, step in steps:
        if not 0 <= step.after <= total:
            raise ScenarioError(
                f"step {index} comes after {step.after} {_unit(traffic)} and there are {total} of them in a flow: "
                f"give it an after between 0 and {total}"
            )
        barrier = threads.barrier(parties)
        pauses.append((index, barrier))
        parts.append(TrafficPart(at, step.after, barrier))
        at = step.after
    parts.append(TrafficPart(at, total, None))
    return start, pauses, parts


def _unit(traffic: Traffic) -> str:
    return {"pingpong": "exchanges", "connections": "connections"}.get(traffic.kind, "writes")


def _progress(flow: Flow) -> str:
    traffic = flow.traffic
    if traffic.kind == "connections":
        done, total = len(flow.results), traffic.count
    else:
        done, total = flow.columns.done() if flow.columns else 0, flow.pattern.writes
    return f"{done} of {total} {_unit(traffic)} done"


def _who(flow: Flow) -> str:
    client = "{} port {}".format(*flow.address) if flow.address else "not connected"
    server = "{} port {}".format(*flow.server_address)
    return f"{flow.traffic.kind} flow {flow.index} ({client} to {server})"


def _late(flows: list[Flow], traffic: Traffic) -> str:
    unfinished = [flow for flow in flows if flow.phase != THROUGH]
    if not unfinished:
        return f"{traffic.kind} traffic was not over by its deadline of {traffic.deadline_s:g} s: raise the deadline"
    # A client at a barrier waits for another flow: name that flow, or what is awaited when no client is behind.
    behind = [flow for flow in unfinished if flow.phase != AT_A_BARRIER]
    held_up = behind or unfinished
    doing = behind[0].phase if behind else "waiting for the ACK of the server's data"
    first, others = held_up[0], len(unfinished) - 1
    besides = f" (and {others} more flow{'s' if others > 1 else ''})" if others else ""
    return (
        f"{_who(first)}{besides} was still {doing}, {_progress(first)}, when its deadline of "
        f"{traffic.deadline_s:g} s passed: see that the link lets packets through (its qdiscs count drops), "
        "or raise the deadline"
    )


def _failed(flows: list[Flow], failed: FlowFailed, after_ns: int) -> str:
    flow = next((flow for flow in flows if failed.client and flow.address == failed.client), flows[failed.index])
    cause = failed.cause
    if isinstance(cause, PeerClosed):
        reason, remedy = "the other end closed too early", "see what else runs in the lab and closes connections"
    else:
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        remedy = _REMEDIES.get(cause.errno or 0, "see that the lab's links and routes are as the scenario defines them")
    return (
        f"{_who(flow)} failed on the {failed.side}'s side while {flow.phase}, {_progress(flow)}, "
        f"after {after_ns / 1e9:.3g} s ({reason}): {remedy}"
    )
