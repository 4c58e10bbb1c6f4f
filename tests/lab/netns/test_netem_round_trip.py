"""Every netem attribute, installed in a real kernel and read back from it."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import subprocess

import pytest

from rttcheck_netns import (
    Distribution,
    GilbertElliott,
    LinkSilent,
    Netem,
    NetemMismatch,
    RandomLoss,
    Slot,
    StateLoss,
    UnsupportedByKernel,
    direct,
    qdisc,
    routed,
)
from rttcheck_netns.netem_nla import compare, found
from rttcheck_netns.netlink import Channel

pytestmark = pytest.mark.usefixtures("netem_in_kernel")

MS = 1_000_000

IMPAIRMENTS = {
    "delay not a multiple of a tick": Netem(delay_ns=333_333),
    "delay of an odd nanosecond beyond 32 bits of ticks": Netem(delay_ns=300_000_000_001),
    "jitter": Netem(delay_ns=10 * MS, jitter_ns=3 * MS + 7),
    "delay correlation": Netem(delay_ns=10 * MS, jitter_ns=3 * MS, delay_correlation=25),
    "normal": Netem(delay_ns=10 * MS, jitter_ns=MS, distribution=Distribution.named("normal")),
    "pareto": Netem(delay_ns=10 * MS, jitter_ns=MS, distribution=Distribution.named("pareto")),
    "paretonormal": Netem(delay_ns=10 * MS, jitter_ns=MS, distribution=Distribution.named("paretonormal")),
    "table of the greatest size": Netem(
        delay_ns=10 * MS, jitter_ns=MS, distribution=Distribution("steps", tuple(range(-8192, 8192)))
    ),
    "random loss": Netem(loss=RandomLoss(0.3, 12.5)),
    "state loss": Netem(loss=StateLoss(1, 60, 20, 80, 0.5)),
    "gilbert-elliott": Netem(loss=GilbertElliott(1, 20, 30, 0.125), ecn=True),
    "ecn": Netem(loss=RandomLoss(1), ecn=True),
    "duplicate": Netem(delay_ns=MS, duplicate=1.5),
    "reorder without a gap": Netem(delay_ns=10 * MS, reorder=25, reorder_correlation=50),
    "reorder with a gap": Netem(delay_ns=10 * MS, reorder=25, gap=5),
    "corrupt": Netem(corrupt=0.1, corrupt_correlation=1),
    "rate": Netem(rate_bytes=2_500_000),
    "rate with cells": Netem(rate_bytes=125_000, packet_overhead=-14, cell_size=53, cell_overhead=5),
    "rate beyond 32 bits": Netem(rate_bytes=12_500_000_001),
    "rate of the last 32-bit number": Netem(rate_bytes=(1 << 32) - 1),
    "slot": Netem(slot=Slot(min_delay_ns=MS, max_delay_ns=2 * MS, max_packets=20, max_bytes=30_000)),
    "slot distribution": Netem(
        slot=Slot(distribution=Distribution.named("pareto"), dist_delay_ns=MS, dist_jitter_ns=MS // 3, max_packets=4)
    ),
    "limit": Netem(delay_ns=MS, limit=123_456),
    "everything at once": Netem(
        delay_ns=20 * MS + 1,
        jitter_ns=2 * MS + 3,
        delay_correlation=10,
        distribution=Distribution.named("normal"),
        loss=RandomLoss(1, 2),
        ecn=True,
        reorder=3,
        reorder_correlation=4,
        gap=2,
        corrupt=5,
        corrupt_correlation=6,
        rate_bytes=1_250_000,
        packet_overhead=24,
        cell_size=48,
        cell_overhead=5,
        slot=Slot(max_delay_ns=MS, max_packets=3),
        limit=5000,
    ),
}


@pytest.mark.parametrize("asked", IMPAIRMENTS.values(), ids=IMPAIRMENTS.keys())
def test_the_kernel_holds_what_was_asked_for(asked: Netem) -> None:
    with routed(out=asked, back=Netem(delay_ns=7 * MS)) as lab:
        held = lab.held("out")
        assert held is not None
        assert (held.delay_ns, held.jitter_ns, held.limit) == (asked.delay_ns, asked.jitter_ns, asked.limit)
        assert held.rate_bytes == asked.rate_bytes
        assert type(held.loss) is type(asked.loss)
        assert held.gap == (asked.gap or int(asked.reorder > 0))
        assert lab.out is asked
        assert lab.back == Netem(delay_ns=7 * MS)


def test_a_seed_is_kept_where_the_kernel_has_seeds() -> None:
    asked = Netem(loss=RandomLoss(1), seed=(1 << 63) + 5)
    with routed() as lab:
        try:
            lab.impair(out=asked, back=None)
        except UnsupportedByKernel as lacking:
            pytest.skip(str(lacking))
        held = lab.held("out")
        assert held is not None
        assert held.seed == asked.seed


def test_a_seed_that_was_not_asked_for_is_read_back_to_be_recorded() -> None:
    with routed(out=Netem(loss=RandomLoss(1)), back=Netem(loss=RandomLoss(1))) as lab:
        out, back = lab.held("out"), lab.held("back")
        assert out is not None
        assert back is not None
        if out.seed is None:
            pytest.skip("this kernel's netem has no seeds (Linux 6.6)")
        assert out.seed != back.seed


def test_nothing_of_an_earlier_impairment_stays() -> None:
    with routed(out=Netem(loss=RandomLoss(5, 25), rate_bytes=1000, corrupt=1), back=None) as lab:
        lab.impair(out=Netem(loss=RandomLoss(5)), back=None)
        held = lab.held("out")
        assert held is not None
        assert dataclasses.replace(held, seed=None, loss=None) == Netem()
        assert isinstance(held.loss, RandomLoss)
        assert held.loss.correlation == 0


def test_an_impairment_is_taken_away() -> None:
    with routed(out=Netem(delay_ns=MS), back=Netem(delay_ns=MS)) as lab:
        assert {way: counted.kind for way, counted in lab.statistics().items()} == {"out": "netem", "back": "netem"}
        lab.impair(out=None, back=Netem(delay_ns=MS))
        assert lab.out is None
        assert {way: counted.kind for way, counted in lab.statistics().items()} == {"out": "noqueue", "back": "netem"}


def test_what_the_kernel_holds_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is told another delay than was asked for: the read-back must notice."""
    install = qdisc.add_netem
    monkeypatch.setattr(
        qdisc, "add_netem", lambda index, asked: install(index, dataclasses.replace(asked, delay_ns=21 * MS))
    )
    with (
        pytest.raises(NetemMismatch, match="delay_ns = 20000000, the kernel holds 21000000") as refused,
        routed(out=Netem(delay_ns=20 * MS)),
    ):
        pass
    assert (refused.value.direction, refused.value.attribute) == ("out", "delay_ns")


def test_direct_impairs_what_each_end_sends() -> None:
    with direct(out=Netem(delay_ns=MS), back=Netem(delay_ns=2 * MS)) as lab:
        lab.drain(deadline_s=5)
        counted = lab.statistics()
        assert lab.link is None
        assert counted["out"].packets >= 1
        assert counted["back"].packets >= 1
        assert lab.held("back") is not None


def test_draining_waits_for_what_is_under_way() -> None:
    with routed(out=Netem(delay_ns=80 * MS, jitter_ns=79 * MS), back=Netem(delay_ns=MS)) as lab:
        with (
            lab.client.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            lab.server.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        ):
            receiver.bind((lab.server.ipv4, 0))
            for number in range(50):
                sender.sendto(bytes([number]), receiver.getsockname())
            lab.drain(deadline_s=10)
            receiver.setblocking(False)
            arrived = {receiver.recv(1)[0] for _ in range(50)}
        assert arrived == set(range(50))
        assert lab.statistics()["out"].qlen == 0


def test_a_link_that_loses_everything_is_silent() -> None:
    with routed(out=Netem(loss=RandomLoss(100)), back=None) as lab:
        with pytest.raises(LinkSilent, match=r"no marker passed the link \(out\) within"):
            lab.drain(deadline_s=0.6)
        assert lab.statistics()["out"].drops >= 1


TC = {
    "delay 20ms 2ms 25% distribution pareto": Netem(
        delay_ns=20 * MS, jitter_ns=2 * MS, delay_correlation=25, distribution=Distribution.named("pareto")
    ),
    "loss random 0.3% 12.5%": Netem(loss=RandomLoss(0.3, 12.5)),
    "loss state 1% 60% 20% 80% 0.5%": Netem(loss=StateLoss(1, 60, 20, 80, 0.5)),
    "loss state 1%": Netem(loss=StateLoss(1)),
    "loss gemodel 1% 20% 30% 0.125% ecn": Netem(loss=GilbertElliott(1, 20, 70, 0.125), ecn=True),
    "delay 10ms reorder 25% 50%": Netem(delay_ns=10 * MS, reorder=25, reorder_correlation=50),
    "delay 10ms reorder 25% gap 5": Netem(delay_ns=10 * MS, reorder=25, gap=5),
    "corrupt 0.1% 1% duplicate 2% 3%": Netem(corrupt=0.1, corrupt_correlation=1, duplicate=2, duplicate_correlation=3),
    "rate 1mbit -14 53 5": Netem(rate_bytes=125_000, packet_overhead=-14, cell_size=53, cell_overhead=5),
    "rate 100gbit": Netem(rate_bytes=12_500_000_000),
    "slot 1ms 2ms packets 20 bytes 30000": Netem(
        slot=Slot(min_delay_ns=MS, max_delay_ns=2 * MS, max_packets=20, max_bytes=30_000)
    ),
    "limit 77": Netem(limit=77),
}


@pytest.mark.parametrize("words", TC)
def test_what_iproute2_installs_means_the_same_here(words: str) -> None:
    """An oracle that shares no code with this: tc writes, the read-back must find the impairment that the words say."""
    tc = shutil.which("tc")
    if tc is None:
        pytest.skip("iproute2 is not installed")
    asked = TC[words]
    with routed() as lab:
        assert lab.link is not None
        index, name = lab.link.indexes[1], lab.link.interfaces[1]
        with lab.link.namespace.entered():
            subprocess.run([tc, "qdisc", "replace", "dev", name, "root", "netem", *words.split()], check=True)
        with Channel(lab.link.namespace) as channel:
            compare("out", asked, found(qdisc.roots(channel)[index].options, asked))


def test_both_directions_are_counted() -> None:
    with routed(out=Netem(delay_ns=MS), back=Netem(delay_ns=MS, loss=RandomLoss(100))) as lab:
        before = lab.statistics()
        with pytest.raises(LinkSilent, match=r"the link \(back\) within"):
            lab.drain(deadline_s=0.6)
        counted = lab.statistics()
    assert counted["out"].packets > before["out"].packets
    assert counted["out"].bytes > before["out"].bytes
    assert counted["out"].drops == 0
    assert counted["back"].drops > before["back"].drops
    if counted["out"].xstats:
        assert counted["out"].xstats["delayed"] == counted["out"].packets
        assert counted["back"].xstats["dropped"] == counted["back"].drops
