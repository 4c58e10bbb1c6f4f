"""Which symbol is trusted to be tcp_ack_update_rtt, from planted kallsyms and BTF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rttcheck.collect.probe import function
from rttcheck.collect.probe.btf import Prototype, kernel_btf
from rttcheck.collect.probe.function import FUNCTION, PROTOTYPE, VMLINUX, Unproven, proven_symbol, resolve, symbols

PLAIN = b"""\
ffffffff82013df0 t __pfx_tcp_ack_update_rtt
ffffffff82013e00 t tcp_ack_update_rtt
ffffffff82013f00 t tcp_ack
ffffffff82014000 d tcp_ack_update_rtt_data
ffffffff82014010 T not_tcp_ack_update_rtt
"""
ISRA = b"ffffffff82013e00 t tcp_ack_update_rtt.isra.0\nffffffff82013f00 t tcp_ack\n"
CONSTPROP = b"ffffffff82013e00 t tcp_ack_update_rtt.constprop.0"
COLD = b"ffffffff82013e00 t tcp_ack_update_rtt\nffffffff81013e00 t tcp_ack_update_rtt.cold\n"


def btf(**prototypes: Prototype) -> Callable[[str], Prototype | None]:
    return prototypes.get


def proves(name: str, prototype: Prototype = PROTOTYPE) -> Callable[[str], Prototype | None]:
    return {name: prototype}.get


@pytest.mark.parametrize(
    ("kallsyms", "names"),
    [
        (PLAIN, ("tcp_ack_update_rtt",)),
        (ISRA, ("tcp_ack_update_rtt.isra.0",)),
        (CONSTPROP, ("tcp_ack_update_rtt.constprop.0",)),
        (COLD, ("tcp_ack_update_rtt",)),
        (PLAIN + CONSTPROP, ("tcp_ack_update_rtt", "tcp_ack_update_rtt.constprop.0")),
        (b"", ()),
        (b"ffffffff82013e00 t tcp_ack_update_rtt\t[tcp]\n", ("tcp_ack_update_rtt",)),
        (b"ffffffff82013e00 d tcp_ack_update_rtt\n", ()),
    ],
)
def test_symbols_are_the_function_and_its_clones_only(kallsyms: bytes, names: tuple[str, ...]) -> None:
    assert symbols(kallsyms) == names


def test_the_plain_function_with_the_known_prototype_is_taken() -> None:
    assert resolve(symbols(PLAIN), proves(FUNCTION)) == FUNCTION


@pytest.mark.parametrize("kallsyms", [ISRA, CONSTPROP])
def test_a_clone_is_refused_although_btf_holds_the_original(kallsyms: bytes) -> None:
    clone = symbols(kallsyms)[0]
    with pytest.raises(Unproven, match=rf"renamed tcp_ack_update_rtt to {clone}, and no BTF proves"):
        resolve((clone,), proves(FUNCTION))


def test_a_clone_is_taken_when_btf_has_its_exact_name_and_arguments() -> None:
    clone = symbols(ISRA)[0]
    assert resolve((clone,), proves(clone)) == clone


def test_a_clone_that_lost_an_argument_is_refused() -> None:
    clone = symbols(ISRA)[0]
    fewer = Prototype("bool", PROTOTYPE.parameters[:-1])
    with pytest.raises(Unproven, match=r"isra.0 is bool .*ca_rtt_us. and not bool .*rate_sample . rs"):
        resolve((clone,), proves(clone, fewer))


def test_swapped_arguments_of_one_type_are_refused() -> None:
    sk, flag, first, sack, last, rs = PROTOTYPE.parameters
    swapped = Prototype("bool", (sk, flag, last, sack, first, rs))
    with pytest.raises(Unproven, match="and not"):
        resolve((FUNCTION,), proves(FUNCTION, swapped))


def test_an_original_beside_a_clone_is_refused_because_a_probe_would_miss_calls() -> None:
    with pytest.raises(Unproven, match=r"more than once \(tcp_ack_update_rtt, .*constprop.0\): .* misses calls"):
        resolve(symbols(PLAIN + CONSTPROP), proves(FUNCTION))


def test_a_kernel_without_the_function_is_refused() -> None:
    with pytest.raises(Unproven, match="no function tcp_ack_update_rtt"):
        resolve((), proves(FUNCTION))


def test_a_function_that_btf_does_not_hold_is_refused() -> None:
    with pytest.raises(Unproven, match="BTF does not contain tcp_ack_update_rtt"):
        resolve((FUNCTION,), btf())


def test_a_kernel_without_btf_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(function, "VMLINUX", tmp_path / "vmlinux")
    with pytest.raises(Unproven, match=r"no BTF \(.*/vmlinux is missing; it needs CONFIG_DEBUG_INFO_BTF"):
        proven_symbol()


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_the_prototype_of_the_running_kernel_is_read_from_its_btf() -> None:
    with kernel_btf() as types:
        assert types.function(FUNCTION) == PROTOTYPE
        assert types.function("tcp_ack_update_rtt.isra.0") is None


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_planted_kallsyms_decide_for_the_running_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planted, modules = tmp_path / "kallsyms", tmp_path / "modules"
    monkeypatch.setattr(function, "KALLSYMS", planted)
    monkeypatch.setattr(function, "MODULES", modules)
    function._proven_with.cache_clear()
    planted.write_bytes(PLAIN)
    modules.write_text("veth 45056 0 - Live 0xffffffffc0a0b000\n")
    assert proven_symbol() == FUNCTION
    # Used once more, which is no other module: nothing is looked up again.
    modules.write_text("veth 45056 1 - Live 0xffffffffc0a0b000\n")
    planted.write_bytes(ISRA)
    assert proven_symbol() == FUNCTION
    modules.write_text("veth 45056 1 - Live 0xffffffffc0a0b000\nother 16384 0 - Live 0xffffffffc0a19000 (OE)\n")
    with pytest.raises(Unproven, match="no BTF proves"):
        proven_symbol()
    function._proven_with.cache_clear()
