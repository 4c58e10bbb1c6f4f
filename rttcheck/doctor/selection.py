"""Choose an engine and a probe: a table of all pairs in order of preference, and the best one.

`rttcheck.doctor.capabilities` tests which ones work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from rttcheck.doctor.capability import HOST, Capability, missing
from rttcheck.doctor.choices import AUTO
from rttcheck.errors import CapabilityError

ENGINE_CAPABILITIES: Final = {"netem": "sch_netem", "relay": "relay"}
"""Capability of each engine, the preferred one first."""

PROBE_PREFIX: Final = "probe "


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An engine and a probe. ``sees`` is the probe's coverage, ``why`` is what is missing, or empty."""

    engine: str
    probe: str
    sees: str
    why: str = ""

    @property
    def works(self) -> bool:
        """Whether both work."""
        return not self.why

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "works": self.works}


def pairs(capabilities: Iterable[Capability]) -> tuple[Pair, ...]:
    """Return every engine with every probe, the best pair first: the probe's coverage matters more than the engine."""
    known = {capability.name: capability for capability in capabilities}
    probes = [known[name] for name in known if name.startswith(PROBE_PREFIX)]
    found = []
    for probe in probes:
        for engine, name in ENGINE_CAPABILITIES.items():
            lacks = [
                # A capability that was not tested gives the reason in its detail; both may have the same.
                capability.lack or capability.detail
                for capability in (known.get(name), probe)
                if capability is not None and not capability.found
            ]
            if name not in known:
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
    """Return the first pair that works and shows samples, or None."""
    return next((pair for pair in table if pair.works and not pair.sees.startswith("smoothed")), None)


def select(capabilities: Iterable[Capability], engine: str = AUTO, probe: str = AUTO) -> Pair:
    """Return the pair for judging the running kernel; an engine or probe other than ``auto`` must work.

    Raises CapabilityError with all that is missing and the remedies.
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
                    f"{words} does not work on the running kernel: {capability.detail}: "
                    f"{capability.remedy or 'use auto'}"
                )
        table = [pair for pair in pairs(known) if engine in (AUTO, pair.engine) and probe in (AUTO, pair.probe)]
        chosen = best(table) if probe == AUTO else next((pair for pair in table if pair.works), None)
        if chosen is not None:
            return chosen
        lacking = [capability for capability in missing(known, HOST) if capability.name in either]
    # A capability without a remedy is explained by another missing one.
    remedies = "; ".join(
        f"{capability.lack or capability.name}: {capability.remedy}" for capability in lacking if capability.remedy
    )
    raise CapabilityError(f"the running kernel cannot be judged ({remedies})")
