"""What bcc needs before it compiles: the right module, headers, offsets; what is missing is named with its remedy."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rttcheck.collect.bpf_files import BPF
from rttcheck.collect.probe import bcc_module
from rttcheck.collect.probe.bcc_module import import_bcc, unrelated_bcc
from rttcheck.collect.probe.bcc_object import headers, merge
from rttcheck.collect.probe.bcc_program import program
from rttcheck.collect.probe.btf import Place, kernel_btf
from rttcheck.collect.probe.function import VMLINUX, Unproven
from rttcheck.errors import CapabilityError

TEMPLATE = BPF / "rtt_bcc.c.in"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for packages, first on the path; no bcc was imported yet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    monkeypatch.setattr(bcc_module, "_NAME", "planted_bcc")
    return tmp_path


def package(place: Path, *files: str, text: str = "") -> Path:
    made = place / "bcc"
    made.mkdir()
    for name in ("__init__.py", *files):
        (made / name).write_text(text)
    return made


def test_the_unrelated_package_of_that_name_is_reported_with_both_remedies(place: Path) -> None:
    wrong = package(place)
    assert unrelated_bcc() == wrong
    with pytest.raises(CapabilityError, match=rf"{wrong} is not .*: pip uninstall bcc, then apt install python3-bpfcc"):
        import_bcc(places=(place,))


def test_the_unrelated_package_does_not_hide_the_real_one(place: Path, tmp_path: Path) -> None:
    package(place)
    elsewhere = tmp_path / "dist-packages"
    elsewhere.mkdir()
    package(elsewhere, "libbcc.py", text="BPF = 'the compiler collection'\n")
    module = import_bcc(places=(elsewhere,))
    try:
        assert module.BPF == "the compiler collection"
        assert "bcc" not in sys.modules
        assert import_bcc(places=()) is module, "imported once"
    finally:
        del sys.modules["planted_bcc"]


def test_the_real_one_in_this_environment_is_no_unrelated_one(place: Path) -> None:
    package(place, "libbcc.py")
    assert unrelated_bcc() is None


def test_without_any_the_package_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcc_module, "unrelated_bcc", lambda: None)
    with pytest.raises(CapabilityError, match="not installed: apt install python3-bpfcc"):
        import_bcc(places=(place,))


def test_a_module_without_its_library_is_one_sentence(place: Path) -> None:
    package(place, "libbcc.py", text="raise OSError('libbcc.so.0: cannot open shared object file')\n")
    with pytest.raises(CapabilityError, match=r"cannot be loaded \(libbcc\.so\.0: .*apt install python3-bpfcc again"):
        import_bcc(places=(place,))
    assert "planted_bcc" not in sys.modules


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{root.name}: {name}")
    return root


GENERATED = ("include/generated/autoconf.h", "include/config/auto.conf", "arch/x86/include/generated/asm/x.h")
COMMON = ("include/linux/kconfig.h", "include/uapi/linux/bpf.h", "arch/x86/include/asm/page.h")


def test_the_kernels_own_headers_need_no_help(tmp_path: Path) -> None:
    (tmp_path / "modules" / "6.1" / "build" / "include").mkdir(parents=True)
    assert headers("6.1", tmp_path / "src", tmp_path / "modules") == ()


def test_any_kernels_headers_will_do_the_newest_and_both_of_debians_trees(tmp_path: Path) -> None:
    for version in ("6.1.0-50", "6.1.0-56"):
        tree(tmp_path / f"linux-headers-{version}-amd64", *GENERATED)
        tree(tmp_path / f"linux-headers-{version}-common", *COMMON)
    found = headers("6.12", tmp_path, tmp_path / "modules")
    assert [path.name for path in found] == ["linux-headers-6.1.0-56-amd64", "linux-headers-6.1.0-56-common"]
    merged = tmp_path / "merged"
    merge(found, merged)
    for name in (*GENERATED, *COMMON):
        assert (merged / name).read_text().endswith(name)


def test_a_flavour_without_the_common_tree_is_passed_over(tmp_path: Path) -> None:
    tree(tmp_path / "linux-headers-6.9-amd64", *GENERATED)
    whole = tree(tmp_path / "linux-headers-6.1-generic", *GENERATED, *COMMON)
    assert headers("6.12", tmp_path, tmp_path / "modules") == (whole,)


def test_no_headers_at_all_name_the_package(tmp_path: Path) -> None:
    with pytest.raises(Unproven, match="apt install linux-headers-amd64"):
        headers("6.12", tmp_path, tmp_path / "modules")


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_the_program_has_no_placeholder_left_and_fills_every_member() -> None:
    with kernel_btf() as btf:
        text = program(TEMPLATE.read_text(), btf, 1 << 24)
        place = btf.place("tcp_sock", "srtt_us")
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert re.findall(r"%[a-z_]\w*", code) == []
    assert place is not None
    assert f"READ(event->srtt_us, sk, {place.offset});" in code
    members = re.findall(r"^\t\S.*?\b(\w+)(?:\[\w+\])?;", (BPF / "rtt_event.h").read_text(), re.MULTILINE)
    event = members[members.index("timestamp_ns") :]
    assert [name for name in event if f"event->{name}" not in code] == []


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_places_are_those_of_the_kernels_structures() -> None:
    with kernel_btf() as btf:
        members = {member.name: member.offset for member in btf.structure("tcp_sock") or ()}
        for name in ("srtt_us", "mdev_us", "snd_una"):
            assert btf.place("tcp_sock", name) == Place(members[name])
        # A struct sock begins with a struct sock_common, in which an unnamed union begins with the addresses.
        assert btf.place("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_daddr") == Place(0)
        one = btf.place("inet_connection_sock", "icsk_ca_state")
        assert one is not None
        assert one.bits == 5
        assert btf.place("tcp_sock", "srtt") is None
        assert btf.place("tcp_sock", "srtt_us.more") is None
        assert btf.place("no_such_structure", "srtt_us") is None


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_a_member_that_the_kernel_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with kernel_btf() as btf:
        found = btf.place
        monkeypatch.setattr(btf, "place", lambda structure, path: None if "mdev_us" in path else found(structure, path))
        with pytest.raises(Unproven, match="struct tcp_sock has no mdev_us"):
            program(TEMPLATE.read_text(), btf, 1 << 24)
