"""Results and capabilities as JSON documents, one object each. A time's key ends in its unit (``_us``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rttcheck.doctor.capability import Capability
from rttcheck.doctor.kernel_choice import Choice
from rttcheck.doctor.selection import Pair
from rttcheck.report.terminal import Row

FORMAT = 2
"""Increases when a key is removed or changes its meaning; new keys may be added at any time."""

_JUDGED_WITH = ("clock", "engine", "probe")


def doctor_document(
    capabilities: Sequence[Capability], choice: Choice | None, refusal: str, pairs: Sequence[Pair] = ()
) -> str:
    """Return ``possible``; ``auto``: kernel, clock and reasons, or null; ``refusal``: why null; ``capabilities``.

    Each capability: ``name``, ``found``, ``detail``, ``remedy``, ``lack``, ``needed_for`` ("running kernel", "guest",
    "nothing"), ``alternatives``, ``kernels``, ``sees``. ``selection``: each engine with each probe, the best first.
    """
    return _text(
        {
            "possible": choice is not None,
            "auto": None
            if choice is None
            else {"kernel": choice.kernel, "clock": choice.clock, "reasons": list(choice.reasons)},
            "refusal": refusal,
            "selection": [pair.as_dict() for pair in pairs],
            "capabilities": [capability.as_dict() for capability in capabilities],
        }
    )


def run_document(
    rows: Sequence[Row], verdicts: Sequence[Mapping[str, Any] | None], *, machine: Mapping[str, Any], status: int
) -> str:
    """Return the facts of the run, ``exit_status``, and ``results``: each row with its whole ``verdict``.

    ``verdict`` is null for a scenario without one: an error, or a lost guest.
    """
    results = [{**row, "verdict": verdict} for row, verdict in zip(rows, verdicts, strict=True)]
    return _text({"format": FORMAT, **machine, "exit_status": int(status), "results": results})


def session_document(rows: Sequence[Row], *, kernels: Sequence[Mapping[str, Any]], status: int) -> str:
    """Return a pytest session: ``format``, ``exit_status``, ``kernels``, ``results``; see docs/json.md.

    ``kernels`` are `KernelRun.facts`; clock, engine and probe of a kernel come from its rows.
    """
    known = {str(row.get("asked", "")): row for row in reversed(rows) if row.get("kernel")}
    described = [
        {**kernel, **{key: known.get(str(kernel.get("asked", "")), {}).get(key, "") for key in _JUDGED_WITH}}
        for kernel in kernels
    ]
    return _text({"format": FORMAT, "exit_status": int(status), "kernels": described, "results": list(rows)})


def judge_document(
    rows: Sequence[Row], verdicts: Sequence[Mapping[str, Any]], *, refused: Sequence[str], status: int
) -> str:
    """Return ``exit_status``; ``refused``: a message for each file not judged; ``results`` as in a run."""
    results = [{**row, "verdict": verdict} for row, verdict in zip(rows, verdicts, strict=True)]
    return _text({"format": FORMAT, "exit_status": int(status), "refused": list(refused), "results": results})


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)
