"""Results and capabilities as JSON documents for programs: one object each, keys that are documented here.

Owns the keys. A time's key ends in its unit (``_us``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rttcheck.collect.capability import Capability
from rttcheck.collect.selection import Pair
from rttcheck.kernels.choice import Choice
from rttcheck.report.terminal import Row


def doctor_document(
    capabilities: Sequence[Capability], choice: Choice | None, refusal: str, pairs: Sequence[Pair] = ()
) -> str:
    """``possible``; ``auto``: kernel, clock and reasons, or null; ``refusal``: why null; ``capabilities``: all of them.

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
    """``kernel``, ``clock``, ``reasons`` of the run; ``exit_status``; ``results``: each row with its whole ``verdict``.

    ``verdict`` is null for a scenario that came to none: an error, or a lost guest.
    """
    results = [{**row, "verdict": verdict} for row, verdict in zip(rows, verdicts, strict=True)]
    return _text({**machine, "exit_status": int(status), "results": results})


def session_document(rows: Sequence[Row], *, kernels: Sequence[Mapping[str, Any]], status: int) -> str:
    """A session of pytest's: ``exit_status``; ``kernels``; ``results``.

    Each kernel: ``asked`` (what the user calls it), ``release``, ``where`` (the machine, empty for this one),
    ``attempts``, ``seconds_to_first_test`` and ``seconds``, ``tests``, ``lost`` (tests without a result) and
    ``losses`` (why each guest that was lost was lost, with the end of its console). Each result is a scenario's row:
    ``scenario``, ``asked``, ``test``, ``outcome`` (passed, failed, inconclusive, lost), ``guilty`` layer and
    ``reason``, ``injected``, ``samples``, ``min_us``, ``p50_us``, ``max_us``, ``slack_us`` (-1 where there is none),
    ``bucket``, ``lost`` events, ``not_run`` checks, ``kernel`` (the release), ``clock``, ``engine``, ``probe``,
    ``recording`` (a path). Of a lost test only the first five of these are there.
    """
    return _text({"exit_status": int(status), "kernels": [dict(kernel) for kernel in kernels], "results": list(rows)})


def judge_document(
    rows: Sequence[Row], verdicts: Sequence[Mapping[str, Any]], *, refused: Sequence[str], status: int
) -> str:
    """``exit_status``; ``refused``: a sentence for each file that could not be judged; ``results`` as in a run's."""
    results = [{**row, "verdict": verdict} for row, verdict in zip(rows, verdicts, strict=True)]
    return _text({"exit_status": int(status), "refused": list(refused), "results": results})


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)
