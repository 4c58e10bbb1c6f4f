"""What unit tests do not hang on: how fast the machine is, and how wide the terminal of whoever runs them."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 120 columns: tests look rows up by what they say, and a narrow table folds them."""
    monkeypatch.setenv("COLUMNS", "120")
