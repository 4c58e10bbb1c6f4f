"""Which kernel `auto` takes: every single thing that is missing, and what it leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rttcheck.doctor.capabilities import can_judge_host
from rttcheck.doctor.capability import GUEST, HOST, OPTIONAL, Capability, missing
from rttcheck.doctor.kernel_choice import choose_kernel, choose_kernels
from rttcheck.errors import CapabilityError


def capability(
    name: str, needed_for: str, *, alternatives: tuple[str, ...] = (), kernels: tuple[str, ...] = ()
) -> Capability:
    return Capability(
        name=name, found=True, detail="", needed_for=needed_for, alternatives=alternatives, kernels=kernels
    )


EVERYTHING = (
    capability("root", HOST),
    capability("sch_netem", HOST),
    capability("probe fexit", HOST, alternatives=("probe kprobe",)),
    capability("probe kprobe", HOST, alternatives=("probe fexit",)),
    capability("qemu", GUEST),
    capability("Debian's archive", GUEST, alternatives=("kernel at hand",), kernels=("debian:6.12",)),
    capability("kernel at hand", GUEST, alternatives=("Debian's archive",), kernels=("debian:7.2.1", "debian:6.1.9")),
    capability("KVM", OPTIONAL),
)


def without(*names: str) -> tuple[Capability, ...]:
    return tuple(
        replace(known, found=False, lack=f"no {known.name}", remedy=f"get {known.name}")
        if known.name in names
        else known
        for known in EVERYTHING
    )


def test_a_kernel_with_netem_and_a_probe_is_judged_itself_in_real_time() -> None:
    choice = choose_kernel(EVERYTHING)
    assert (choice.kernel, choice.clock) == ("host", "real")
    assert choice.sentence == "the running kernel, because: it has netem, and fexit shows every sample"


@pytest.mark.parametrize(("lost", "left"), [("probe fexit", "kprobe"), ("probe kprobe", "fexit")])
def test_one_probe_is_enough(lost: str, left: str) -> None:
    choice = choose_kernel(without(lost))
    assert choice.kernel == "host"
    assert left in choice.reasons[0]
    assert can_judge_host(without(lost))


@pytest.mark.parametrize(
    ("lost", "reasons"),
    [
        (("sch_netem",), ("no sch_netem",)),
        (("root",), ("no root",)),
        (("probe fexit", "probe kprobe"), ("no probe fexit", "no probe kprobe")),
        (("sch_netem", "KVM"), ("no sch_netem",)),
    ],
)
def test_else_it_is_a_guest_in_virtual_time_and_every_reason_is_given(
    lost: tuple[str, ...], reasons: tuple[str, ...]
) -> None:
    choice = choose_kernel(without(*lost))
    assert (choice.kernel, choice.clock, choice.reasons) == ("debian:6.12", "virtual", reasons)
    assert choice.sentence == f"a guest of debian:6.12 in virtual time, because: {'; '.join(reasons)}"
    assert not can_judge_host(without(*lost))


def test_a_guest_that_is_not_needed_may_be_impossible() -> None:
    assert choose_kernel(without("qemu", "Debian's archive", "kernel at hand")).kernel == "host"


def test_without_the_archive_the_newest_kernel_at_hand_is_taken() -> None:
    assert choose_kernel(without("sch_netem", "Debian's archive")).kernel == "debian:7.2.1"


def test_with_the_archive_no_kernel_at_hand_is_needed() -> None:
    assert choose_kernel(without("sch_netem", "kernel at hand")).kernel == "debian:6.12"


def test_neither_is_one_sentence_with_the_remedies_of_the_guest() -> None:
    with pytest.raises(CapabilityError) as refused:
        choose_kernel(without("root", "qemu", "Debian's archive", "kernel at hand"))
    sentence = str(refused.value)
    assert "the running kernel cannot be judged (no root)" in sentence
    assert "no qemu: get qemu" in sentence
    assert "no kernel at hand: get kernel at hand" in sentence
    assert "`rttcheck doctor`" in sentence


def test_what_could_not_be_tried_is_no_reason_of_its_own() -> None:
    untried = tuple(replace(known, lack="") if known.name == "sch_netem" else known for known in without("sch_netem"))
    also_not_root = (replace(untried[0], found=False, lack="not root"), *untried[1:])
    assert choose_kernel(also_not_root).reasons == ("not root",)


def test_missing_is_what_has_no_alternative_either() -> None:
    lacking = without("probe fexit", "sch_netem", "qemu")
    assert [known.name for known in missing(lacking, HOST)] == ["sch_netem"]
    assert [known.name for known in missing(lacking, GUEST)] == ["qemu"]


PARTLY = (
    *EVERYTHING,
    replace(capability("relay", OPTIONAL), found=True),
    replace(capability("probe sockops", OPTIONAL), sees="once a round trip"),
)


def lacking(*names: str) -> tuple[Capability, ...]:
    return tuple(
        replace(known, found=False, lack=f"no {known.name}", remedy="") if known.name in names else known
        for known in PARTLY
    )


def test_a_running_kernel_that_shows_all_is_enough() -> None:
    assert [choice.kernel for choice in choose_kernels(PARTLY)] == ["host"]


def test_a_running_kernel_that_shows_some_is_judged_beside_a_guest() -> None:
    host, guest = choose_kernels(lacking("sch_netem", "probe fexit", "probe kprobe"))
    assert (host.kernel, host.clock) == ("host", "real")
    assert host.reasons == ("it has relay, and sockops shows samples once a round trip",)
    assert (guest.kernel, guest.clock) == ("debian:6.12", "virtual")
    assert guest.reasons[0].startswith("it shows every sample, which the running kernel does not: no sch_netem")


def test_a_running_kernel_that_shows_nothing_is_left_out() -> None:
    assert [choice.kernel for choice in choose_kernels(without("probe fexit", "probe kprobe"))] == ["debian:6.12"]


def test_without_a_guest_the_running_kernel_is_judged_alone() -> None:
    known = lacking("sch_netem", "probe fexit", "probe kprobe", "qemu")
    assert [choice.kernel for choice in choose_kernels(known)] == ["host"]
