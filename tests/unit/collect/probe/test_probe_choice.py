"""Which backend is chosen, and the message when none works."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from rttcheck.collect.probe import backend, lockdown, probe
from rttcheck.collect.probe.backend import BACKENDS, KPROBE_EVENTS, NAMES, Backend, Opened
from rttcheck.collect.probe.function import Unproven
from rttcheck.collect.probe.libbpf import Libbpf, Refused, libbpf
from rttcheck.collect.probe.probe import Attempt, open_probe, open_second, probe_support, require_privilege
from rttcheck.errors import CapabilityError, ProbeError
from rttcheck.record.view import WHOLE

Plant = Callable[..., list[str]]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Let each backend attach, or fail with the error given for it; returns the list of what is attached."""

    def plant(**errors: Exception) -> list[str]:
        attached: list[str] = []

        def opens(row: Backend) -> Backend:
            @contextmanager
            def attach(_kernel: Any, ring_bytes: int) -> Iterator[Opened]:
                assert ring_bytes >= 4096
                if row.name in errors:
                    raise errors[row.name]
                attached.append(row.name)
                yield Opened(cast(Any, None), cast(Any, None), row.view, "it")
                attached.remove(row.name)

            return replace(row, open=attach)

        monkeypatch.setattr(probe, "BACKENDS", tuple(opens(row) for row in BACKENDS))
        monkeypatch.setattr(probe, "require_privilege", lambda: None)
        return attached

    return plant


def test_auto_takes_fexit_and_tries_nothing_else(plant: Plant) -> None:
    attached = plant()
    with open_probe() as opened:
        assert opened.backend == "fexit"
        assert opened.tried == (Attempt("fexit", True, "attached to it"),)
        assert opened.view == WHOLE
        assert attached == ["fexit"]
    assert attached == []


def test_auto_falls_back_to_kprobe_and_keeps_the_reason(plant: Plant) -> None:
    attached = plant(fexit=Refused("load rtt_fexit", errno.ENOENT, "no such thing"))
    with open_probe() as opened:
        assert opened.backend == "kprobe"
        assert [(attempt.backend, attempt.ok) for attempt in opened.tried] == [("fexit", False), ("kprobe", True)]
        assert opened.tried[0].reason == (
            "the kernel refused to load rtt_fexit with ENOENT (No such file or directory); message: no such thing"
        )
        assert attached == ["kprobe"]


def test_a_backend_asked_for_by_name_is_never_replaced(plant: Plant) -> None:
    attached = plant(kprobe=Unproven("no kprobes here"))
    with pytest.raises(CapabilityError, match=r"\(kprobe was asked for\).*: kprobe: no kprobes here: run on"):
        open_probe("kprobe").__enter__()
    assert attached == []


def test_when_none_works_each_backends_reason_is_given(plant: Plant) -> None:
    others = {name: Unproven("not here") for name in NAMES}
    plant(**{**others, "fexit": Refused("load rtt_fexit", errno.EPERM, ""), "kprobe": Unproven("no kprobes here")})
    with pytest.raises(CapabilityError) as caught:
        open_probe().__enter__()
    message = str(caught.value)
    assert (
        "fexit: the kernel refused to load rtt_fexit with EPERM (Operation not permitted) (the process has" in message
    )
    assert "kprobe: no kprobes here" in message
    assert "\n" not in message


def test_auto_goes_down_the_table_only_as_far_as_the_caller_can_use_it(plant: Plant) -> None:
    attached = plant(fexit=Unproven("renamed"), kprobe=Unproven("no kprobes here"))
    with pytest.raises(CapabilityError, match="fexit: renamed; kprobe: no kprobes here: run on"):
        open_probe(among=("fexit", "kprobe")).__enter__()
    assert attached == []


def test_support_tries_every_backend_and_leaves_none_attached(plant: Plant) -> None:
    attached = plant(fexit=Unproven("renamed"), sockops=CapabilityError("no cgroup"))
    tried = {attempt.backend: (attempt.ok, attempt.reason) for attempt in probe_support()}
    assert list(tried) == list(NAMES)
    assert tried["fexit"] == (False, "renamed")
    assert tried["kprobe"] == (True, "attached to it")
    assert tried["sockops"] == (False, "no cgroup")
    assert attached == []


def test_the_kernel_is_asked_once_for_the_function_and_an_unproven_one_is_the_reason_of_each_that_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def unproven() -> str:
        asked.append(1)
        raise Unproven("the compiler renamed it")

    monkeypatch.setattr(backend, "proven_symbol", unproven)
    monkeypatch.setattr(probe, "require_privilege", lambda: None)
    kernel, tried = backend.ProbedKernel(), list[Attempt]()
    for row in BACKENDS[:2]:
        with ExitStack() as stack:
            assert probe._try(stack, row, kernel, 4096, tried) is None
    assert [attempt.reason for attempt in tried] == ["the compiler renamed it"] * 2
    assert asked == [1]


@pytest.mark.parametrize(
    ("first", "second"),
    [("fexit", "sockops"), ("kprobe", "sockops"), ("sockops", "kprobe"), ("tracepoint", "sockops")],
)
def test_the_second_backend_is_the_one_that_sees_samples_by_other_means(plant: Plant, first: str, second: str) -> None:
    attached = plant()
    with open_probe(first) as one, open_second(one) as other:
        assert other is not None
        assert (one.backend, other.backend) == (first, second)
        assert attached == [first, second]
    assert attached == []


def test_where_no_other_backend_works_there_is_no_second(plant: Plant) -> None:
    plant(**{name: Unproven("not here") for name in NAMES if name != "kprobe"})
    with open_probe() as one, open_second(one) as other:
        assert (one.backend, other) == ("kprobe", None)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("[none] integrity confidentiality\n", "is not locked down, so that its configuration or another policy"),
        ("none [integrity] confidentiality\n", r"is locked down, none \[integrity\] .*: boot it with lockdown=none"),
        ("none integrity [confidentiality]\n", "is locked down, none integrity .* without Secure Boot"),
        (None, "a policy such as lockdown forbids it"),
    ],
)
def test_a_refusal_to_a_privileged_process_names_the_lockdown(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str | None, words: str
) -> None:
    monkeypatch.setattr(lockdown, "LOCKDOWN", tmp_path / "lockdown")
    if mode is not None:
        (tmp_path / "lockdown").write_text(mode)
    plant(fexit=Refused("load rtt_fexit", errno.EPERM, ""))
    with pytest.raises(CapabilityError, match=words):
        open_probe("fexit").__enter__()


def test_lockdown_for_confidentiality_is_the_only_reason_given_whatever_the_error(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lockdown, "LOCKDOWN", tmp_path / "lockdown")
    (tmp_path / "lockdown").write_text("none integrity [confidentiality]\n")
    # The verifier's own message on 6.12: there is no such helper function then.
    message = "program of this type cannot use helper bpf_probe_read_kernel#113"
    plant(**{name: Refused(f"load {name}", errno.EINVAL, message) for name in NAMES})
    with pytest.raises(CapabilityError) as caught:
        open_probe().__enter__()
    assert str(caught.value).count("locked down") == 1
    assert "helper" not in str(caught.value)
    fexit = next(attempt for attempt in probe_support() if attempt.backend == "fexit")
    assert fexit.reason.startswith("the kernel is locked down, none integrity [confidentiality], so that no program")
    assert message in fexit.reason
    assert "lockdown=none" in fexit.remedy


def test_a_sentence_has_the_end_of_a_long_log_only(plant: Plant) -> None:
    log = " / ".join(f"line {number}" for number in range(40))
    plant(fexit=Refused("load rtt_fexit", errno.EINVAL, log))
    with pytest.raises(CapabilityError) as caught:
        open_probe("fexit").__enter__()
    assert "; message: ... / line 37 / line 38 / line 39: run on" in str(caught.value)
    assert "line 0 / line 1 /" in probe_support()[0].reason


def test_a_missing_libbpf_is_reported_once_and_no_backend_is_tried(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached = plant()

    def missing() -> Libbpf:
        return Libbpf("libbpf.so.77")

    monkeypatch.setattr(probe, "libbpf", missing)
    with pytest.raises(CapabilityError) as caught:
        open_probe().__enter__()
    assert str(caught.value).count("libbpf.so.77 ") == 1
    assert str(caught.value).endswith("apt install libbpf1")
    assert attached == []


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProbeError, match="'fentry' was asked for and there are: auto, fexit, kprobe, "):
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
@pytest.mark.parametrize(("user", "remedy"), [(1_000, "sudo"), (0, "--privileged or --cap-add SYS_ADMIN")])
def test_too_little_privilege_names_root_and_the_remedy_for_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, user: int, remedy: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    status = tmp_path / "status"
    status.write_text(f"CapEff:\t{held:016x}\n")
    with pytest.raises(CapabilityError, match=rf"needs root .*of user {user}, has neither: .*{remedy}"):
        require_privilege(status)


def test_the_kernels_messages_are_kept_without_uninformative_lines() -> None:
    library = libbpf()
    library.take_messages()
    # An object that is not there: libbpf reports it through the function that keeps its messages.
    assert not library.call.bpf_object__open_file(b"/nonexistent/object.o", None)
    message = library.take_messages()
    assert "/nonexistent/object.o" in message
    assert "\n" not in message
    assert library.take_messages() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets as far as the kernel's refusal")
def test_this_kernels_refusal_of_kprobes_names_what_is_missing() -> None:
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
