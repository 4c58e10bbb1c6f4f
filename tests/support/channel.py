"""An execnet channel as the guest's side of a run sees it: requests to receive, and what was sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rttcheck.cli.request import RunRequest


class Channel:
    """Yields the requests, then None; keeps what is sent, as gateways serialise it."""

    def __init__(self, requests: Iterable[RunRequest]) -> None:
        self._requests = [*(request.as_dict() for request in requests), None]
        self.sent: list[Any] = []

    def receive(self) -> Any:
        """The next request; None after the last."""
        return over_a_gateway(self._requests.pop(0))

    def send(self, event: Any) -> None:
        """Keep an event."""
        self.sent.append(over_a_gateway(event))


def over_a_gateway(value: Any) -> Any:
    """The value at the other end. Raises execnet.DumpError for what a gateway cannot carry."""
    import execnet

    return execnet.loads(execnet.dumps(value))
