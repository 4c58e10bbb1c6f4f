"""What all of the project's own tests share: pytest's means of testing a plugin."""

from __future__ import annotations

pytest_plugins = ["pytester"]
