"""Run a scenario in a lab and record it: scenario in, recording out.

The order matters: the lab is built first, the probe watches before the traffic starts, and the link is drained before
the watch ends. Judging the values is the judge's part.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np

import rttcheck_netns as netns
from rttcheck.collect.cores import ANYWHERE, Cores, choose_cores
from rttcheck.collect.engine import choose_engine
from rttcheck.collect.facts import current_clock, flow_facts, machine_facts, netem_facts, relay_facts
from rttcheck.collect.noise import NoiseTimers, open_noise, summary_of, timers_for
from rttcheck.collect.probe.probe import Probe, open_probe, open_second
from rttcheck.collect.spare_pages import give_back_spare_pages
from rttcheck.collect.stamp.stamps import Stamped, Stamps, open_stamps
from rttcheck.collect.timers import idle_ticks
from rttcheck.collect.traffic import FlowResult, run_traffic
from rttcheck.collect.wire.capture import Wire, frames_for, open_capture
from rttcheck.collect.wire.direct import with_link
from rttcheck.collect.wire.queued import Queued, watch_queues
from rttcheck.kernel_log.reader import KernelLog, open_kernel_log
from rttcheck.record.event import EVENT
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording, StepTaken
from rttcheck.record.tick import TICK
from rttcheck.record.write import WRITE
from rttcheck.scenario.model import Scenario
from rttcheck_netns.ending import close_and_wait
from rttcheck_netns.relay.packets import PACKET

DRAIN_DEADLINE_S = 10.0
"""How long the last packets in flight may take to arrive, seconds of the lab's clock."""


_MOST_HEADERS = 40 + 60
"""Bytes of the longest IP and TCP headers, IPv6 without extensions."""

_JUST_S = 2.0
"""In real time a control run is of the same machine for as long, seconds."""

HELD_NAMESPACES = 900
"""How many namespaces of finished labs are kept open: 300 labs, of some 0.9 MB of kernel memory each (6.12)."""

_ENDING_DEADLINE_S = 30.0
"""Deadline for destroying the closed ones, seconds of the lab's clock; 90 take 0.14 s (6.12 in virtual time)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRun:
    """The data of one run of traffic through one lab."""

    events: np.ndarray
    histograms: Mapping[str, np.ndarray]
    lost: int
    second: np.ndarray
    second_lost: int
    wire: Wire
    stamped: Stamped
    writes: np.ndarray
    flows: tuple[Mapping[str, Any], ...]
    steps: tuple[StepTaken, ...]
    netem: Mapping[str, Any]
    sysctls: Mapping[str, str]
    noise: np.ndarray
    timers: np.ndarray
    relay: np.ndarray
    relay_facts: Mapping[str, Any]
    scheduling: Mapping[str, str]
    """How the threads of the traffic and the relay were scheduled, as text."""
    log: KernelLog
    """The kernel's messages, until the lab is removed; taken once, for the first recording that uses this run."""
    ended_s: float
    """When it ended, CLOCK_MONOTONIC."""


@dataclass(slots=True)
class Collector:
    """Records scenarios on the running kernel with a probe that is loaded once.

    In virtual time control runs are kept for the session: scenarios with the same traffic over the same kind of lab
    share one. In real time a machine drifts, and each scenario has one just before and one just after, which is the one
    before the next scenario if that has the same traffic and begins at once.

    The empty namespaces of finished labs are kept open too: the kernel destroys a namespace in the background
    (``cleanup_net()``, then RCU callbacks), and a sample during that work is late by hundreds of microseconds, in
    virtual time too. When there are too many, half of them are closed at once, between two runs, and waited for.
    """

    probe: Probe
    clock: str
    engine: str = "netem"
    second: Probe | None = None
    """Another probe that watches at the same time; the judge compares the two, event by event."""
    cores: Cores = ANYWHERE
    noise: NoiseTimers = field(default_factory=NoiseTimers)
    stamps: Stamps = field(default_factory=lambda: Stamps(why_not="stamps of packets were not asked for"))
    allowed_splats: tuple[Mapping[str, str], ...] = ()
    """Which kernel splats the user allows; kept in every recording, for the judge."""
    _controls: dict[str, LabRun] = field(default_factory=dict)
    _held: deque[int] = field(default_factory=deque)

    def close(self) -> None:
        """Close the namespaces of all labs."""
        while self._held:
            os.close(self._held.popleft())

    def _hold(self, lab: netns.Lab) -> None:
        self._held += [os.dup(namespace.fd) for namespace in lab.namespaces]

    def _make_room(self) -> None:
        """Close old namespaces before a run, so that none of its samples coincides with their destruction."""
        if len(self._held) > HELD_NAMESPACES:
            oldest = [self._held.popleft() for _ in range(len(self._held) // 2)]
            close_and_wait(oldest, deadline_s=_ENDING_DEADLINE_S)

    def control(self, scenario: Scenario) -> LabRun:
        """Return the undelayed run of the scenario's traffic: in virtual time cached, in real time at most 2 s old.

        Without netem the link's node forwards, without any qdisc. A relay, which records when it released each packet,
        stays in the path, without delay.
        """
        control = scenario.control()
        key = _key(control)
        known = self._controls.get(key)
        if known is None or (self.clock != "virtual" and time.monotonic() - known.ended_s > _JUST_S):
            known = self._controls[key] = self._run(control, raw=False, impaired=self.engine != "netem")
        return known

    def _around(self, scenario: Scenario) -> tuple[LabRun, tuple[LabRun, ...]]:
        """Return the scenario's run and its control runs: the cached one, or one just before and just after."""
        before = self.control(scenario)
        run = self._run(scenario)
        if self.clock == "virtual":
            return run, (before,)
        del self._controls[_key(scenario.control())]
        return run, (before, self.control(scenario))

    def record(self, scenario: Scenario) -> Recording:
        """Run ``scenario`` (and its control run, if there is none yet) and return the recording.

        Raises TrafficError when the traffic fails, NetnsError when the lab cannot be built.
        """
        run, controls = self._around(scenario)
        flows = [flow for control in controls for flow in control.flows]
        excerpt = reduce(add, (one.log.take() for one in (*controls, run)))
        return Recording(
            scenario=scenario.keywords(),
            kernel=platform.release(),
            clock=self.clock,
            engine=self.engine,
            probe=self.probe.backend,
            view=self.probe.view,
            second=run.second,
            second_facts=self._second_facts(run),
            events=run.events,
            histograms=run.histograms,
            lost=run.lost,
            control=np.concatenate([control.events for control in controls]),
            control_lost=sum(control.lost for control in controls),
            control_runs=tuple(len(control.events) for control in controls),
            wire=run.wire.packets,
            wire_facts=run.wire.facts,
            control_wire=_by_point([control.wire.packets for control in controls]),
            stamps=run.stamped.rows,
            control_stamps=_by_point([control.stamped.rows for control in controls]),
            stamp_facts=_stamp_facts(run, controls),
            writes=run.writes,
            control_writes=_joined([control.writes for control in controls], [len(one.flows) for one in controls]),
            packets=run.wire.pcapng,
            flows=run.flows,
            control_flows=tuple({end: flow[end] for end in ("client", "server")} for flow in flows),
            noise=run.noise,
            timers=run.timers if self.clock == "virtual" else np.concatenate([control.noise for control in controls]),
            noise_facts=self._noise_facts(controls),
            relay=run.relay,
            relay_facts=run.relay_facts,
            steps=run.steps,
            netem={
                **run.netem,
                "control": {way: each["kind"] for way, each in controls[0].netem.get("statistics", {}).items()},
            },
            sysctls=run.sysctls,
            machine={**machine_facts(), "scheduling": dict(run.scheduling)},
            kernel_log=excerpt.as_dict() | {"allowed": list(self.allowed_splats)},
        )

    def _noise_facts(self, controls: Sequence[LabRun]) -> dict[str, Any]:
        if self.clock == "virtual":
            return {"why_not": "virtual time counts the guest's own instructions: the machine's load is not in it"}
        return {**self.noise.facts, "control": [summary_of(control.noise) for control in controls]}

    def _second_facts(self, run: LabRun) -> dict[str, Any]:
        if self.second is None:
            return {}
        return {"probe": self.second.backend, "view": self.second.view.as_dict(), "lost": run.second_lost}

    def _run(self, scenario: Scenario, *, raw: bool = True, impaired: bool = True) -> LabRun:
        steps: list[StepTaken] = []
        self._make_room()
        # The control run is captured as well, so that both runs have the cost of the captures.
        with (
            open_kernel_log() as log,
            # Started before the lab is built: a run of a tenth of a second alone would have too few ticks.
            self.noise.ticking() as ticked,
            open_lab(scenario, impaired=impaired, engine=self.engine, relay_cpu=self.cores.relay) as lab,
            open_capture(lab, frames=frames_for(scenario)) as capture,
            self.probe.watch(lab.inodes) as watch,
            self.second.watch(lab.inodes) if self.second is not None else nullcontext() as second,
            ExitStack() as ends,
        ):
            stamped = ends.enter_context(self.stamps.watch(_ends(lab)))
            # Where netem is on the ends' own interfaces, captures and stamps come after it.
            direct = scenario.topology == "direct"
            queued = ends.enter_context(watch_queues(_ends(lab)) if direct else nullcontext(Queued()))
            self._hold(lab)
            # Twice: the callbacks of the first grace period may queue more.
            watch.settle()
            watch.settle()

            def on_step(index: int) -> None:
                step = scenario.steps[index]
                lab.drain(deadline_s=DRAIN_DEADLINE_S)
                lab.impair(out=step.out, back=step.back)
                steps.append(StepTaken(at_ns=time.monotonic_ns(), index=index))

            timers = idle_ticks() if self.clock == "virtual" else np.zeros(0, dtype=TICK)
            traffic = run_traffic(
                lab,
                scenario,
                # In real time there is more than one processor, and each keeps its own pages.
                on_start=give_back_spare_pages if self.clock == "virtual" else None,
                on_step=on_step if scenario.steps else None,
                cores=self.cores,
            )
            # The ACK of the last FIN is still in flight when both ends have read the end of the stream.
            lab.drain(deadline_s=DRAIN_DEADLINE_S)
            noise = ticked()
            # From here on events and histograms are final and cover the same calls.
            watch.stop()
            if second is not None:
                second.stop()
            ends.close()
            wire = capture.read(raw=raw)
            if queued.seen:
                wire = with_link(wire, queued)
                stamped = Stamped(rows=queued.stamps, facts={"lost": queued.lost})
            return LabRun(
                events=watch.events(),
                histograms=watch.histograms(),
                lost=watch.lost,
                second=second.events() if second is not None else np.zeros(0, dtype=EVENT),
                second_lost=second.lost if second is not None else 0,
                wire=wire,
                stamped=stamped,
                writes=_writes(traffic.flows),
                flows=tuple(flow_facts(result) for result in traffic.flows),
                steps=tuple(steps),
                netem=netem_facts(lab),
                sysctls=dict(lab.sysctls),
                noise=noise,
                timers=timers,
                relay=lab.relay.packets() if lab.relay is not None else np.zeros(0, dtype=PACKET),
                relay_facts=relay_facts(lab),
                scheduling={"traffic": traffic.scheduling, **({"relay": lab.relay.scheduling} if lab.relay else {})},
                log=log,
                ended_s=time.monotonic(),
            )


@contextmanager
def open_collector(backend: str = "auto", *, engine: str = "auto") -> Iterator[Collector]:
    """Load and attach the probe, and yield a collector for the running kernel.

    Raises CapabilityError when no probe backend or no engine works here.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clock = current_clock()
    cores = ANYWHERE if clock == "virtual" else choose_cores()
    with (
        open_probe(backend) as probe,
        open_second(probe) as second,
        open_stamps() as stamps,
        open_noise({} if clock == "virtual" else timers_for(cores)) as noise,
        closing(
            Collector(
                probe=probe,
                clock=clock,
                second=second,
                engine=choose_engine(engine),
                cores=cores,
                noise=noise,
                stamps=stamps,
            )
        ) as collector,
    ):
        yield collector


def _key(control: Scenario) -> str:
    """Return a key that is equal for control runs that differ only in name."""
    return repr(sorted((name, value) for name, value in control.keywords().items() if name != "name"))


def _by_point(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate the packets of several runs, in order at each point."""
    packets = np.concatenate(tables)
    ordered: np.ndarray = packets[np.argsort(packets["point"], kind="stable")]
    return ordered


def _ends(lab: netns.Lab) -> dict[int, int]:
    """Return the network namespaces in which TCP stamps packets, and which point of the lab each is."""
    return {lab.client.namespace.inode: Point.CLIENT, lab.server.namespace.inode: Point.SERVER}


def _writes(flows: Sequence[FlowResult]) -> np.ndarray:
    """Return what the applications gave TCP to send, by connection and end."""
    parts = [np.zeros(0, dtype=WRITE)]
    for number, flow in enumerate(flows):
        for server, rows in enumerate((flow.client_writes, flow.server_writes)):
            rows["connection"], rows["server"] = number, server
            parts.append(rows)
    return np.concatenate(parts)


def _joined(tables: Sequence[np.ndarray], connections: Sequence[int]) -> np.ndarray:
    """Concatenate the writes of several runs; connection numbers continue."""
    writes = np.concatenate(tables)
    before = np.repeat(np.cumsum([0, *connections[:-1]]), [len(table) for table in tables])
    writes["connection"] += before.astype(np.uint32)
    return writes


def _stamp_facts(run: LabRun, controls: Sequence[LabRun]) -> dict[str, Any]:
    """Return how many stamps of the run and of its control runs were lost, or why there are none."""
    return {**run.stamped.facts, "control_lost": sum(int(one.stamped.facts.get("lost", 0)) for one in controls)}


@contextmanager
def open_lab(
    scenario: Scenario, *, impaired: bool = True, engine: str = "netem", relay_cpu: int | None = None
) -> Iterator[netns.Lab]:
    """Build the scenario's network, IPv4 and IPv6, and remove it at the end; ``impaired=False`` leaves netem out.

    ``relay_cpu`` is the core of the relay, where that is the engine.

    Raises NetnsError when the kernel refuses a part of it or reports other settings than were asked for.
    """
    build: Any = {"routed": netns.routed, "direct": netns.direct}[scenario.topology]
    if engine != "netem" and scenario.topology == "direct":
        raise netns.UnsupportedByEngine(
            f'topology="direct" has nothing between the two ends, and the engine {engine} works there: take a kernel '
            'with netem, such as --kernel debian:6.12, or topology="routed"'
        )
    if engine != "netem":
        build = partial(build, engine=engine, relay_cpu=relay_cpu)
    on, traffic = scenario.offloads, scenario.traffic
    # Less than a queue holds in all fits at any pace.
    limit = min(netem.limit for link in scenario.links for netem in link)
    fits = traffic.most_packets(scenario.mtu - _MOST_HEADERS) < limit
    with build(
        out=scenario.out if impaired else None,
        back=scenario.back if impaired else None,
        offloads=netns.Offloads(checksum=on, tso=on, gso=on, gro=on),
        sysctls=dict(scenario.sysctls),
        quickack=scenario.quickack,
        mtu=scenario.mtu,
        expected_rate_bytes=0 if fits else traffic.paced_bytes,
        # Each write is a segment of its own, or several.
        expected_packet_bytes=traffic.size if traffic.nodelay else 0,
    ) as lab:
        yield lab
