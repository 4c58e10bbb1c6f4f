"""The name of another machine (``user@host``, ``host:2222``, an alias in ssh's configuration), and ssh's arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import RemoteError

CONNECT_S = 10
"""Deadline for a connection, seconds."""

ALIVE_S, ALIVE_TIMES = 5, 3
"""Seconds between ssh's keep-alive messages to a silent machine, and unanswered ones before ssh gives up."""

GONE_S = ALIVE_S * (ALIVE_TIMES + 1)
"""A machine that stops answering is detected within this many seconds (ssh_config(5), ServerAliveInterval: up to one
interval passes before the first message)."""

_HOST = re.compile(r"(?:[A-Za-z0-9_.+-]+@)?(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.%A-Za-z0-9]+\])(?::(?P<port>\d+))?")
_PYTHON = re.compile(r"[A-Za-z0-9_./+~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A machine for ssh; ``python`` is an interpreter there that has rttcheck's requirements."""

    text: str
    host: str
    port: int | None = None
    python: str = "python3"
    config: Path | None = None

    @classmethod
    def parse(cls, text: str, *, config: Path | None = None) -> Destination:
        """Parse ``[user@]host[:port][//python=PATH]``; ``config`` is a file for ``ssh -F``.

        Raises `RemoteError` for other text.
        """
        name, *options = text.split("//", 1)
        found = _HOST.fullmatch(name)
        if found is None or name.startswith("-") or found["host"].startswith("-"):
            raise RemoteError(f"{text!r} is no machine: write --rtt-on user@host, host:port or an ssh alias")
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 0 < port < 65536:
            raise RemoteError(f"{text!r} has port {port}, and the largest is 65535: write another")
        python = "python3"
        if options:
            key, _, python = options[0].partition("=")
            if key != "python" or not _PYTHON.fullmatch(python) or "//" in python:
                raise RemoteError(
                    f"{text!r} ends in {options[0]!r}, which is no option: write {name}//python=/path/to/bin/python"
                )
        if config is not None and not config.is_file():
            raise RemoteError(f"--rtt-ssh-config {config} is no file: give one that `ssh -F` takes, or omit the option")
        host = name if found["port"] is None else name.rpartition(":")[0]
        return cls(text=text, host=host.replace("[", "").replace("]", ""), port=port, python=python, config=config)

    def arguments(self) -> list[str]:
        """Return ssh's options, without ``-F``, and the host."""
        arguments = [
            *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"),
            *("-o", f"ServerAliveInterval={ALIVE_S}", "-o", f"ServerAliveCountMax={ALIVE_TIMES}"),
        ]
        if self.port is not None:
            arguments += ["-p", str(self.port)]
        return [*arguments, self.host]

    def command(self, remote: str) -> list[str]:
        """Return the ssh command that runs `remote` in the machine's shell."""
        return ["ssh", *(["-F", str(self.config)] if self.config is not None else []), *self.arguments(), remote]

    def spec(self, *, name: str, python: str) -> str:
        """Return the execnet spec of a gateway called `name`; `python` is its command, for the machine's shell.

        Raises `RemoteError` when a part contains ``//``, which separates the parts.
        """
        parts = [f"ssh={' '.join(self.arguments())}", f"id={name}", f"python={python}"]
        if self.config is not None:
            parts.insert(1, f"ssh_config={self.config}")
        for part in parts:
            if "//" in part:
                raise RemoteError(f"execnet separates parts with '//' ({part}): give paths without it")
        return "//".join(parts)
