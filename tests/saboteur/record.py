"""Records scenarios on the running kernel while it is faulty: run inside a guest by `tests.saboteur.session`.

The module is loaded before the session of a fault begins (probes, control runs) and unloaded when it is over, so that
nothing is ever recorded of the sound kernel. It knows no verdict.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rttcheck.collect.collector import Collector, open_collector
from rttcheck.errors import RttcheckError
from rttcheck.record.recording import SUFFIX
from rttcheck.scenario.model import Scenario
from rttcheck_netns.errors import NetnsError

_PARAMETERS = Path("/sys/module/saboteur/parameters")
_INSMOD_S = 60.0
"""Deadline of loading or unloading the module, seconds of the guest's clock."""


class Unloadable(Exception):
    """The module is refused; the message is the kernel's."""


@contextmanager
def loaded(module: Path, parameters: Mapping[str, str | int]) -> Iterator[None]:
    """Load the module; it is unloaded when the context is left. Raises Unloadable."""
    _run("insmod", str(module), *(f"{name}={value}" for name, value in parameters.items()))
    try:
        yield
    finally:
        _run("rmmod", module.stem)


def main(directory: Path, plan: Mapping[str, Any]) -> None:
    """Do what ``plan`` asks for, recordings into ``directory``; each scenario is a line of JSON on standard output.

    ``plan`` has the ``module``, the ``probe`` and the ``engine``, keywords of `Scenario.make` by name (``scenarios``),
    and ``runs``: pieces of work with a ``fault``'s name, its ``directory``, ``parameters``, and names of ``scenarios``.
    """
    for work in plan["runs"]:
        into = directory / work["directory"]
        into.mkdir(parents=True, exist_ok=True)
        _say(fault=work["fault"], begun=True)
        try:
            with (
                loaded(Path(plan["module"]), work["parameters"]),
                open_collector(plan["probe"], engine=plan["engine"]) as collector,
            ):
                for name in work["scenarios"]:
                    _say(fault=work["fault"], scenario=name, begun=True)
                    told = _record(collector, Scenario.make(**plan["scenarios"][name]), into / f"{name}{SUFFIX}")
                    _say(fault=work["fault"], scenario=name, **told)
        except (Unloadable, RttcheckError) as error:
            _say(fault=work["fault"], error=str(error))


def _record(collector: Collector, scenario: Scenario, path: Path) -> dict[str, Any]:
    """Record a scenario; how often the fault has acted in its run, the control runs of virtual time left out."""
    try:
        if collector.clock == "virtual":
            collector.control(scenario)
        in_control, before, could = _count("hits"), _count("hits"), _count("could")
        recording = collector.record(scenario)
    except (RttcheckError, NetnsError) as error:
        return {"error": str(error)}
    if _count("refused"):
        return {"error": "the kernel's structures are not those that the module knows: give it their layout"}
    # The judge does not look at the captured frames, and they are half of the file.
    dataclasses.replace(recording, packets=b"").save(path)
    return {
        "kernel": recording.kernel,
        "probe": recording.probe,
        "second": recording.second_facts.get("probe", ""),
        "engine": recording.engine,
        "hits": _count("hits") - before,
        "could": _count("could") - could,
        "before": in_control,
    }


def _count(name: str) -> int:
    return int((_PARAMETERS / name).read_text())


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSMOD_S, check=False)
    if done.returncode:
        raise Unloadable(f"{' '.join(command)}: {done.stderr.strip()}")


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
