"""A reference implementation of the kernel's round-trip arithmetic, one socket and one sample at a time.

Independent of the code under test: branches where `rttcheck.judge` has arrays. Its fields introduce faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rttcheck.record.event import FLAG_ACK_MAYBE_DELAYED

U32 = 2**32


@dataclass
class Kernel:
    """One socket of a kernel; any value other than its default is a fault."""

    hz: int = 250
    rto_min_us: int = 200_000
    rto_max_s: int = 120
    window_s: int = 300

    srtt_shift: int = 0
    easing: int = 3
    grain_us: int = 1
    mdev_decays: bool = True
    rttvar_decays: bool = True
    window_ends: bool = True
    rto_off_by: int = 0
    ignored: tuple[int, ...] = ()
    """Samples, counted from 0, that the estimator does not see."""

    srtt: int = 0
    mdev: int = 0
    mdev_max: int = 0
    rttvar: int = 0
    rtt_seq: int = 0
    rto: int = 0
    minimum: list[tuple[int, int]] = field(default_factory=lambda: [(0, U32 - 1)] * 3)
    count: int = 0

    def ack(self, event: Any) -> None:
        """Take the event's sample, and write the state after it into the event."""
        self.update_minimum(int(event["rs_rtt_us"]), int(event["jiffies"]), int(event["flag"]))
        if self.count not in self.ignored:
            self.estimate(int(event["sample_us"]), int(event["snd_una"]), int(event["snd_nxt"]))
        self.count += 1
        timeout_us = self.srtt // 8 + self.rttvar
        tick_us = 1_000_000 // self.hz
        self.rto = min((timeout_us + tick_us - 1) // tick_us, self.rto_max_s * self.hz) + self.rto_off_by
        self.show(event)

    def show(self, event: Any) -> None:
        """Write the state into the event."""
        event["srtt_us"], event["mdev_us"], event["mdev_max_us"] = self.srtt, self.mdev, self.mdev_max
        event["rttvar_us"], event["rtt_seq"], event["rto_jiffies"] = self.rttvar, self.rtt_seq, self.rto
        for place, (when, value) in enumerate(self.minimum):
            event["min_rtt"]["t"][place], event["min_rtt"]["v"][place] = when, value

    def estimate(self, us: int, snd_una: int, snd_nxt: int) -> None:
        us = us // self.grain_us * self.grain_us
        if self.srtt == 0:
            self.srtt = (8 * us) % U32
            self.mdev = (2 * us) % U32
            self.rttvar = self.mdev_max = max(self.mdev, self.rto_min_us)
            self.rtt_seq = snd_nxt
        else:
            error = us - self.srtt // 8
            self.srtt = (self.srtt + (error << self.srtt_shift)) % U32
            if error >= 0:
                change = error - self.mdev // 4
            else:
                change = -error - self.mdev // 4
                if change > 0:
                    change = change >> self.easing
            if change > 0 or self.mdev_decays:
                self.mdev = (self.mdev + change) % U32
            if self.mdev > self.mdev_max:
                self.mdev_max = self.mdev
                if self.mdev_max > self.rttvar:
                    self.rttvar = self.mdev_max
            if 0 < (snd_una - self.rtt_seq) % U32 < 2**31:
                if self.mdev_max < self.rttvar and self.rttvar_decays:
                    self.rttvar -= (self.rttvar - self.mdev_max) // 4
                self.rtt_seq = snd_nxt
                self.mdev_max = self.rto_min_us
        if self.srtt == 0:
            self.srtt = 1

    def update_minimum(self, us: int, now: int, flag: int) -> None:
        if flag & FLAG_ACK_MAYBE_DELAYED and us > self.minimum[0][1]:
            return
        new = (now, us if us else 1_000_000 // self.hz)
        window = self.window_s * self.hz if self.window_ends else U32 - 1

        def age(place: int) -> int:
            return (now - self.minimum[place][0]) % U32

        if new[1] <= self.minimum[0][1] or age(2) > window:
            self.minimum = [new, new, new]
            return
        if new[1] <= self.minimum[1][1]:
            self.minimum[1:] = [new, new]
        elif new[1] <= self.minimum[2][1]:
            self.minimum[2] = new
        if age(0) > window:
            self.minimum = [*self.minimum[1:], new]
            if age(0) > window:
                self.minimum = [*self.minimum[1:], new]
        elif self.minimum[1][0] == self.minimum[0][0] and age(0) > window // 4:
            self.minimum[1:] = [new, new]
        elif self.minimum[2][0] == self.minimum[1][0] and age(0) > window // 2:
            self.minimum[2] = new
