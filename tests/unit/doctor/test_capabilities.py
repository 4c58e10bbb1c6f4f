"""Looking at the machine: what is reported where something is missing, on a machine that is planted."""

from __future__ import annotations

import gzip
import os
import platform
import sys
import time
from pathlib import Path

import pytest

from rttcheck.collect.probe import libbpf
from rttcheck.collect.probe import probe as probe_module
from rttcheck.collect.probe.probe import Attempt
from rttcheck.doctor import capabilities, equipment
from rttcheck.doctor.capability import Capability
from rttcheck.doctor.choices import PROBES
from rttcheck.errors import CapabilityError
from rttcheck.kernels.kernel import BootableKernel


def named(known: tuple[Capability, ...], name: str) -> Capability:
    return next(capability for capability in known if capability.name == name)


def test_without_root_nothing_is_tried_and_root_alone_is_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(probe_module, "probe_support", lambda: pytest.fail("tried without root"))
    known = capabilities.host_capabilities()
    root = named(known, "root")
    assert (root.found, root.lack) == (False, "not root")
    assert "sudo" in root.remedy
    untried = [capability for capability in known if capability.detail.startswith("not tested")]
    assert {capability.name for capability in untried} == {
        "network namespaces, veth",
        "sch_netem",
        "relay",
        *(f"probe {name}" for name in PROBES),
    }
    assert not any(capability.found or capability.lack for capability in untried)


def test_a_missing_package_is_named_and_nothing_is_tried_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    monkeypatch.setattr(capabilities, "find_spec", lambda name: None if name == "pyroute2" else object())
    packages = capabilities._packages()
    assert (packages.found, packages.lack) == (False, "no Python package pyroute2")
    assert "pip install" in packages.remedy


def test_no_btf_names_the_option_of_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(capabilities, "BTF", tmp_path / "vmlinux")
    btf = capabilities._btf()
    assert (btf.found, btf.lack) == (False, "no BTF")
    assert "CONFIG_DEBUG_INFO_BTF" in btf.remedy


def test_no_libbpf_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise CapabilityError("libbpf.so.1 could not be loaded")

    monkeypatch.setattr(libbpf, "libbpf", refuse)
    assert capabilities._libbpf().remedy == "apt install libbpf1"


def test_a_refused_probe_keeps_the_kernels_words_and_the_other_is_its_alternative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = (
        Attempt("fexit", False, "the kernel refused to load rtt_fexit with EPERM (Operation not permitted)"),
        Attempt("kprobe", True, "attached"),
    )
    monkeypatch.setattr(probe_module, "probe_support", lambda: tried)
    fexit, kprobe = capabilities._probes()
    assert (fexit.lack, fexit.alternatives) == ("fexit refused (EPERM)", ("probe kprobe", "probe bcc"))
    assert "Operation not permitted" in fexit.detail
    assert kprobe.found


@pytest.mark.parametrize(("resolution_s", "found"), [(1e-9, True), (0.004, False)])
def test_timers_are_judged_by_the_clocks_resolution(
    resolution_s: float, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "clock_getres", lambda _clock: resolution_s)
    assert capabilities._timers().found is found


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ("n", "built without CONFIG_NET_SCH_NETEM"),
        ("m", "modprobe sch_netem"),
        (None, "modprobe sch_netem"),
    ],
)
def test_the_remedy_for_netem_follows_from_how_the_kernel_was_built(
    option: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "release", lambda: "0.0-planted")
    assert remedy in capabilities._netem_remedy(option)


def test_a_kernels_option_is_read_from_its_own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config.gz"
    config.write_bytes(gzip.compress(b"CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_A_LONGER=m\n"))
    monkeypatch.setattr(capabilities, "CONFIGS", (tmp_path / "absent.gz", config))
    assert [capabilities.kernel_option(f"CONFIG_{name}") for name in "ABC"] == ["y", "m", "n"]
    monkeypatch.setattr(capabilities, "CONFIGS", (tmp_path / "absent.gz",))
    assert capabilities.kernel_option("CONFIG_A") is None


def test_the_unrelated_bcc_is_told_from_the_real_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "bcc"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    wrong = capabilities._bcc()
    assert not wrong.found
    assert str(package) in wrong.detail
    assert "pip uninstall bcc" in wrong.remedy
    (package / "libbcc.py").write_text("")
    assert capabilities._bcc().found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing on it: no programs, no cache, no keys; gives its only directory."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("RTTCHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(equipment, "KEYRING", tmp_path / "keyring.gpg")
    monkeypatch.setattr(equipment, "KVM", tmp_path / "kvm")
    return tmp_path


def program(directory: Path, name: str) -> None:
    (directory / name).write_text("#!/bin/true\n")
    (directory / name).chmod(0o755)


def test_every_program_that_guests_need_is_missed_with_the_package_that_has_it(bare: Path) -> None:
    known = equipment.equipment()
    remedies = {capability.name: capability.remedy for capability in known if not capability.found}
    assert remedies["qemu-system-x86_64"] == "apt install qemu-system-x86"
    assert remedies["virtme-ng"] == "pip install virtme-ng"
    assert remedies["depmod"] == "apt install kmod"
    assert remedies["static busybox"] == "apt install busybox-static"
    assert "path of a kernel image" in remedies["Debian's archive"]
    for name in ("qemu-system-x86_64", "virtme-run", "depmod", "busybox", "apt-get", "dpkg"):
        program(bare, name)
    assert named(equipment.equipment(), "Debian's archive").remedy == "apt install debian-archive-keyring"
    (bare / "keyring.gpg").write_text("")
    lacking = {capability.name for capability in equipment.equipment() if not capability.found}
    assert lacking == {"kernel at hand", "KVM"}


def cache_kernel(cache: Path, release: str) -> None:
    directory = cache / "kernels" / release
    directory.mkdir(parents=True)
    BootableKernel(image=directory / "vmlinuz", modules=None, release=release).save(directory)


def test_kernels_at_hand_are_offered_the_default_first_then_the_newest(bare: Path) -> None:
    for release in ("6.1.9+deb12-amd64", "6.12.117+deb13-amd64", "6.12.20+deb13-amd64", "7.2.1+deb14-amd64"):
        cache_kernel(bare / "cache", release)
    at_hand = named(equipment.equipment(), "kernel at hand")
    assert at_hand.found
    assert at_hand.kernels == (
        "debian:6.12",
        "debian:7.2.1+deb14",
        "debian:6.12.117+deb13",
        "debian:6.12.20+deb13",
        "debian:6.1.9+deb12",
    )


def test_the_default_is_not_offered_where_no_kernel_of_its_series_is_at_hand(bare: Path) -> None:
    cache_kernel(bare / "cache", "6.1.9+deb12-amd64")
    assert named(equipment.equipment(), "kernel at hand").kernels == ("debian:6.1.9+deb12",)


def test_a_cache_that_cannot_be_read_holds_no_kernel(bare: Path) -> None:
    broken = bare / "cache" / "kernels" / "6.12.1-amd64"
    broken.mkdir(parents=True)
    (broken / "kernel.json").write_text("{")
    assert not named(equipment.equipment(), "kernel at hand").found


def test_too_little_room_names_the_directory_and_the_way_to_another(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equipment, "FETCH_BYTES", 1 << 62)
    room = named(equipment.equipment(), "cache directory")
    assert not room.found
    assert str(bare / "cache") in room.detail
    assert "RTTCHECK_CACHE" in room.remedy
    cache_kernel(bare / "cache", "6.12.1-amd64")
    assert named(equipment.equipment(), "cache directory").found
