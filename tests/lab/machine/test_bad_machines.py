"""Machines that lack one thing, made for real: in a mount namespace, without privileges, with a wrong package.

Each is named in one sentence, with what to do, by `rttcheck doctor`, by `rttcheck run` and by pytest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from rttcheck.collect.probe.bcc_module import PLACES

PROJECT = Path(__file__).parents[3]
COULD_NOT = 3
"""The exit status of what could not be done."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make bad machines"),
    pytest.mark.skipif(not (which("unshare") and which("setpriv")), reason="util-linux is not installed"),
]

WITHOUT_VERSION_2 = """
for point in $(awk '$0 ~ / - cgroup2 / { print $5 }' /proc/self/mountinfo); do umount -l "$point"; done
"""
WITHOUT_LIBBPF = """
library=$(ldconfig -p | awk '/libbpf[.]so[.]1/ { print $NF; exit }')
mount --bind /dev/null "$(readlink -f "$library")"
"""
WITHOUT_BCC = "".join(f"test ! -d {place}/bcc || mount -t tmpfs none {place}/bcc\n" for place in PLACES)
"""The real one out of the way; a directory without its library is none."""

PLAIN_READER = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
    # May read what only root may, as this Python may be in such a place, and has no other privilege.
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


def locked_down(mode: str) -> str:
    return f"mount -t tmpfs none /sys/kernel/security && echo '{mode}' > /sys/kernel/security/lockdown\n"


def on(
    machine: str, *command: str, through: tuple[str, ...] = (), variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command of this Python's on the machine that a script makes of a private copy of the mount table."""
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", f'{machine}\nexec "$@"', "sh", *through,
         sys.executable, *command],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200", **(variables or {})},
    )  # fmt: skip


def doctor(machine: str, **options: Any) -> dict[str, Any]:
    """The capabilities by their names."""
    told = on(machine, "-m", "rttcheck.cli", "doctor", "--json", **options)
    assert told.returncode in (0, 1), told.stderr
    return {capability["name"]: capability for capability in json.loads(told.stdout)["capabilities"]}


def run(machine: str, directory: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    recordings = ("--recordings", str(directory / "recordings"))
    return on(machine, "-m", "rttcheck.cli", "run", "rtt-1ms", "--kernel", "host", *recordings, *words, **options)


def refusal(told: subprocess.CompletedProcess[str]) -> str:
    """The one sentence that `rttcheck run` ends with."""
    assert told.returncode == COULD_NOT, told.stdout + told.stderr
    lines = told.stderr.strip().splitlines()
    assert len([line for line in lines if line.startswith("rttcheck: ")]) == 1, told.stderr
    assert "Traceback" not in told.stderr
    return lines[-1].removeprefix("rttcheck: ")


def pytests_refusal(machine: str, directory: Path, *words: str, **options: Any) -> str:
    told = on(
        machine,
        *("-m", "pytest", "-p", "no:cacheprovider", "-q", "-n0", "-m", "rtt", "--rtt-kernel", "host", *words),
        *("--rtt-recordings", str(directory / "recordings"), "tests/rtt", "-k", "rtt-1ms"),
        **options,
    )
    assert told.returncode != 0, told.stdout
    sentence = re.search(r"^ERROR: (.*)$", told.stdout + told.stderr, re.MULTILINE)
    assert sentence is not None, told.stdout + told.stderr
    return sentence.group(1)


def test_a_machine_with_cgroup_version_1_alone_gets_a_hierarchy_of_its_own(tmp_path: Path) -> None:
    if not doctor("")["probe sockops"]["found"]:
        pytest.skip("sockops does not work here at all")
    sockops = doctor(WITHOUT_VERSION_2)["probe sockops"]
    assert sockops["found"]
    assert "in a hierarchy of its own" in sockops["detail"]
    told = run(WITHOUT_VERSION_2, tmp_path, "--probe", "sockops")
    assert told.returncode in (0, 1), told.stderr
    assert "probe sockops" in told.stdout


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of the unprivileged user's; pytest's own are root's alone."""
    with TemporaryDirectory() as directory:
        os.chown(directory, 65_534, 65_534)
        yield Path(directory)


def test_an_unprivileged_user_is_told_to_be_root_and_nothing_else(home: Path) -> None:
    options: dict[str, Any] = {"through": PLAIN_READER, "variables": {"HOME": str(home)}}
    known = doctor("", **options)
    assert (known["root"]["found"], known["root"]["detail"]) == (False, "user 65534, not root")
    assert "sudo" in known["root"]["remedy"]
    assert known["probe fexit"]["detail"] == "not tested: needs root"
    assert re.match(r"network namespaces and the RTT probe need root, and this is user 65534: run it again with sudo",
                    refusal(run("", home, **options)))  # fmt: skip
    assert re.fullmatch(r"the running kernel cannot be judged \(not root: [^;]* \(sudo\)[^;]*\)",
                        pytests_refusal("", home, **options))  # fmt: skip


def test_root_without_its_privileges_is_told_of_the_container(tmp_path: Path) -> None:
    through = ("setpriv", "--inh-caps=-sys_admin,-bpf,-perfmon", "--bounding-set=-sys_admin,-bpf,-perfmon")
    known = doctor("", through=through)
    assert not known["root"]["found"]
    assert "--privileged" in known["root"]["remedy"]
    assert refusal(run("", tmp_path, through=through)).endswith(
        "run the container with --privileged or --cap-add SYS_ADMIN"
    )


def test_a_missing_libbpf_is_named_once_with_its_package(tmp_path: Path) -> None:
    known = doctor(WITHOUT_LIBBPF)
    assert not known["libbpf.so.1"]["found"]
    assert known["libbpf.so.1"]["remedy"] == "apt install libbpf1"
    assert {known[name]["detail"] for name in known if name.startswith("probe ")} == {
        "not tested: libbpf.so.1 is missing"
    }
    sentence = refusal(run(WITHOUT_LIBBPF, tmp_path))
    assert re.fullmatch(r"the RTT probe needs libbpf\.so\.1 .* could not be loaded .*: apt install libbpf1", sentence)
    assert sentence.count("apt install") == 1
    assert "(no libbpf.so.1: apt install libbpf1" in pytests_refusal(WITHOUT_LIBBPF, tmp_path)


def test_the_package_bcc_of_pypi_is_named_with_the_real_one(tmp_path: Path) -> None:
    wrong = tmp_path / "packages" / "bcc"
    wrong.mkdir(parents=True)
    (wrong / "__init__.py").write_text('"""A board support package."""\n')
    variables = {"PYTHONPATH": str(wrong.parent)}
    in_the_way = doctor("", variables=variables)["no unrelated bcc"]
    assert not in_the_way["found"]
    assert str(wrong) in in_the_way["detail"]
    assert "pip uninstall bcc" in in_the_way["remedy"]
    remedy = f"the package bcc in {wrong} is not the BPF compiler collection: pip uninstall bcc, then apt install"
    assert remedy in doctor(WITHOUT_BCC, variables=variables)["probe bcc"]["detail"]
    assert remedy in refusal(run(WITHOUT_BCC, tmp_path, "--probe", "bcc", variables=variables))
    assert remedy in pytests_refusal(WITHOUT_BCC, tmp_path, "--rtt-probe", "bcc", variables=variables)


def test_a_lockdown_that_forbids_tracing_is_named_with_the_way_out_of_it(tmp_path: Path) -> None:
    if not Path("/sys/kernel/security").is_dir():
        pytest.skip("this kernel has no place for securityfs")
    machine = locked_down("none integrity [confidentiality]")
    known = doctor(machine)["no lockdown"]
    assert (known["found"], known["lack"]) == (False, "locked down")
    assert known["remedy"] == "boot it with lockdown=none, or without Secure Boot"
    assert "(locked down: boot it with lockdown=none" in pytests_refusal(machine, tmp_path)
    for mode in ("none [integrity] confidentiality", "[none] integrity confidentiality"):
        known = doctor(locked_down(mode))["no lockdown"]
        assert (known["found"], known["detail"]) == (True, mode)
