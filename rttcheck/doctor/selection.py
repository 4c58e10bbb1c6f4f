"""Which engine and which probe go together on this machine: one table of all pairs, and the best one in it.

It owns the order of preference. It looks at nothing itself: what works is told by `rttcheck.doctor.capabilities`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from rttcheck.doctor.capability import HOST, Capability, missing
from rttcheck.doctor.choices import AUTO
from rttcheck.errors import CapabilityError

ENGINE_CAPABILITIES: Final = {"netem": "sch_netem", "relay": "relay"}
"""Engines by name, the preferred one first, and what stands for each among the capabilities."""

PROBE_PREFIX: Final = "probe "


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An engine and a probe. ``sees`` is the probe's coverage, ``why`` what is lacking, empty where both work."""

    engine: str
    probe: str
    sees: str
    why: str = ""

    @property
    def works(self) -> bool:
        """Whether a scenario can be run with it."""
        return not self.why

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**asdict(self), "works": self.works}


def pairs(capabilities: Iterable[Capability]) -> tuple[Pair, ...]:
    """Every engine with every probe, the best pair first: what a probe sees counts more than what delays."""
    known = {capability.name: capability for capability in capabilities}
    probes = [known[name] for name in known if name.startswith(PROBE_PREFIX)]
    found = []
    for probe in probes:
        for engine, stands in ENGINE_CAPABILITIES.items():
            lacks = [
                # What was not tried says why, and both may say the same.
                capability.lack or capability.detail
                for capability in (known.get(stands), probe)
                if capability is not None and not capability.found
            ]
            if stands not in known:
                continue
            found.append(
                Pair(
                    engine=engine,
                    probe=probe.name.removeprefix(PROBE_PREFIX),
                    sees=probe.sees,
                    why=" and ".join(dict.fromkeys(lacks)),
                )
            )
    return tuple(found)


def best(table: Iterable[Pair]) -> Pair | None:
    """The first pair that works and shows samples; None where there is none."""
    return next((pair for pair in table if pair.works and not pair.sees.startswith("smoothed")), None)


def select(capabilities: Iterable[Capability], engine: str = AUTO, probe: str = AUTO) -> Pair:
    """The pair to judge the running kernel with; names other than ``auto`` are taken or nothing is.

    Raises CapabilityError, naming all that is missing and its remedies.
    """
    known = tuple(capabilities)
    by_name = {capability.name: capability for capability in known}
    asked = {
        f"the engine {engine}": by_name.get(ENGINE_CAPABILITIES.get(engine, "")),
        f"the probe {probe}": by_name.get(f"{PROBE_PREFIX}{probe}"),
    }
    either = {*ENGINE_CAPABILITIES.values(), *(name for name in by_name if name.startswith(PROBE_PREFIX))}
    lacking = [capability for capability in missing(known, HOST) if capability.name not in either]
    if not lacking:
        for words, capability in asked.items():
            if capability is not None and not capability.found:
                raise CapabilityError(
                    f"{words} was asked for and does not work on the running kernel: {capability.detail}: "
                    f"{capability.remedy or 'leave the choice to auto'}"
                )
        table = [pair for pair in pairs(known) if engine in (AUTO, pair.engine) and probe in (AUTO, pair.probe)]
        chosen = best(table) if probe == AUTO else next((pair for pair in table if pair.works), None)
        if chosen is not None:
            return chosen
        lacking = [capability for capability in missing(known, HOST) if capability.name in either]
    # Without a remedy of its own: the lack of something else explains it.
    told = "; ".join(
        f"{capability.lack or capability.name}: {capability.remedy}" for capability in lacking if capability.remedy
    )
    raise CapabilityError(f"the running kernel was asked for and cannot be judged ({told})")
