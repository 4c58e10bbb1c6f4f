"""Find out which engine can delay a lab's packets on this kernel: try each for real, and choose one that works."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import rttcheck_netns as netns
from rttcheck.errors import CapabilityError
from rttcheck_netns import Namespace, Netem, NetnsError
from rttcheck_netns.netlink import Channel
from rttcheck_netns.qdisc import add_netem


@dataclass(frozen=True, slots=True)
class EngineAttempt:
    """An engine that was tried, and the result; ``reason`` quotes the kernel where it refused."""

    engine: str
    ok: bool
    reason: str


def try_netem() -> EngineAttempt:
    """Install netem on the loopback of a throwaway namespace."""
    loopback = 1
    # Without the rest of the lab's message: only the kernel's own text is wanted here.
    request = replace(add_netem(loopback, Netem(delay_ns=1_000_000)), refusal=None)
    try:
        with Namespace.create() as namespace, Channel(namespace) as channel:
            channel.transact([request])
    except NetnsError as error:
        found = re.search(r"the kernel reports '(.+)'", str(error))
        return EngineAttempt("netem", False, f"the kernel reports: {found.group(1)}" if found else str(error))
    return EngineAttempt("netem", True, "installed in a throwaway namespace")


def try_relay() -> EngineAttempt:
    """Build a lab whose link is a relay, and remove it again."""
    try:
        with netns.routed(engine="relay"):
            pass
    except NetnsError as error:
        return EngineAttempt("relay", False, str(error))
    return EngineAttempt("relay", True, "forwarded a lab's link in a throwaway network")


TRIES: Final[dict[str, Callable[[], EngineAttempt]]] = {"netem": try_netem, "relay": try_relay}
"""By name, in the order in which ``auto`` tries them."""

ENGINES: Final = tuple(TRIES)


def choose_engine(asked: str = "auto") -> str:
    """Return the engine of this name if it works here, or for ``auto`` the first that does.

    Raises CapabilityError with the reason of each that was tried.
    """
    if asked != "auto" and asked not in TRIES:
        raise CapabilityError(f"the engine {asked!r} was asked for and there are: auto, {', '.join(ENGINES)}")
    tried = []
    for name in ENGINES if asked == "auto" else (asked,):
        attempt = TRIES[name]()
        if attempt.ok:
            return name
        tried.append(f"{name}: {attempt.reason}")
    raise CapabilityError(
        f"nothing can delay packets on this kernel ({asked} was asked for): {'; '.join(tried)}: run on another kernel, "
        "for instance in a guest"
    )
