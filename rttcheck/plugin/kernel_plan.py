"""The kernels of the session: resolve the user's request to kernel runs, fetch kernels, and explain the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from rttcheck.doctor.choices import AUTO
from rttcheck.errors import RecordingError
from rttcheck.kernels.guest import GuestSettings
from rttcheck.plugin.kernel_run import HOST, KernelRun
from rttcheck.plugin.options import Options, make_recordings


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPlan:
    """The session's kernels, and a line for the header on each. ``clock`` is that of the guests."""

    runs: tuple[KernelRun, ...]
    clock: str
    lines: tuple[str, ...]

    @property
    def only_host(self) -> bool:
        """Whether only the running kernel is judged, which needs no worker."""
        return all(run.is_host for run in self.runs)

    @classmethod
    def of(cls, options: Options) -> KernelPlan:
        """Choose the kernels, and fetch those that are not cached.

        Raises UsageError for contradicting options, CapabilityError for a running kernel that cannot be judged,
        KernelError for a kernel that does not exist or cannot be fetched, RecordingError if files cannot be written.
        """
        kernels, clock = options.kernels, options.clock or "virtual"
        reasons = dict.fromkeys(kernels, "requested with --rtt-kernel")
        if not kernels:
            from rttcheck.doctor.capabilities import capabilities
            from rttcheck.doctor.kernel_choice import choose_kernels

            choices = choose_kernels(capabilities())
            kernels = tuple(choice.kernel for choice in choices)
            reasons = {choice.kernel: "; ".join(choice.reasons) for choice in choices}
            clock = options.clock or next((choice.clock for choice in choices if choice.kernel != HOST), "virtual")
        if kernels == (HOST,) and options.clock == "virtual":
            raise pytest.UsageError(
                "--rtt-clock virtual was asked for and the kernel is the running one, whose time is real: "
                "name a guest's kernel, as in --rtt-kernel debian:6.12"
            )
        runs: list[KernelRun] = []
        lines = []
        for number, kernel in enumerate(kernels):
            run, line = _host(options) if kernel == HOST else _guest(options, kernel, number, clock)
            _refuse_twice(run, runs)
            runs.append(run)
            lines.append(f"rttcheck: kernel {line} ({reasons[kernel]})")
        return cls(runs=tuple(runs), clock=clock, lines=tuple(lines))


def _refuse_twice(run: KernelRun, runs: Sequence[KernelRun]) -> None:
    """Raise UsageError for two guests of one release, which would overwrite each other's console and recordings."""
    for other in runs:
        if not run.is_host and not other.is_host and other.release == run.release:
            raise pytest.UsageError(
                f"--rtt-kernel {other.asked} and {run.asked} are both {run.release}: name one of them, or judge "
                "them in two sessions with --rtt-recordings of their own"
            )


def _host(options: Options) -> tuple[KernelRun, str]:
    """Return the running kernel. Raises CapabilityError, with all that is missing, if it cannot be judged."""
    import platform

    from rttcheck.doctor.capabilities import host_capabilities
    from rttcheck.doctor.selection import select

    pair = select(host_capabilities(), options.engine, options.probe)
    line = f"host, clock real, engine {pair.engine}, probe {pair.probe}, which sees {pair.sees}"
    return KernelRun(asked=HOST, release=platform.release(), name=HOST), line


def _guest(options: Options, kernel: str, number: int, clock: str) -> tuple[KernelRun, str]:
    from rttcheck.kernels.archive import fetch
    from rttcheck.kernels.spec import KernelSource, KernelSpec

    spec = KernelSpec.parse(kernel)
    release = fetch(spec).release
    console = options.recordings.parent / "consoles" / f"{release}.log"
    try:
        make_recordings(options)
        console.parent.mkdir(exist_ok=True)
        console.write_bytes(b"")
    except OSError as error:
        raise RecordingError(
            f"{error.filename or console} cannot be written ({error.strerror}): name another directory with "
            "--rtt-recordings"
        ) from error
    settings = GuestSettings(
        kernel=kernel,
        clock=clock,
        console=console,
        rw=options.recordings,
        boot_s=options.boot_deadline_s,
        silence_s=options.test_deadline_s,
    )
    engine = "netem" if options.engine == AUTO else options.engine
    probe = "the first that works" if options.probe == AUTO else options.probe
    line = f"{kernel} ({release}), clock {clock}, engine {engine}, probe {probe}"
    exact = f"debian:{release.removesuffix('-amd64')}" if spec.source is KernelSource.DEBIAN else ""
    return KernelRun(asked=kernel, release=release, name=f"guest{number}", settings=settings, exact=exact), line


def guests_of(runs: Sequence[KernelRun]) -> tuple[GuestSettings, ...]:
    """Return the settings of all guests among ``runs``."""
    return tuple(run.settings for run in runs if run.settings is not None)
