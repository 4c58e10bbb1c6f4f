"""What a user calls another machine: ``user@host``, ``host:2222``, an alias of ssh's configuration.

Owns the grammar, and the words that ssh is given. It connects to nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import RemoteError

CONNECT_S = 10
"""Seconds in which a machine takes a connection, or is not there."""

ALIVE_S, ALIVE_TIMES = 5, 3
"""ssh asks a silent machine every so many seconds whether it is there, and gives it up after so many times."""

GONE_S = ALIVE_S * (ALIVE_TIMES + 1)
"""A machine that vanishes without a word is known to be gone within this many seconds (ssh_config(5),
ServerAliveInterval: up to one interval passes before the first question)."""

_HOST = re.compile(r"(?:[A-Za-z0-9_.+-]+@)?(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.%A-Za-z0-9]+\])(?::(?P<port>\d+))?")
_PYTHON = re.compile(r"[A-Za-z0-9_./+~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A machine as ssh knows it; ``python`` is the interpreter there that has rttcheck's requirements."""

    text: str
    host: str
    port: int | None = None
    python: str = "python3"
    config: Path | None = None

    @classmethod
    def parse(cls, text: str, *, config: Path | None = None) -> Destination:
        """``[user@]host[:port][//python=PATH]``; ``config`` is a file for ``ssh -F``.

        Raises `RemoteError` for what is none.
        """
        name, *options = text.split("//", 1)
        found = _HOST.fullmatch(name)
        if found is None or name.startswith("-") or found["host"].startswith("-"):
            raise RemoteError(f"{text!r} is no machine: write --rtt-on user@host, host:port or an alias of ssh's")
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 0 < port < 65536:
            raise RemoteError(f"{text!r} has port {port}, and ports end at 65535: write another")
        python = "python3"
        if options:
            key, _, python = options[0].partition("=")
            if key != "python" or not _PYTHON.fullmatch(python) or "//" in python:
                raise RemoteError(
                    f"{text!r} ends in {options[0]!r}, which says nothing: write {name}//python=/path/to/bin/python"
                )
        if config is not None and not config.is_file():
            raise RemoteError(f"--rtt-ssh-config {config} is no file: give one that `ssh -F` takes, or leave it away")
        host = name if found["port"] is None else name.rpartition(":")[0]
        return cls(text=text, host=host.replace("[", "").replace("]", ""), port=port, python=python, config=config)

    def words(self) -> list[str]:
        """ssh's options, without ``-F``, and where to."""
        words = [
            *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"),
            *("-o", f"ServerAliveInterval={ALIVE_S}", "-o", f"ServerAliveCountMax={ALIVE_TIMES}"),
        ]
        if self.port is not None:
            words += ["-p", str(self.port)]
        return [*words, self.host]

    def command(self, remote: str) -> list[str]:
        """ssh, to run `remote` in the shell there."""
        return ["ssh", *(["-F", str(self.config)] if self.config is not None else []), *self.words(), remote]

    def spec(self, *, name: str, python: str) -> str:
        """The execnet spec of a gateway called `name` whose Python is `python`, which the shell there reads."""
        parts = [f"ssh={' '.join(self.words())}", f"id={name}", f"python={python}"]
        if self.config is not None:
            parts.insert(1, f"ssh_config={self.config}")
        for part in parts:
            if "//" in part:
                raise RemoteError(f"execnet takes '//' for the end of a part ({part}): give paths without it")
        return "//".join(parts)
