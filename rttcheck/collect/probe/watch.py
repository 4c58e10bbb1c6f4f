"""One watch: what a loaded probe records from a start to a stop, with some filters.

Sets the program's settings and reads its counters in an order that keeps watches apart: nothing of one watch appears in
the next.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from rttcheck.collect.probe.bpf_object import BpfMap
from rttcheck.collect.probe.ring import EventRing
from rttcheck.errors import ProbeError
from rttcheck.record.event import CONFIG, COUNTS, ProbeMode

NAMESPACES_AT_MOST: Final = 256
"""How many network namespaces one watch can be limited to: the size of the program's map."""

_KEY: Final = struct.pack("=I", 0)
_CLOCK_MONOTONIC_COARSE: Final = 6


def ticks_per_second() -> int:
    """Return the kernel's HZ: the resolution of the coarse clocks, which advance once a tick, works on every kernel."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


class Loaded(Protocol):
    """What a watch needs of a loaded object, from any loader."""

    def map(self, name: str) -> BpfMap: ...
    def skipped(self) -> tuple[int, ...]: ...


class Watch:
    """What the probe records from :meth:`start` to :meth:`stop`. Made by ``Probe.watch()``.

    After ``stop`` no program is running any more and all readings are final: only then do events, histograms and
    losses surely cover the same calls. Before, each is a snapshot of its own moment.
    """

    def __init__(self, loaded: Loaded, ring: EventRing, number: int) -> None:
        self.number = number
        self._loaded = loaded
        self._ring = ring
        self._config = np.zeros((), CONFIG)
        self._maps = {name: loaded.map(name) for name in ("config", "counts", "namespaces", "calls", "barrier")}
        self._inner_fd = loaded.map("barrier_inner").fd
        self._skipped_before: tuple[int, ...] = ()
        self._final: tuple[np.ndarray, dict[str, int]] | None = None
        self._undelivered: np.ndarray | None = None

    def start(
        self,
        inodes: Sequence[int] | None,
        *,
        port: int,
        first_below_us: int,
        last_below_us: int,
        mode: ProbeMode,
    ) -> None:
        """Discard all earlier watches, set the filters and begin. Raises ProbeError, Refused."""
        if inodes is not None and len(inodes) > NAMESPACES_AT_MOST:
            raise ProbeError(
                f"a watch of {len(inodes)} network namespaces was asked for and the probe can filter at most "
                f"{NAMESPACES_AT_MOST}: watch fewer, or all (inodes=None)"
            )
        if not 0 <= port <= 65535:
            raise ProbeError(f"a watch of port {port} was asked for: ports are 1 to 65535, and 0 stands for all")
        self._maps["namespaces"].clear(4)
        for inode in inodes or ():
            self._maps["namespaces"].update(struct.pack("=I", inode), b"\1")
        self._maps["calls"].clear(8)
        self._maps["counts"].update(_KEY, bytes(COUNTS.itemsize))
        self._ring.take()
        self._skipped_before = self._loaded.skipped()
        config = self._config
        config["watch"] = self.number
        config["filter_netns"] = inodes is not None
        config["port"] = port
        config["hz"] = ticks_per_second()
        config["first_below_us"] = first_below_us
        config["last_below_us"] = last_below_us
        # Programs read the value while the kernel copies it: all else is in place before the mode turns them on.
        self._configure(ProbeMode(0))
        self._configure(mode)

    def stop(self) -> None:
        """End the watch; its readings remain. Stopping again does nothing."""
        if self._final is not None:
            return
        self._configure(ProbeMode(0))
        # Returns when all programs that were still running have ended (see the map's comment in the C source).
        self.settle()
        self._undelivered = self._fresh()
        counts, losses = self._read()
        losses["no_return"] += self._maps["calls"].clear(8)
        self._final = counts, losses

    def settle(self) -> None:
        """Wait for a grace period of RCU, and so for the callbacks that were queued before on this processor.

        Objects left from building a network are freed some 10 ms later, in a softirq that delays packets; after this
        call that has happened. Raises Refused.
        """
        self._maps["barrier"].update(_KEY, struct.pack("=I", self._inner_fd))

    def events(self) -> np.ndarray:
        """Return all events (dtype ``EVENT``, in order of arrival) not returned before: each is returned once.

        A process that reads seldom gets all events as long as they fit into the ring; the rest is counted as lost.
        """
        if self._undelivered is not None:
            events, self._undelivered = self._undelivered, self._undelivered[:0]
            return events
        return self._fresh()

    def poll(self, timeout_s: float) -> np.ndarray:
        """Return the same as :meth:`events`, but wait up to ``timeout_s`` for the first one. Empty when none came."""
        if self._final is None and not int(self._config["modes"]) & ProbeMode.WAKE:
            # Only now is there a waiting reader: waking readers costs the traffic an interrupt an event.
            self._configure(ProbeMode(int(self._config["modes"])) | ProbeMode.WAKE)
        events = self.events()
        if not len(events) and self._final is None and self._ring.wait(timeout_s):
            events = self._fresh()
        return events

    def histograms(self) -> dict[str, np.ndarray]:
        """Return the kernel's own histograms of first-acked samples, by unit ``us`` and ``ms``: 17 counts each.

        Buckets are nettrace's: [0, 1], [2, 3], [4, 7], ... and all from 65536 up in the last.
        """
        counts, _ = self._final or self._read()
        return {unit: counts[unit].copy() for unit in ("us", "ms")}

    @property
    def calls(self) -> int:
        """How many calls passed the filters and returned, whether or not their events were lost."""
        counts, _ = self._final or self._read()
        return int(counts["calls"])

    @property
    def losses(self) -> dict[str, int]:
        """Events lost so far, by reason.

        ``ring_full``: not read in time. ``no_return``, ``calls_full``: kprobe saw the entry of a call and not its
        return. ``no_identity``: no room to distinguish the socket from others. ``skipped``: the kernel ran no program,
        because all that are attached were running on that CPU already; of any namespace, and not counted before Linux
        5.12.
        """
        _, losses = self._final or self._read()
        return dict(losses)

    @property
    def lost(self) -> int:
        """Events lost so far, for any reason."""
        return sum(self.losses.values())

    def _configure(self, mode: ProbeMode) -> None:
        self._config["modes"] = mode
        self._maps["config"].update(_KEY, self._config.tobytes())

    def _fresh(self) -> np.ndarray:
        events = self._ring.take()
        ours: np.ndarray = events[events["watch"] == self.number]
        return ours

    def _read(self) -> tuple[np.ndarray, dict[str, int]]:
        raw = self._maps["counts"].lookup(_KEY, COUNTS.itemsize)
        counts: np.ndarray = np.frombuffer(raw, COUNTS)[0]
        losses = {
            name.removeprefix("lost_"): int(counts[name]) for name in COUNTS.names or () if name.startswith("lost_")
        }
        skips = [now - before for now, before in zip(self._loaded.skipped(), self._skipped_before, strict=True)]
        # A call that the first program missed was lost unless another one recorded it, and only if all missed it.
        losses["skipped"] = max(0, min((skips[0] - int(counts["stood_in"]), *skips[1:])))
        return counts, losses
