"""What a recording holds beside its tables: each fact under its own name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rttcheck.collect import facts


def test_what_the_relays_account_lacks_has_its_own_names() -> None:
    lab: Any = SimpleNamespace(relay=SimpleNamespace(unrecorded=3, clock_set=1))
    assert facts.relay_facts(lab) == {"unrecorded": 3, "clock_set": 1}
    without: Any = SimpleNamespace(relay=None)
    assert facts.relay_facts(without) == {}


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("none (voluntary) full\n", "voluntary"),
        ("full (lazy)\n", "lazy"),
        ("(none) voluntary full lazy\n", "none"),
        ("", ""),
    ],
)
def test_the_preemption_model_is_the_one_in_force(
    text: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "preempt"
    path.write_text(text)
    monkeypatch.setattr(facts, "PREEMPTION", path)
    assert facts.preemption_model() == facts.machine_facts()["preemption"] == model


def test_a_kernel_that_does_not_tell_its_model_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PREEMPTION", tmp_path / "absent")
    assert facts.preemption_model() == ""
