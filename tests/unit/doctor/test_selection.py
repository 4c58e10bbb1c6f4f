"""Which engine and probe are taken, from planted capabilities; and what is said when none or the wrong one is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rttcheck.collect.engine import TRIES, EngineAttempt, choose_engine
from rttcheck.collect.probe.backend import NAMES
from rttcheck.doctor.capability import GUEST, HOST, Capability
from rttcheck.doctor.choices import ENGINES, PROBES
from rttcheck.doctor.kernel_choice import choose_kernel
from rttcheck.doctor.selection import ENGINE_CAPABILITIES, best, pairs, select
from rttcheck.errors import CapabilityError

SEES = {
    "fexit": "every sample",
    "kprobe": "every sample",
    "sockops": "once a round trip",
    "tracepoint": "smoothed only",
}


def machine(*works: str, root: bool = True) -> tuple[Capability, ...]:
    """A machine on which these engines and probes work."""
    stand = {"netem": "sch_netem", "relay": "relay", **{name: f"probe {name}" for name in SEES}}
    whole = [f"probe {name}" for name, sees in SEES.items() if sees == "every sample"]
    return (
        Capability(
            name="root", found=root, detail="", remedy="use sudo", lack="" if root else "not root", needed_for=HOST
        ),
        *(
            Capability(
                name=name,
                found=short in works,
                detail="attached" if short in works else f"EPERM for {short}",
                remedy=f"get {short}",
                lack="" if short in works else f"no {short}",
                needed_for=HOST if name in ("sch_netem", *whole) else "nothing",
                alternatives=tuple(other for other in whole if other != name) if name in whole else (),
                sees=SEES.get(short, ""),
            )
            for short, name in stand.items()
        ),
    )


def test_the_names_that_command_lines_offer_are_those_that_there_are() -> None:
    assert PROBES == NAMES
    assert ENGINES == tuple(TRIES) == tuple(ENGINE_CAPABILITIES)


def test_the_table_holds_every_engine_with_every_probe_and_the_reason_of_each_that_does_not_work() -> None:
    table = pairs(machine("relay", "sockops", "tracepoint"))
    assert len(table) == len(ENGINES) * len(SEES)
    told = {(pair.engine, pair.probe): pair.why for pair in table}
    assert told["relay", "sockops"] == ""
    assert told["netem", "sockops"] == "no netem"
    assert told["netem", "fexit"] == "no netem and no fexit"


@pytest.mark.parametrize(
    ("works", "engine", "probe"),
    [
        (("netem", "relay", *SEES), "netem", "fexit"),
        (("netem", "kprobe", "sockops"), "netem", "kprobe"),
        (("relay", "kprobe", "sockops"), "relay", "kprobe"),
        (("netem", "relay", "sockops"), "netem", "sockops"),
        (("relay", "sockops", "tracepoint"), "relay", "sockops"),
    ],
)
def test_what_sees_the_most_goes_before_what_delays_the_best(works: tuple[str, ...], engine: str, probe: str) -> None:
    chosen = select(machine(*works))
    assert (chosen.engine, chosen.probe) == (engine, probe)


def test_states_alone_are_nothing_to_judge_by_unless_asked_for() -> None:
    known = machine("netem", "tracepoint")
    assert best(pairs(known)) is None
    with pytest.raises(CapabilityError, match="cannot be judged"):
        select(known)
    assert select(known, probe="tracepoint").probe == "tracepoint"


@pytest.mark.parametrize(
    ("engine", "probe", "words"),
    [
        ("netem", "auto", "the engine netem does not work .*: EPERM for netem: get netem"),
        ("auto", "fexit", "the probe fexit does not work .*: EPERM for fexit: get fexit"),
    ],
)
def test_what_is_forced_and_not_there_is_refused_although_another_would_do(engine: str, probe: str, words: str) -> None:
    with pytest.raises(CapabilityError, match=words):
        select(machine("relay", "sockops"), engine, probe)


def test_what_is_forced_is_taken_although_another_sees_more() -> None:
    chosen = select(machine("netem", "relay", *SEES), "relay", "sockops")
    assert (chosen.engine, chosen.probe) == ("relay", "sockops")


def test_without_root_that_alone_is_what_is_missing() -> None:
    with pytest.raises(CapabilityError, match=r"cannot be judged \(not root: use sudo\)$"):
        select(machine(root=False), "relay", "sockops")


def test_auto_takes_a_guest_before_a_kernel_that_shows_only_some_samples() -> None:
    known = machine("relay", "sockops")
    assert choose_kernel(known).kernel.startswith("debian:")
    no_guest = Capability(name="qemu", found=False, detail="", remedy="apt", lack="no qemu", needed_for=GUEST)
    choice = choose_kernel((*known, no_guest))
    assert (choice.kernel, choice.clock) == ("host", "real")
    assert "sockops shows samples once a round trip" in choice.sentence
    assert "no qemu" in choice.sentence


def test_auto_takes_the_running_kernel_where_all_is_seen() -> None:
    assert choose_kernel(machine("netem", "kprobe")).kernel == "host"


def test_the_engine_asked_for_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRIES, "netem", lambda: EngineAttempt("netem", False, "the kernel says: no"))
    monkeypatch.setitem(TRIES, "relay", lambda: EngineAttempt("relay", True, "works"))
    assert choose_engine() == "relay"
    with pytest.raises(CapabilityError, match=r"\(netem was asked for\): netem: the kernel says: no: run on another"):
        choose_engine("netem")
    with pytest.raises(CapabilityError, match="'carrier pigeon' was asked for and there are: auto, netem, relay"):
        choose_engine("carrier pigeon")


def test_a_capability_that_was_not_tried_makes_no_pair_work() -> None:
    known = [replace(capability, found=False, lack="") for capability in machine("netem", "fexit")]
    assert not any(pair.works for pair in pairs(known))


def test_what_was_not_tried_says_why_once_and_is_no_reason_of_its_own() -> None:
    untried = [
        replace(capability, found=False, lack="", remedy="", detail="not tested: needs root")
        if capability.name != "root"
        else capability
        for capability in machine(root=False)
    ]
    untried.append(Capability(name="namespaces", found=False, detail="not tested: needs root", needed_for=HOST))
    assert {pair.why for pair in pairs(untried)} == {"not tested: needs root"}
    with pytest.raises(CapabilityError, match=r"cannot be judged \(not root: use sudo\)$"):
        select(untried)
