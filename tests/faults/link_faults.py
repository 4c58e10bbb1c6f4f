"""Links that do other than they were told, for real: recorded in a guest with one setting, judged by another.

It owns what was asked for and what was done. A recording of what was done is then said to be one of what was asked for,
by the scenario and by the settings read back: a kernel whose netem does not do what it says makes just that recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from rttcheck.record.recording import Recording
from rttcheck.scenario.model import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFault:
    """Keywords of `Scenario.make`: what was ``asked`` for, and what else was ``done``, None for what was left out."""

    name: str
    what: str
    asked: Mapping[str, Any]
    done: Mapping[str, Any]

    @property
    def scenario(self) -> Scenario:
        """As it was asked for."""
        return Scenario.make(name=self.name, **self.asked)

    @property
    def recorded(self) -> Scenario:
        """As it is recorded."""
        return Scenario.make(name=self.name, **{**self.asked, **self.done})

    def pretend(self, recording: Recording) -> Recording:
        """The recording of what was done as one of what was asked for."""
        asked = self.scenario
        steps = recording.steps if asked.steps else ()
        out, back = asked.links[len(steps)]
        netem = {
            **recording.netem,
            "out": out.changed(),
            "back": back.changed(),
            "held": {"out": str(out), "back": str(back)},
        }
        return replace(recording, scenario=asked.keywords(), steps=steps, netem=netem)


_CONSTANT: Final = MappingProxyType({"rtt": "40ms", "count": 20})
_FULL: Final = MappingProxyType({"rtt": "40ms", "traffic": "paced", "interval": "4ms", "count": 60, "size": 1448})
_UNIFORM: Final = MappingProxyType(
    {"rtt": "40ms", "jitter": "8ms", "seed": 1, "traffic": "paced", "interval": "2ms", "count": 100}
)
_NORMAL: Final = MappingProxyType(
    {"rtt": "80ms", "jitter": "5ms", "distribution": "normal", "seed": 2, "traffic": "paced", "interval": "4ms",
     "count": 100}
)  # fmt: skip
_LOSSY: Final = MappingProxyType(
    {"rtt": "20ms", "loss": "3%", "seed": 3, "traffic": "paced", "interval": "1ms", "count": 300, "size": 600}
)
_RATED: Final = MappingProxyType({"rtt": "20ms", "rate": "20mbit", "traffic": "bulk", "size": 200_000})
_REORDERING: Final = MappingProxyType(
    {"rtt": "20ms", "reorder": "20%", "seed": 4, "traffic": "paced", "interval": "2ms", "count": 100}
)
_STEPPING: Final = MappingProxyType({"rtt": "20ms", "count": 30, "steps": [{"after": 15, "rtt": "40ms"}]})


def _fault(name: str, what: str, asked: Mapping[str, Any], **done: Any) -> LinkFault:
    return LinkFault(name=name, what=what, asked=asked, done=done)


FAULTS: Final = (
    _fault("delay +5 %", "21 ms each way, not 20", _CONSTANT, rtt="42ms"),
    _fault("delay -5 %", "19 ms each way, not 20", _CONSTANT, rtt="38ms"),
    _fault("delay +1 ms", "a millisecond more one way", _CONSTANT, rtt=None, out="21ms", back="20ms"),
    _fault("delay -1 ms", "a millisecond less one way", _CONSTANT, rtt=None, out="20ms", back="19ms"),
    _fault("delay +20 us", "20 us more one way, with virtual time's few microseconds of overhead", _CONSTANT, rtt=None,
           out="20ms", back="20020us"),
    _fault("delay +20 us behind a rate", "20 us more each way", _RATED, rtt="20040us"),
    _fault("delay +20 us with loss", "20 us more each way", _LOSSY, rtt="20040us"),
    _fault("delay +20 us with jitter", "20 us more each way, where 8 ms are drawn: known from netem's seed", _UNIFORM,
           rtt="40040us"),
    _fault("delay -20 us with a table", "20 us less each way, where the delay is drawn from a table", _NORMAL,
           rtt="79960us"),
    _fault("delay +200 us", "200 us more one way", _CONSTANT, rtt=None, out="20200us", back="20ms"),
    _fault("one direction doubled", "40 ms out, not 20", _CONSTANT, rtt=None, out="40ms", back="20ms"),
    _fault("one direction for both", "40 ms out and none back: the round trip is right, the link is not", _CONSTANT,
           rtt=None, out="40ms"),
    _fault("delay changed in mid-run", "1 ms more after half of the exchanges", _CONSTANT,
           steps=[{"after": 10, "rtt": "41ms"}]),
    _fault("step not taken", "the delay stays when it was to double", _STEPPING,
           steps=[{"after": 15, "rtt": "20ms"}]),
    _fault("jitter not asked for", "up to 0.5 ms more or less each way", _CONSTANT, jitter="500us", seed=5),
    _fault("jitter halved", "4 ms of uniform jitter each way, not 8", _UNIFORM, jitter="4ms"),
    _fault("jitter without its distribution", "uniform, not normal, with the same jitter", _NORMAL, distribution=None),
    _fault("wrong distribution", "uniform, not normal, with the same mean and variance", {**_NORMAL, "count": 300},
           distribution=None, jitter="8660us"),
    _fault("wrong table", "pareto, not normal", _NORMAL, distribution="pareto"),
    _fault("MTU-sized bump", "packets of full size take 0.12 ms longer: a rate that nobody asked for", _FULL,
           rate="100mbit"),
    _fault("rate halved", "10 Mbit/s, not 20", _RATED, rate="10mbit"),
    _fault("queue limit hit", "a queue of 20 packets, not 1000", _RATED, limit=20),
    _fault("loss off", "no packet is lost", _LOSSY, loss=None),
    _fault("loss not asked for", "10 % of packets are lost", _FULL, loss="10%", seed=6),
    _fault("loss too high", "10 % of packets are lost, not 1 %", {**_LOSSY, "loss": "1%"}, loss="10%"),
    _fault("duplicates not asked for", "10 % of packets are sent twice", _FULL, duplicate="10%", seed=7),
    _fault("reordering off", "no packet is sent ahead", _REORDERING, reorder=None),
    _fault("reordering not asked for", "20 % of packets are sent ahead", _FULL, reorder="20%", seed=8),
)  # fmt: skip
