"""Every probe backend on kernels that allow all of them, beside fexit; and scenarios judged through the narrow ones."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rttcheck.collect.probe.bcc_module import import_bcc
from rttcheck.errors import CapabilityError, KernelError
from rttcheck.judge.findings import Outcome
from rttcheck.judge.verdict import judge
from rttcheck.kernels.archive import fetch
from rttcheck.kernels.guest import GuestSettings
from rttcheck.record.recording import Recording

PROJECT = Path(__file__).parents[2]

Launch = Callable[..., "subprocess.Popen[bytes]"]

BESIDE_FEXIT = """
import os
from tests.support.loopback import connection, network, one_acknowledgement_of_many, ping_pong
from rttcheck.collect.probe import backend
from rttcheck.collect.probe.bcc_object import headers
from rttcheck.record.event import EVENT
from rttcheck.collect.probe.probe import open_probe
print("headers of its own:", headers(os.uname().release) == (), flush=True)
own = {"timestamp_ns", "generation", "hook", "jiffies", "timer_jiffies"}
for kfunc in (True, False):
    if not kfunc:
        backend._takes_fexit = lambda kernel: False
    with open_probe("bcc") as one, open_probe("fexit") as other, network() as namespace:
        with one.watch([namespace.inode]) as bcc, other.watch([namespace.inode]) as fexit:
            ping_pong(namespace)
            ping_pong(namespace, 5, host="::1")
            with connection(namespace) as (client, server):
                one_acknowledgement_of_many(client, server)
        seen, due = bcc.events(), fexit.events()
        differing = [name for name in EVENT.names if name not in own and seen[name].tolist() != due[name].tolist()]
        tables = all((bcc.histograms()[unit] == fexit.histograms()[unit]).all() for unit in ("us", "ms"))
        print(one.tried[-1].reason, len(seen), len(due), bcc.lost, differing, tables, sep="|", flush=True)
"""


def bcc_kernel() -> str:
    """A kernel whose headers are at hand, for bcc; where CI asks for it nothing may be missing."""
    try:
        import_bcc()
        return f"debian:{fetch('debian:6.1', headers=True).name}"
    except (CapabilityError, KernelError) as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def test_bcc_sees_what_fexit_sees_member_by_member_compiled_as_kfunc_and_as_kprobe(
    settings: GuestSettings, launch: Launch, show: Callable[[str], None]
) -> None:
    kernel = bcc_kernel()
    process = launch(replace(settings, kernel=kernel), "-c", BESIDE_FEXIT)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err.decode()
    own, *rows = out.decode().splitlines()
    assert own == "headers of its own: True"
    lines = [line.split("|") for line in rows]
    assert [line[0] for line in lines] == [
        "attached to kfunc on tcp_ack_update_rtt",
        "attached to kprobe and kretprobe on tcp_ack_update_rtt",
    ]
    for _, seen, due, lost, differing, tables in lines:
        show(f"bcc: {seen} events, fexit: {due}")
        assert int(seen) == int(due) > 80
        assert (lost, differing, tables) == ("0", "[]", "True")


@pytest.mark.parametrize(
    ("kernel", "probe", "second", "srtt"),
    [
        ("debian:6.12", "auto", "sockops", True),
        ("debian:6.12", "sockops", "kprobe", True),
        ("debian:6.1", "sockops", "kprobe", False),
    ],
)
def test_a_scenario_is_judged_through_either_probe_and_the_two_agree(
    settings: GuestSettings, launch: Launch, tmp_path: Path, kernel: str, probe: str, second: str, srtt: bool
) -> None:
    words = ["rtt-10ms", "loss", "--kernel", "host", "--probe", probe, "--recordings", str(tmp_path / "recordings")]
    command = f"import sys; from rttcheck.cli import main; sys.exit(main(['run', *{json.dumps(words)}]))"
    process = launch(replace(settings, kernel=kernel), "-c", command)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, (out + err).decode()
    for path in sorted((tmp_path / "recordings").rglob("*.rttrec")):
        recording = Recording.load(path)
        assert recording.second_facts["probe"] == second
        assert len(recording.second)
        verdict = judge(recording)
        assert verdict.outcome is Outcome.PASSED
        beside = [finding for finding in verdict.findings if finding.key.startswith("observer.second")]
        assert [finding.outcome for finding in beside] == [Outcome.PASSED] * 2
        narrow = recording.view if probe == "sockops" else None
        assert narrow is None or narrow.sees("srtt_us") == srtt
        assert bool(verdict.blind) == (narrow is not None)
