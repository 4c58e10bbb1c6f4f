"""The ledger of the saboteur's faults: the word that each entry comes to, and a file that is continued."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rttcheck.judge.findings import Layer
from tests.faults.truth import DIRECTORY
from tests.saboteur.ledger import Entry, Ledger, Word

ENTRY = Entry(where="6.12", fault="stamps early, 20 us", scenario="bbr", hits=7, could=7, outcome="passed")


@pytest.mark.parametrize(
    ("entry", "guilty", "word"),
    [
        (ENTRY, Layer.SAMPLE, Word.UNSEEN),
        (replace(ENTRY, outcome="failed", layer="sample"), Layer.SAMPLE, Word.FOUND),
        (replace(ENTRY, outcome="failed", layer="link"), Layer.SAMPLE, Word.MISBLAMED),
        (replace(ENTRY, outcome="inconclusive", layer="sample"), Layer.SAMPLE, Word.UNSURE),
        (replace(ENTRY, hits=0), Layer.SAMPLE, Word.UNUSED),
        (replace(ENTRY, hits=0, outcome="failed", layer="sample"), Layer.SAMPLE, Word.ALARM),
        (ENTRY, None, Word.UNUSED),
        (replace(ENTRY, outcome="inconclusive", layer="link"), None, Word.ALARM),
        (replace(ENTRY, outcome="", error="the guest died"), Layer.SAMPLE, Word.LOST),
    ],
)
def test_an_entry_comes_to_a_word(entry: Entry, guilty: Layer | None, word: Word) -> None:
    assert entry.word(guilty) is word


def test_a_ledger_is_continued_and_the_last_entry_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    first = Ledger(path)
    other = replace(ENTRY, scenario="loss")
    for entry in (ENTRY, other, replace(ENTRY, hits=9)):
        first.add(entry)
    second = Ledger(path)
    assert list(second) == [replace(ENTRY, hits=9), other]
    assert ENTRY.key in second
    assert second.get(("6.1", "none", "loss")) is None
    second.write([replace(other, outcome="failed")])
    assert len(path.read_text().splitlines()) == 2
    assert Ledger(path).get(other.key) == replace(other, outcome="failed")


def test_an_entry_is_judged_anew_from_its_recording() -> None:
    judged = replace(ENTRY, outcome="failed", layer="link", path=str(DIRECTORY / "ping-pong.rttrec")).judged()
    assert (judged.outcome, judged.layer, judged.message) == ("passed", "", "")


def test_a_recording_that_cannot_be_read_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    judged = replace(ENTRY, path=str(tmp_path / "none.rttrec")).judged()
    assert judged.word(Layer.SAMPLE) is Word.LOST
    assert "there is no recording" in judged.error
