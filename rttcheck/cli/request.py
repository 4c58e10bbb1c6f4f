"""A run as a request that one process sends to another, and the events that come back.

A request holds scenarios as keywords, engine, probe, recordings directory and how verdicts are rendered. It crosses
from the host into a guest as plain values. Events come back the same way: ``ready``, ``begin``, ``result`` and
``refused``.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

READY: Final = "ready"
"""The process is up: ``kernel``, ``probe``, and ``tried``, why that probe was chosen."""
BEGIN: Final = "begin"
"""``scenario`` begins."""
RESULT: Final = "result"
"""One scenario is done: ``row``, ``verdict`` (a dict, or null for an error), ``text`` (the verdict rendered).

Where the caller judges: a row without verdict, and ``complaint``, what the kernel logged meanwhile."""
REFUSED: Final = "refused"
"""The last event of a run that an error ended: ``sentence`` is the message, ``status`` its exit status."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRequest:
    """One scenario: its keywords, and ``source``, its name on the command line."""

    keywords: dict[str, Any]
    source: str

    @property
    def name(self) -> str:
        """The scenario's name."""
        return str(self.keywords["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The scenarios to run on one kernel, and how.

    ``recordings`` is a directory; each kernel gets a subdirectory of its own. ``width``, ``colour`` and ``ascii_only``
    describe the terminal that shows the verdicts. ``allowed`` are the kernel complaints that fail nothing, each as
    `Allowed.as_dict`; ``allow_splats`` is the path of the file that lists them, as given by the user.
    """

    kernel: str
    clock: Literal["virtual", "real"]
    engine: str = "auto"
    probe: str
    recordings: str
    scenarios: tuple[ScenarioRequest, ...]
    width: int = 100
    colour: bool = False
    ascii_only: bool = False
    allowed: tuple[dict[str, str], ...] = ()
    allow_splats: str = ""
    judge: bool = True
    """Judge each recording. False where the caller judges: in a guest, judging takes as long as the run."""

    def as_dict(self) -> dict[str, Any]:
        """Return the request as plain values."""
        return asdict(self)

    @classmethod
    def of_dict(cls, given: dict[str, Any]) -> RunRequest:
        """Return the request that `as_dict` returned, also with lists for tuples."""
        scenarios = tuple(ScenarioRequest(**scenario) for scenario in given["scenarios"])
        return cls(**{**given, "scenarios": scenarios, "allowed": tuple(given["allowed"])})

    def reproduce(self, scenario: ScenarioRequest) -> str:
        """Return the command that runs one of its scenarios again."""
        words = ["rttcheck", "run", scenario.source, "--kernel", self.kernel]
        if self.kernel != "host":
            words += ["--clock", self.clock]
        if self.engine != "auto":
            words += ["--engine", self.engine]
        if self.probe != "auto":
            words += ["--probe", self.probe]
        if self.allow_splats:
            words += ["--allow-splats", self.allow_splats]
        return shlex.join(words)
