"""Which backend is chosen, and what is said when none works."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rttcheck.collect.probe import probe
from rttcheck.collect.probe.function import FUNCTION, Unproven
from rttcheck.collect.probe.libbpf import Libbpf, Refused, libbpf
from rttcheck.collect.probe.probe import BACKENDS, KPROBE_EVENTS, Attempt, open_probe, probe_support, require_privilege
from rttcheck.errors import CapabilityError, ProbeError

Plant = Callable[..., list[str]]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Let each backend attach, or fail with the error given for it; returns the list of what is attached."""

    def plant(**errors: Exception) -> list[str]:
        attached: list[str] = []

        @contextmanager
        def attach(backend: str, symbol: str, ring_bytes: int) -> Iterator[Any]:
            assert symbol == FUNCTION
            assert ring_bytes >= 4096
            if backend in errors:
                raise errors[backend]
            attached.append(backend)
            yield SimpleNamespace(map=lambda name: SimpleNamespace(fd=-1, name=name))
            attached.remove(backend)

        @contextmanager
        def ring(map_fd: int, dtype: Any) -> Iterator[Any]:
            yield (map_fd, dtype)

        monkeypatch.setattr(probe, "_attached", attach)
        monkeypatch.setattr(probe, "open_ring", ring)
        monkeypatch.setattr(probe, "proven_symbol", lambda: FUNCTION)
        monkeypatch.setattr(probe, "require_privilege", lambda: None)
        return attached

    return plant


def test_auto_takes_fexit_and_tries_nothing_else(plant: Plant) -> None:
    attached = plant()
    with open_probe() as opened:
        assert opened.backend == "fexit"
        assert opened.tried == (Attempt("fexit", True, f"attached to the return of {FUNCTION}"),)
        assert attached == ["fexit"]
    assert attached == []


def test_auto_falls_back_to_kprobe_and_keeps_the_reason(plant: Plant) -> None:
    attached = plant(fexit=Refused("load rtt_fexit", errno.ENOENT, "no such thing"))
    with open_probe() as opened:
        assert opened.backend == "kprobe"
        assert [(attempt.backend, attempt.ok) for attempt in opened.tried] == [("fexit", False), ("kprobe", True)]
        assert opened.tried[0].reason == (
            "the kernel refused to load rtt_fexit with ENOENT (No such file or directory); it said: no such thing"
        )
        assert attached == ["kprobe"]


def test_a_backend_asked_for_by_name_is_never_replaced(plant: Plant) -> None:
    attached = plant(kprobe=Unproven("no kprobes here"))
    with pytest.raises(CapabilityError, match=r"\(kprobe was asked for\).*: kprobe: no kprobes here: run on"):
        open_probe("kprobe").__enter__()
    assert attached == []


def test_when_none_works_each_backends_reason_is_given(plant: Plant) -> None:
    plant(fexit=Refused("load rtt_fexit", errno.EPERM, ""), kprobe=Unproven("no kprobes here"))
    with pytest.raises(CapabilityError) as caught:
        open_probe().__enter__()
    message = str(caught.value)
    assert (
        "fexit: the kernel refused to load rtt_fexit with EPERM (Operation not permitted) (the process has" in message
    )
    assert "kprobe: no kprobes here" in message
    assert "\n" not in message


def test_support_tries_every_backend_and_leaves_none_attached(plant: Plant) -> None:
    attached = plant(fexit=Unproven("renamed"))
    assert probe_support() == (
        Attempt("fexit", False, "renamed"),
        Attempt("kprobe", True, f"attached to the entry and the return of {FUNCTION}"),
    )
    assert attached == []


def test_an_unproven_function_is_the_reason_of_every_backend(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def unproven() -> str:
        raise Unproven("the compiler renamed it")

    plant()
    monkeypatch.setattr(probe, "proven_symbol", unproven)
    assert probe_support() == tuple(Attempt(backend, False, "the compiler renamed it") for backend in BACKENDS)


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProbeError, match="'fentry' was asked for and there are: auto, fexit, kprobe"):
        open_probe("fentry").__enter__()


def test_a_missing_libbpf_names_the_package() -> None:
    with pytest.raises(CapabilityError, match=r"libbpf\.so\.77.*apt install libbpf1"):
        Libbpf("libbpf.so.77")


def test_a_library_that_is_no_libbpf_names_the_package() -> None:
    with pytest.raises(CapabilityError, match=r"libc\.so\.6 \(1\.0 or later\).*apt install libbpf1"):
        Libbpf("libc.so.6")


@pytest.mark.parametrize("held", [1 << 21, (1 << 38) | (1 << 39), (1 << 41) - 1])
def test_enough_privilege_is_enough(tmp_path: Path, held: int) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapPrm:\t0\nCapEff:\t{held:016x}\n")
    require_privilege(status)


@pytest.mark.parametrize("held", [0, 1 << 38, 1 << 39, 1 << 12])
def test_too_little_privilege_names_root(tmp_path: Path, held: int) -> None:
    status = tmp_path / "status"
    status.write_text(f"CapEff:\t{held:016x}\n")
    with pytest.raises(CapabilityError, match=rf"needs root .*of user {os.geteuid()}.*sudo"):
        require_privilege(status)


def test_the_words_of_the_kernel_are_kept_without_those_that_mean_nothing() -> None:
    library = libbpf()
    library.words()
    # An object that is not there: libbpf says so through the function that keeps its words.
    assert not library.call.bpf_object__open_file(b"/nonexistent/object.o", None)
    words = library.words()
    assert "/nonexistent/object.o" in words
    assert "\n" not in words
    assert library.words() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets as far as the kernel's refusal")
def test_this_kernels_refusal_of_kprobes_says_what_is_missing() -> None:
    if KPROBE_EVENTS.exists():
        pytest.skip("this kernel has kprobes")
    with pytest.raises(CapabilityError, match=r"kprobe: the kernel has no kprobes .*CONFIG_KPROBE_EVENTS"):
        open_probe("kprobe").__enter__()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets as far as the kernel's refusal")
def test_this_kernels_refusal_of_fexit_is_quoted() -> None:
    fexit = next(attempt for attempt in probe_support() if attempt.backend == "fexit")
    if fexit.ok:
        pytest.skip("this kernel takes fexit programs")
    with pytest.raises(CapabilityError) as caught:
        open_probe("fexit").__enter__()
    assert fexit.reason in str(caught.value)
    assert "refused to load rtt_fexit with " in fexit.reason
    assert "ulimit" not in fexit.reason
