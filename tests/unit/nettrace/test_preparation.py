"""The eight steps before a trace, each with what it says when it fails, and the order they come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rttcheck.collect.probe.btf import Prototype
from rttcheck.collect.probe.function import PROTOTYPE
from rttcheck.errors import CapabilityError
from rttcheck.nettrace.preparation import Operations, TraceMachine, TraceRequest, prepare
from rttcheck.nettrace.trace_point import MONITOR_OFF, MONITOR_ON_RETURN, TCP_ACK_UPDATE_RTT, TraceMode

ROOT = "CapEff:\t000001ffffffffff\n"
NOBODY = "CapEff:\t0000000000000000\n"
SYMBOLS = "0000000000000000 t tcp_ack\n0000000000000000 t tcp_ack_update_rtt\n0000000000000000 t tcp_add_backlog\n"

Build = Callable[..., TraceMachine]


@pytest.fixture
def machine(tmp_path: Path) -> Build:
    """A machine in which all is well, but for what a test says."""

    def build(**differs: Any) -> TraceMachine:
        def file(name: str, text: str | None) -> Path:
            path = tmp_path / name
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)
            return path

        texts: dict[str, str | None] = {
            "btf": "",
            "kallsyms": SYMBOLS,
            "kprobe_events": "6\n",
            "jit": "1\n",
            "lockdown": "[none] integrity confidentiality\n",
            "status": ROOT,
        }
        texts |= {name: differs.pop(name) for name in list(differs) if name in texts}
        files: dict[str, Any] = {name: file(name, text) for name, text in texts.items()}
        settings: dict[str, Any] = {
            "release": "6.12.107+deb13-amd64",
            "architecture": "x86_64",
            "prototypes": {"tcp_ack_update_rtt": PROTOTYPE}.get,
        }
        return TraceMachine(**files, **(settings | differs))

    return build


def test_where_all_is_well_the_point_is_enabled_with_both_operations_in_order(machine: Build) -> None:
    plan = prepare(TraceRequest(), machine())
    assert plan.operations == ("fexit", "kprobe")
    assert plan.backend == "auto"
    assert plan.point == TCP_ACK_UPDATE_RTT
    assert plan.notices == ()
    assert plan.enabled() == ("fexit/kprobe: tcp_ack_update_rtt, group tcp-state, analyzer rtt, statistics",)


def test_a_filter_on_the_values_puts_the_point_into_monitor_mode_2(machine: Build) -> None:
    assert prepare(TraceRequest(port=80), machine()).point.monitor == MONITOR_OFF
    plan = prepare(TraceRequest(mode=TraceMode.DETAIL, last_below_us=1), machine())
    assert plan.point.monitor == MONITOR_ON_RETURN
    assert plan.enabled()[0].endswith("detail, monitor mode 2")


def test_step_1_without_btf_nothing_works(machine: Build) -> None:
    with pytest.raises(CapabilityError, match=r"BTF and .*btf is missing: .*CONFIG_DEBUG_INFO_BTF=y"):
        prepare(TraceRequest(), machine(btf=None))


def test_step_2_a_kernel_before_5_10_is_refused_and_5_10_is_not(machine: Build) -> None:
    with pytest.raises(CapabilityError, match=r"since Linux 5\.10 and this is 5\.9\.16"):
        prepare(TraceRequest(), machine(release="5.9.16"))
    assert prepare(TraceRequest(), machine(release="5.10.0-28-amd64")).notices == ()


def test_step_2_a_kernel_that_nobody_has_read_is_noted(machine: Build) -> None:
    assert prepare(TraceRequest(), machine(release="7.3.4")).notices == ()
    assert "newer than 7.3" in prepare(TraceRequest(), machine(release="7.4.0-rc1")).notices[0]
    assert "not a version number" in prepare(TraceRequest(), machine(release="custom")).notices[0]


def test_step_4_the_first_supported_operations_win_and_what_was_passed_over_is_said(machine: Build) -> None:
    plan = prepare(TraceRequest(), machine(jit="0\n"))
    assert (plan.operations, plan.backend) == (("kprobe",), "kprobe")
    assert "fexit is skipped: the BPF JIT is off" in plan.notices[0]


def test_step_4_what_stands_behind_the_winner_is_not_worth_a_word(machine: Build) -> None:
    plan = prepare(TraceRequest(), machine(kprobe_events=None))
    assert (plan.operations, plan.notices) == (("fexit",), ())
    assert prepare(TraceRequest(), machine(architecture="aarch64")).operations == ("fexit",)


def test_step_4_without_any_operations_the_reason_of_each_is_said(machine: Build) -> None:
    with pytest.raises(CapabilityError, match=r"fexit: the BPF JIT is off .*; kprobe: the kernel has no kprobes"):
        prepare(TraceRequest(), machine(jit="0\n", kprobe_events=None))


def test_step_4_operations_that_were_asked_for_by_name_are_not_replaced(machine: Build) -> None:
    assert prepare(TraceRequest(operations="kprobe"), machine()).operations == ("kprobe",)
    with pytest.raises(CapabilityError, match=r"tcp_ack_update_rtt \(kprobe\) is supported here"):
        prepare(TraceRequest(operations="kprobe"), machine(kprobe_events=None))
    with pytest.raises(CapabilityError, match=r"'uprobe' is unknown: choose from auto, fexit, kprobe"):
        prepare(TraceRequest(operations="uprobe"), machine())


def test_step_4_the_list_is_walked_in_its_own_order(machine: Build) -> None:
    def always(_: TraceMachine) -> str:
        return ""

    ways = (Operations("one", lambda _: "too old"), Operations("two", always), Operations("three", always))
    assert prepare(TraceRequest(), machine(), operations=ways).operations == ("two", "three")


@pytest.mark.parametrize(
    ("kallsyms", "reason"),
    [
        ("0000000000000000 t tcp_ack\n", "has no function tcp_ack_update_rtt"),
        (SYMBOLS.replace("rtt\n", "rtt.isra.51\n"), "renamed tcp_ack_update_rtt to tcp_ack_update_rtt.isra.51"),
        (SYMBOLS + "0 t tcp_ack_update_rtt.constprop.0\n", "more than once"),
    ],
)
def test_step_5_a_function_that_is_missing_or_renamed_cannot_be_used(
    machine: Build, kallsyms: str, reason: str
) -> None:
    with pytest.raises(CapabilityError, match=f"can be used on Linux 6.12.*{reason}"):
        prepare(TraceRequest(), machine(kallsyms=kallsyms))


def test_step_5_other_arguments_are_refused(machine: Build) -> None:
    other = Prototype(PROTOTYPE.returns, PROTOTYPE.parameters[:-1])
    with pytest.raises(CapabilityError, match="tcp_ack_update_rtt is bool"):
        prepare(TraceRequest(), machine(prototypes={"tcp_ack_update_rtt": other}.get))


def test_step_5_a_clone_whose_arguments_are_proved_is_used_by_its_own_name(machine: Build) -> None:
    clone = "tcp_ack_update_rtt.isra.0"
    plan = prepare(
        TraceRequest(), machine(kallsyms=SYMBOLS.replace("rtt\n", "rtt.isra.0\n"), prototypes={clone: PROTOTYPE}.get)
    )
    assert plan.point.name == clone


def test_step_5_symbols_that_cannot_be_read_are_said(machine: Build) -> None:
    with pytest.raises(CapabilityError, match=r"kallsyms cannot be read \(No such file"):
        prepare(TraceRequest(), machine(kallsyms=None))


def test_step_6_without_privilege_the_remedy_is_named(machine: Build) -> None:
    with pytest.raises(CapabilityError, match=r"needs root .*: run (it with sudo|the container with --privileged)"):
        prepare(TraceRequest(), machine(status=NOBODY))


def test_step_7_a_kernel_that_hides_its_memory_is_refused(machine: Build) -> None:
    with pytest.raises(CapabilityError, match=r"lockdown forbids .*\[confidentiality\]"):
        prepare(TraceRequest(), machine(lockdown="none integrity [confidentiality]\n"))
    assert prepare(TraceRequest(), machine(lockdown="none [integrity] confidentiality\n")).operations
    assert prepare(TraceRequest(), machine(lockdown=None)).operations


def test_step_8_a_backup_of_a_point_that_works_is_not_used(machine: Build) -> None:
    backup = replace(TCP_ACK_UPDATE_RTT, program="other", backup_of="tcp_ack_update_rtt")
    plan = prepare(TraceRequest(), machine(), points=(TCP_ACK_UPDATE_RTT, backup))
    assert [status.usable for status in plan.points] == [True, False]
    assert plan.enabled()[1] == "not used: tcp_ack_update_rtt (backup of a point that works)"


def test_step_8_without_an_enabled_point_there_is_no_trace(machine: Build) -> None:
    off = replace(TCP_ACK_UPDATE_RTT, default=False)
    with pytest.raises(CapabilityError, match="none is enabled"):
        prepare(TraceRequest(), machine(), points=(off,))


BROKEN: list[dict[str, Any]] = [
    {"btf": None},
    {"release": "4.14.0"},
    {"jit": "0", "kprobe_events": None},
    {"kallsyms": None},
    {"status": NOBODY},
    {"lockdown": "[confidentiality]"},
    {"prototypes": {}.get},
]


@pytest.mark.parametrize("first", range(len(BROKEN) - 1))
def test_steps_come_in_their_order(machine: Build, first: int) -> None:
    with pytest.raises(CapabilityError) as alone:
        prepare(TraceRequest(), machine(**BROKEN[first]))
    with pytest.raises(CapabilityError) as both:
        prepare(TraceRequest(), machine(**{**BROKEN[first + 1], **BROKEN[first]}))
    assert str(both.value) == str(alone.value)
