"""The plugin's command-line options, as one frozen value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from rttcheck.doctor.choices import AUTO, ENGINES, PROBES

DEFAULT_RECORDINGS = Path(".rttcheck") / "recordings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of this session. Deadlines are seconds of host time."""

    kernels: tuple[str, ...]
    """As given; empty means ``auto``."""
    clock: str | None
    engine: str
    probe: str
    recordings: Path
    strict: bool
    jobs: int | None
    """Guests at a time on this machine; None: as many as cores and memory allow."""
    machines: tuple[str, ...]
    """Other machines on which guests also run, as given."""
    ssh_config: Path | None
    json: Path | None
    markdown: Path | None
    boot_deadline_s: float
    test_deadline_s: float
    wants_scenarios: bool
    """Whether this session runs scenarios: a kernel was named, or ``-m`` selects the marker."""

    @classmethod
    def of(cls, config: pytest.Config) -> Options:
        """Read ``config``. Raises UsageError for invalid or contradicting options."""
        kernels = tuple(dict.fromkeys(config.getoption("rtt_kernel") or ()))
        if len(kernels) > 1 and "auto" in kernels:
            raise pytest.UsageError(
                f"--rtt-kernel {' '.join(kernels)}: `auto` cannot be combined with kernels: name the kernels, or "
                "only `auto`"
            )
        jobs = config.getoption("rtt_jobs")
        machines = tuple(dict.fromkeys(config.getoption("rtt_on") or ()))
        if jobs is not None and (jobs < 0 or (jobs == 0 and not machines)):
            raise pytest.UsageError(
                f"--rtt-jobs {jobs} leaves no guest at all: give 1 or more, or other machines with --rtt-on"
            )
        recordings = config.getoption("rtt_recordings")
        wants_scenarios = bool(kernels) or _selects_marker(config.getoption("markexpr") or "")
        for option in ("rtt_json", "rtt_markdown"):
            if config.getoption(option) and not wants_scenarios:
                raise pytest.UsageError(
                    f"--{option.replace('_', '-')} is for results of scenarios, and none were requested: add -m rtt, "
                    "or name a kernel with --rtt-kernel"
                )
        return cls(
            kernels=tuple(kernel for kernel in kernels if kernel != "auto"),
            clock=config.getoption("rtt_clock"),
            engine=config.getoption("rtt_engine"),
            probe=config.getoption("rtt_probe"),
            recordings=Path(recordings).absolute() if recordings else config.rootpath / DEFAULT_RECORDINGS,
            strict=config.getoption("rtt_strict"),
            jobs=jobs,
            machines=machines,
            ssh_config=_path(config.getoption("rtt_ssh_config")),
            json=_path(config.getoption("rtt_json")),
            markdown=_path(config.getoption("rtt_markdown")),
            boot_deadline_s=config.getoption("rtt_boot_deadline"),
            test_deadline_s=config.getoption("rtt_test_deadline"),
            wants_scenarios=wants_scenarios,
        )


def _path(given: str | None) -> Path | None:
    return Path(given).absolute() if given else None


def make_recordings(options: Options) -> None:
    """Make the directory for recordings, with a .gitignore in the default one. Raises OSError."""
    options.recordings.mkdir(parents=True, exist_ok=True)
    if options.recordings.parent.name == DEFAULT_RECORDINGS.parent.name:
        (options.recordings.parent / ".gitignore").write_text("*\n")


def add_options(parser: pytest.Parser) -> None:
    """Add the ``--rtt-*`` options to pytest's."""
    group = parser.getgroup("rtt", "TCP round-trip times (rttcheck)")
    group.addoption(
        "--rtt-kernel",
        action="append",
        metavar="auto|host|SPEC",
        help="kernel to judge: `host` is the running one, `debian:6.12` or a path to an image boots a guest, `auto` "
        "(the default with `-m rtt`) takes the running kernel, and also a guest unless delay can be injected and "
        "every sample seen on the running kernel; may be given several times, for several kernels in one session",
    )
    group.addoption(
        "--rtt-clock",
        choices=("virtual", "real"),
        help="clock of guests: `virtual` (default) counts instructions, so timing is exact on any machine",
    )
    group.addoption(
        "--rtt-engine",
        choices=(AUTO, *ENGINES),
        default=AUTO,
        help="method of delaying packets; an error, not a skip, if it does not work on the kernel (default: auto)",
    )
    group.addoption(
        "--rtt-probe",
        choices=(AUTO, *PROBES),
        default=AUTO,
        help="probe backend; an error, not a skip, if it does not work on the kernel (default: auto)",
    )
    group.addoption(
        "--rtt-recordings",
        metavar="DIR",
        help=f"directory for recordings (default: {DEFAULT_RECORDINGS} under the root directory)",
    )
    group.addoption(
        "--rtt-strict",
        action="store_true",
        help="fail scenarios that are inconclusive, and those of which the probe could not see everything",
    )
    group.addoption(
        "--rtt-allow-splats",
        metavar="FILE",
        help="kernel splats that fail no test: a TOML file of [[splat]] with pattern (of the title), reason, until "
        "and, for some kernels only, since and before",
    )
    group.addoption(
        "--rtt-jobs",
        type=int,
        metavar="N",
        help="guests at a time on this machine (default: as many as cores and memory allow; the running kernel is "
        "always judged alone; 0 with --rtt-on: none here)",
    )
    group.addoption(
        "--rtt-on",
        action="append",
        metavar="USER@HOST",
        help="another machine on which guests also run, reached with ssh without a password or prompt: `user@host`, "
        "`host:2222`, an alias of ~/.ssh/config, with `//python=/opt/rttcheck/bin/python` if its python3 lacks "
        "rttcheck's requirements; the tests and rttcheck are transferred, recordings are fetched; may be given "
        "several times",
    )
    group.addoption("--rtt-ssh-config", metavar="FILE", help="a configuration for ssh (`ssh -F FILE`)")
    group.addoption("--rtt-json", metavar="FILE", help="write all results to FILE, as one JSON document")
    group.addoption(
        "--rtt-markdown",
        metavar="FILE",
        help="write the table of kernels and scenarios to FILE, as Markdown: appended where FILE is "
        "$GITHUB_STEP_SUMMARY, between `<!-- matrix -->` and `<!-- /matrix -->` where FILE has these lines",
    )
    group.addoption(
        "--rtt-boot-deadline",
        type=float,
        default=180.0,
        metavar="SECONDS",
        help="host time a guest may take to boot (default: %(default)s)",
    )
    group.addoption(
        "--rtt-test-deadline",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="host time a guest may take over one test before it counts as lost (default: %(default)s)",
    )


def _selects_marker(expression: str) -> bool:
    """Return whether a ``-m`` expression selects the marker ``rtt``, and does not only exclude it."""
    names = re.findall(r"(not\s+)?\b(\w+)\b", expression)
    return any(name == "rtt" and not negated for negated, name in names)
