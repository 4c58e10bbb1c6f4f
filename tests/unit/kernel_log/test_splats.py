"""What is a splat in a kernel's log, where it ends, and what is none."""

from __future__ import annotations

import pytest

from rttcheck.kernel_log.allowed import Allowed
from rttcheck.kernel_log.splat import splats

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
        "traps: python3[812] general protection fault ip:7f00 sp:7ffd error:0 in libc.so.6[7f00+155000]",
        "traps: python3[812] trap invalid opcode ip:7f00 sp:7ffd error:0 in python3.11[400000+2c000]",
        "python3[812]: segfault at 0 ip 00007f00 sp 00007ffd error 4 in libc.so.6",
        "python3[812] is installing a program with bpf_probe_write_user helper that may corrupt user memory!",
        "ext4: mount option 'BUG: x' is ignored",
        "Speculative Return Stack Overflow: WARNING: See https://kernel.org/doc/html/latest/admin-guide/",
        "WARNING: Unprivileged eBPF is enabled with eIBRS+LFENCE mitigation and SMT, data leaks possible!",
        "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.203 msecs",
        "hrtimer: interrupt took 20214 ns",
        "sched: RT throttling activated",
        "veth0: entered promiscuous mode",
        "workqueue: vmstat_update hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
    ],
)
def test_messages_of_a_healthy_kernel_are_no_splats(line: str) -> None:
    assert titles(line) == []


def test_an_allowed_splat_is_marked_on_its_kernels_only() -> None:
    known = Allowed(pattern=r"tcp_fastretrans_alert", since="6.1", before="6.2", reason="a reason", until="6.2")
    (on,) = splats(WARN.splitlines(), "6.1.0-56-amd64", [known])
    (off,) = splats(WARN.splitlines(), "6.12.0", [known])
    assert (on.allowed, off.allowed) == (known, None)


def test_a_splat_without_an_end_does_not_swallow_the_log() -> None:
    log = ["INFO: task a:1 blocked for more than 120 seconds.", *["line"] * 500, "kernel BUG at mm/slub.c:379!"]
    assert [splat.kind for splat in splats(log, "6.12")] == ["hung task", "BUG"]


WARN_7 = """\
------------[ cut here ]------------
refcount_t: underflow; use-after-free.
WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x5a/0xb0, CPU#0: python3/812
Modules linked in: sch_netem
RIP: 0010:refcount_warn_saturate+0x5a/0xb0
Call Trace:
 <TASK>
 tcp_close+0x10/0x20
 </TASK>
---[ end trace 0000000000000000 ]---
"""

# From a virtual machine (6.18) whose host was too busy; shortened.
STALL = """\
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: \t(detected by 0, t=14752 jiffies, g=1569701, q=36 ncpus=2)
rcu: rcu_preempt kthread starved for 14752 jiffies! g1569701 f0x2 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=0
rcu: RCU grace-period kthread stack dump:
task:rcu_preempt     state:R  running task     stack:0     pid:15    tgid:15    ppid:2
Call Trace:
 <TASK>
 __schedule+0x3cc/0xf50
 ? srso_alias_return_thunk+0x5/0xfbef5
 schedule+0x23/0xa0
 rcu_gp_fqs_loop+0xf6/0x510
 </TASK>
rcu: Stack dump where RCU GP kthread last ran:
Sending NMI from CPU 1 to CPUs 0:
NMI backtrace for cpu 0
CPU: 0 UID: 0 PID: 6136 Comm: qemu-system-x86 Not tainted 6.18.44 #1 PREEMPT(none)
RIP: 0010:_raw_spin_unlock_irq+0x11/0x40
Code: c0 5d f0 fe 0f 1f 44 00 00 90 90
RSP: 0018:ffffc90001c77ae8 EFLAGS: 00000246
RAX: 0000000000000001 RBX: ffff888112e6e950 RCX: 0000000000000000
RDX: 0000000000000000 RSI: 0000000000000000 RDI: ffff888112e6e948
R10: 0000000000000000 R11: 0000000000000000 R12: ffff888112e6e948
FS:  00007fe3878ddec0(0000) GS:ffff8886a4108000(0000) knlGS:0000000000000000
CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
CR2: 00007fe2c0da2000 CR3: 00000002d3313002 CR4: 0000000000370eb0
Call Trace:
 <TASK>
 eventfd_write+0xd1/0x210
 entry_SYSCALL_64_after_hwframe+0x76/0x7e
RIP: 0033:0x7fe38800038f
RSP: 002b:00007ffdd3c870f0 EFLAGS: 00000293 ORIG_RAX: 0000000000000001
 </TASK>
"""

HUNG = """\
INFO: task python3:6903 blocked for more than 123 seconds.
      Not tainted 6.1.0-56-amd64 #1
"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.
task:python3         state:D stack:0     pid:6903  ppid:1      flags:0x00000000
Call Trace:
 <TASK>
 __schedule+0x34d/0x9e0
 schedule+0x5a/0xd0
 rwsem_down_write_slowpath+0x300/0x700
 shmem_file_write_iter+0x2f/0xb0
 </TASK>
"""

KASAN = """\
==================================================================
BUG: KASAN: slab-use-after-free in tcp_ack+0x9c9/0x1550
Read of size 8 at addr ffff888104a5c1a8 by task python3/812

CPU: 0 PID: 812 Comm: python3 Not tainted 6.12.0 #1
Call Trace:
 <TASK>
 kasan_report+0xbd/0xf0
 tcp_ack+0x9c9/0x1550
 </TASK>

Allocated by task 812:
 kasan_save_stack+0x33/0x60

The buggy address belongs to the object at ffff888104a5c180
==================================================================
"""

LOCKDEP = """\
======================================================
WARNING: possible circular locking dependency detected
6.12.0 #1 Not tainted
------------------------------------------------------
python3/812 is trying to acquire lock:
ffff888104a5c1a8 (&a->lock){+.+.}-{3:3}, at: f+0x1/0x2

but task is already holding lock:
the existing dependency chain (in reverse order) is:

stack backtrace:
CPU: 0 UID: 0 PID: 812 Comm: python3 Not tainted 6.12.0 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x1/0x2
 print_circular_bug+0x1/0x2
 netlink_rcv+0x1/0x2
 </TASK>
"""

ORPHAN = """\
veth0: a thing that no list has heard of
CPU: 0 PID: 812 Comm: python3 Not tainted 6.12.0 #1
Hardware name: QEMU
Call Trace:
 <TASK>
 dump_stack_lvl+0x1/0x2
 veth_xmit+0x1/0x2
 </TASK>
"""

NULL_6_12 = """\
BUG: kernel NULL pointer dereference, address: 0000000000000008
#PF: supervisor read access in kernel mode
#PF: error_code(0x0000) - not-present page
PGD 0 P4D 0
Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
RIP: 0010:tcp_ack_update_rtt+0x10/0x20
Call Trace:
 tcp_ack+0x10/0x20
---[ end trace 0000000000000000 ]---
RIP: 0010:tcp_ack_update_rtt+0x10/0x20
"""

ASKED = """\
sysrq: Show Blocked State
task:python3         state:D stack:0     pid:6903  ppid:1      flags:0x00000000
Call Trace:
 <TASK>
 __schedule+0x34d/0x9e0
 </TASK>
task:kworker         state:D stack:0     pid:6904  ppid:1      flags:0x00000000
Call Trace:
 <TASK>
 __schedule+0x34d/0x9e0
 </TASK>
"""

REPORTS = {
    "warning of 7.2": (WARN_7, "memory", "lib/refcount.c:28 refcount_warn_saturate"),
    "stall": (STALL, "stall", "_raw_spin_unlock_irq"),
    "hung task": (HUNG, "hung task", "shmem_file_write_iter"),
    "KASAN": (KASAN.partition("\n")[2], "KASAN", "tcp_ack"),
    "lockdep": (LOCKDEP.partition("\n")[2], "lockdep", "netlink_rcv"),
    "a stack that nobody accounts for": (ORPHAN, "stack", "veth_xmit"),
    "oops of 6.12": (NULL_6_12.rpartition("RIP")[0], "BUG", "tcp_ack_update_rtt"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_one_splat_with_its_place_and_all_its_lines_and_no_other(name: str) -> None:
    text, kind, place = REPORTS[name]
    rule = ["=" * 66] if kind == "KASAN" else []
    log = ["veth0: link becomes ready", *rule, *text.splitlines(), "IPv6: veth1: link becomes ready"]
    (found,) = splats(log, "6.12")
    assert (found.kind, found.place) == (kind, place)
    assert found.render() == text.rstrip("\n")


@pytest.mark.parametrize("first", REPORTS)
@pytest.mark.parametrize("second", REPORTS)
def test_a_report_swallows_no_other(first: str, second: str) -> None:
    """Else the first, where it is allowed, would hide the second."""
    rule = "=" * 66 + "\n"
    texts = [(rule if REPORTS[name][1] == "KASAN" else "") + REPORTS[name][0] for name in (first, second)]
    found = splats((texts[0] + texts[1]).splitlines(), "6.12")
    assert [splat.kind for splat in found] == [REPORTS[first][1], REPORTS[second][1]]


def test_a_message_of_a_warnings_own_is_part_of_it() -> None:
    cut, _, rest = WARN.partition("\n")
    (found,) = splats(f"{cut}\nveth0: a message of the warning's own\n{rest}".splitlines(), "6.1.0")
    assert found.title.endswith("tcp_fastretrans_alert+0x5a1/0x9b0: veth0: a message of the warning's own")
    assert (found.kind, found.place) == ("warning", "net/ipv4/tcp_input.c:3197 tcp_fastretrans_alert")


def test_what_is_cut_off_at_its_beginning_or_its_end_is_a_splat() -> None:
    whole = WARN.splitlines()
    for begin, end in ((0, 1), (0, 2), (0, 6), (1, len(whole)), (5, len(whole)), (6, len(whole) - 1)):
        found = splats(whole[begin:end], "6.1.0")
        assert len(found) == (begin < 6), (begin, end)


def test_requested_stacks_are_no_splats() -> None:
    assert titles(ASKED) == []
    assert [kind for kind, _ in titles(ASKED + HUNG)] == ["hung task"]


def test_a_place_that_the_title_lacks_can_be_allowed() -> None:
    known = Allowed(pattern=r"\[shmem_file_write_iter\]$", reason="a reason", until="6.2")
    (found,) = splats(HUNG.splitlines(), "6.1.0", [known])
    assert found.allowed == known


def test_what_has_no_stack_does_not_borrow_the_next_ones() -> None:
    log = "BUG: Bad rss-counter state mm:1 type:MM_ANONPAGES val:3\nveth0: link becomes ready\n" + HUNG
    first, second = splats(log.splitlines(), "6.1")
    assert (first.kind, first.lines) == ("memory", (log.splitlines()[0],))
    assert (second.kind, second.render()) == ("hung task", HUNG.rstrip())
