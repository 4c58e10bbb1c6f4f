"""What is a splat in a kernel's log, where it ends, and what is none."""

from __future__ import annotations

import pytest

from rttcheck.judge.splat import Allowed, splats

WARN = """\
------------[ cut here ]------------
WARNING: CPU: 0 PID: 812 at net/ipv4/tcp_input.c:3197 tcp_fastretrans_alert+0x5a1/0x9b0
Modules linked in: sch_netem veth
CPU: 0 PID: 812 Comm: python Not tainted 6.1.0-56-amd64 #1
RIP: 0010:tcp_fastretrans_alert+0x5a1/0x9b0
Call Trace:
 <TASK>
 tcp_ack+0x9c9/0x1550
 </TASK>
---[ end trace 0000000000000000 ]---
"""

OOPS = """\
BUG: kernel NULL pointer dereference, address: 0000000000000008
#PF: supervisor read access in kernel mode
Oops: 0000 [#1] PREEMPT SMP NOPTI
Call Trace:
 tcp_ack_update_rtt+0x10/0x20
---[ end trace 0000000000000000 ]---
"""


def titles(text: str) -> list[tuple[str, str]]:
    return [(splat.kind, splat.title) for splat in splats(text.splitlines(), "6.12.0")]


def test_a_warning_has_all_its_lines() -> None:
    log = ["eth0: renamed", *WARN.splitlines(), "device left promiscuous mode"]
    (found,) = splats(log, "6.1.0")
    assert found.kind == "warning"
    assert found.title.endswith("tcp_fastretrans_alert+0x5a1/0x9b0")
    assert found.render() == WARN.rstrip()


def test_an_oops_is_one_splat() -> None:
    assert titles(OOPS) == [("BUG", "BUG: kernel NULL pointer dereference, address: 0000000000000008")]


def test_two_splats_are_two() -> None:
    assert [kind for kind, _ in titles(WARN + OOPS + WARN)] == ["warning", "BUG", "warning"]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("warning", "WARNING: net/core/skbuff.c:123 at skb_release+0x1/0x2, CPU#0: python/812"),
        ("lockdep", "WARNING: possible circular locking dependency detected"),
        ("lockdep", "WARNING: inconsistent lock state"),
        ("lockdep", "WARNING: suspicious RCU usage"),
        ("lockdep", "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected"),
        ("KASAN", "BUG: KASAN: slab-use-after-free in tcp_ack+0x9c9/0x1550"),
        ("KASAN", "BUG: KFENCE: out-of-bounds read in f+0x1/0x2"),
        ("UBSAN", "UBSAN: shift-out-of-bounds in net/ipv4/tcp_input.c:850:20"),
        ("hung task", "INFO: task kworker/0:1:14 blocked for more than 120 seconds."),
        ("hung task", "INFO: task kworker/0:1:14 blocked in I/O wait for more than 120 seconds."),
        ("stall", "rcu: INFO: rcu_preempt self-detected stall on CPU"),
        ("stall", "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"),
        ("stall", "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 43s!"),
        ("lockup", "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [python:812]"),
        ("lockup", "watchdog: Watchdog detected hard LOCKUP on cpu 1"),
        ("memory", "refcount_t: underflow; use-after-free."),
        ("memory", "list_del corruption. prev->next should be ffff, but was 0000"),
        ("memory", "python: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL|__GFP_COMP)"),
        ("network device", "unregister_netdevice: waiting for veth0 to become free. Usage count = 2"),
        ("BUG", "kernel BUG at mm/slub.c:379!"),
        ("BUG", "BUG: sleeping function called from invalid context at mm/slab.h:1"),
        ("BUG", "BUG: scheduling while atomic: python/812/0x00000002"),
        ("BUG", "BUG: unable to handle page fault for address: ffffc90000000000"),
        ("oops", "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP"),
        ("oops", "Oops: divide error: 0000 [#1] PREEMPT SMP"),
        ("oops", "Kernel panic - not syncing: Fatal exception in interrupt"),
    ],
)
def test_kinds(kind: str, line: str) -> None:
    assert titles(line) == [(kind, line)]


@pytest.mark.parametrize(
    "line",
    [
        "Spectre V2 : WARNING: Unprivileged eBPF is enabled, data leaks possible via Spectre v2 BHB attacks!",
        "Warning: unable to open an initial console.",
        "rcu: RCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=1.",
        "TCP: request_sock_TCP: Possible SYN flooding on port 4711. Sending cookies.",
        "tsc: Marking TSC unstable due to clocksource watchdog",
        "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable",
        "perf: interrupt took too long (2511 > 2500), lowering kernel.perf_event_max_sample_rate",
        "DEBUG: no bug here",
    ],
)
def test_what_kernels_say_in_health_is_none(line: str) -> None:
    assert titles(line) == []


def test_what_is_allowed_is_told_so_on_its_kernels_only() -> None:
    known = Allowed(pattern=r"tcp_fastretrans_alert", kernels=r"6\.1\.", reason="a reason", until="6.2")
    (on,) = splats(WARN.splitlines(), "6.1.0-56-amd64", [known])
    (off,) = splats(WARN.splitlines(), "6.12.0", [known])
    assert (on.allowed, off.allowed) == (known, None)


def test_a_splat_without_an_end_does_not_swallow_the_log() -> None:
    log = ["INFO: task a:1 blocked for more than 120 seconds.", *["line"] * 500, "kernel BUG at mm/slub.c:379!"]
    assert [splat.kind for splat in splats(log, "6.12")] == ["hung task", "BUG"]
