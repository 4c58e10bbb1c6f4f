"""What is to be run, as one process tells another: scenarios as keywords, probe, recordings, how verdicts are rendered.

Owns its JSON form, which crosses from the host into a guest, and the events that come back: ``ready``, ``begin``,
``result`` and ``refused``, one JSON object a line. It runs nothing.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

READY: Final = "ready"
"""The process is up: ``kernel``, and ``probe`` with ``tried``, its reasons."""
BEGIN: Final = "begin"
"""``scenario`` is being run."""
RESULT: Final = "result"
"""One scenario is done: ``row``, ``verdict`` (a dict, or null for an error), ``text`` (the verdict rendered)."""
REFUSED: Final = "refused"
"""Nothing more will come: ``sentence`` says why, ``status`` is the exit status that goes with it."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One scenario: its keywords, and ``source``, what the user calls it on the command line."""

    keywords: dict[str, Any]
    source: str

    @property
    def name(self) -> str:
        """The scenario's name."""
        return str(self.keywords["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything that is to be run on one kernel.

    ``recordings`` is a directory, one of its own for each kernel is made in it. ``width``, ``colour`` and
    ``ascii_only`` are those of the terminal that the verdicts are for. ``allowed`` are complaints of the kernel's that
    count for nothing, each as `Allowed.as_dict`; ``allow_splats`` is the file that they are from, as the user named it.
    """

    kernel: str
    clock: Literal["virtual", "real"]
    engine: str = "auto"
    probe: str
    recordings: str
    wanted: tuple[Wanted, ...]
    width: int = 100
    colour: bool = False
    ascii_only: bool = False
    allowed: tuple[dict[str, str], ...] = ()
    allow_splats: str = ""
    more: bool = False
    """Another order follows this one on the same standard input, for the same engine and probe."""
    judged: bool = True
    """Judge each recording. Who does so himself is spared what it takes in a guest: as long as the run took."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """What `to_json` wrote."""
        given = json.loads(text)
        wanted = tuple(Wanted(**wanted) for wanted in given["wanted"])
        return cls(**{**given, "wanted": wanted, "allowed": tuple(given["allowed"])})

    def reproduce(self, wanted: Wanted) -> str:
        """The command that runs one scenario of it again."""
        words = ["rttcheck", "run", wanted.source, "--kernel", self.kernel]
        if self.kernel != "host":
            words += ["--clock", self.clock]
        if self.engine != "auto":
            words += ["--engine", self.engine]
        if self.probe != "auto":
            words += ["--probe", self.probe]
        if self.allow_splats:
            words += ["--allow-splats", self.allow_splats]
        return shlex.join(words)
