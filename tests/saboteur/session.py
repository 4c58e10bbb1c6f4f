"""Guests in which the saboteur is at work: faults and scenarios in, what was recorded out, one at a time.

It owns a guest's boot, its deadlines, and what becomes of the work when one dies. One guest runs at a time.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rttcheck.errors import KernelError
from rttcheck.kernels.guest import EXIT_LOST, GuestSettings, launcher_command
from rttcheck.record.recording import SUFFIX
from tests.saboteur.build import module_for
from tests.saboteur.catalogue import SCENARIOS
from tests.saboteur.fault import RealFault

PROJECT: Final = Path(__file__).parents[2]

_BOOT_S = 240.0
_SILENCE_S = 180.0
"""Deadline between two scenarios, seconds of the host's clock; on a quiet machine one takes two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A fault and the names of the scenarios that it is tried in."""

    fault: RealFault
    scenarios: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What came of one scenario under one fault.

    ``hits``: how often the fault has acted in the run; ``could``: how often it could have; ``before``: how often it had
    acted in that session before. ``path`` is the recording, None where there is none, and ``error`` says why.
    """

    fault: str
    scenario: str
    path: Path | None = None
    error: str = ""
    kernel: str = ""
    probe: str = ""
    second: str = ""
    engine: str = ""
    hits: int = 0
    could: int = 0
    before: int = 0


def record(
    kernel: str, works: Sequence[Work], directory: Path, *, probe: str = "auto", engine: str = "auto"
) -> Iterator[Recorded]:
    """Do the ``works`` on the kernel that a spec names, recordings below ``directory``; as each is recorded.

    A guest that dies takes the scenario with it that it was at, and the rest is done in another one. Raises KernelError
    when the module cannot be built, or a guest ends otherwise than by dying at its work.
    """
    module = module_for(kernel)
    left = [work for work in works if work.scenarios]
    while left:
        with closing(_guest(kernel, module, left, directory, probe, engine)) as guest:
            for recorded in guest:
                yield from spread(left, recorded)
                left = without(left, recorded)


def spread(works: Sequence[Work], recorded: Recorded) -> list[Recorded]:
    """What was recorded; an error that names no scenario once for each scenario of the fault that is left."""
    if recorded.scenario:
        return [recorded]
    names = [name for work in works if work.fault.name == recorded.fault for name in work.scenarios]
    return [replace(recorded, scenario=name) for name in names]


def without(works: Sequence[Work], recorded: Recorded) -> list[Work]:
    """The works without what is done; an error that names no scenario ends a fault's work."""
    left = []
    for work in works:
        names = work.scenarios
        if work.fault.name == recorded.fault:
            names = tuple(name for name in names if recorded.scenario and name != recorded.scenario)
        if names:
            left.append(Work(fault=work.fault, scenarios=names))
    return left


def _guest(
    kernel: str, module: Path, works: Sequence[Work], directory: Path, probe: str, engine: str
) -> Generator[Recorded, None, None]:
    """One guest; its last item is what it died of."""
    directory.mkdir(parents=True, exist_ok=True)
    plan = {
        "module": str(module),
        "probe": probe,
        "engine": engine,
        "scenarios": {name: SCENARIOS[name] for work in works for name in work.scenarios},
        "runs": [
            {
                "fault": work.fault.name,
                "directory": work.fault.directory,
                "parameters": work.fault.parameters,
                "scenarios": work.scenarios,
            }
            for work in works
        ],
    }
    settings = GuestSettings(
        kernel=kernel, console=directory / "console", rw=directory, boot_s=_BOOT_S, silence_s=_SILENCE_S
    )
    directories = {work.fault.name: work.fault.directory for work in works}
    with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".json") as file, tempfile.TemporaryFile() as said:
        json.dump(plan, file)
        file.flush()
        command = [*launcher_command(settings), "-m", "tests.saboteur.record", str(directory), file.name]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True, cwd=PROJECT
        ) as process:
            begun: dict[str, Any] = {}
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    facts = json.loads(line)
                    if facts.pop("begun", False):
                        begun = facts
                        continue
                    begun = {}
                    yield _recorded(facts, directory / directories[facts["fault"]])
            finally:
                process.terminate()
        if process.returncode:
            said.seek(0)
            why = f"the guest ended with status {process.returncode}: {said.read().decode(errors='replace')[-1500:]}"
            if not begun or process.returncode != EXIT_LOST:
                raise KernelError(f"faults were to be recorded on {kernel} and {why}")
            yield Recorded(fault=begun["fault"], scenario=begun.get("scenario", ""), error=why)


def _recorded(facts: dict[str, Any], directory: Path) -> Recorded:
    scenario = facts.pop("scenario", "")
    path = directory / f"{scenario}{SUFFIX}" if "error" not in facts else None
    return Recorded(scenario=scenario, path=path, **facts)
