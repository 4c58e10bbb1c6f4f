"""The plugin's command-line options, read once into one frozen value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from rttcheck.doctor.choices import AUTO, ENGINES, PROBES

DEFAULT_RECORDINGS = Path(".rttcheck") / "recordings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked of this session. Deadlines are seconds of the host's time."""

    kernels: tuple[str, ...]
    """As given; empty means ``auto``."""
    clock: str | None
    engine: str
    probe: str
    recordings: Path
    strict: bool
    jobs: int | None
    """How many guests at a time on this machine; None is as many as cores and memory allow."""
    machines: tuple[str, ...]
    """Others on which guests run, too, as given."""
    ssh_config: Path | None
    json: Path | None
    markdown: Path | None
    boot_deadline_s: float
    test_deadline_s: float
    wants_scenarios: bool
    """Whether this session is about scenarios: a kernel was named, or ``-m`` selects the marker."""

    @classmethod
    def of(cls, config: pytest.Config) -> Options:
        """Read ``config``; raises UsageError for kernels that exclude each other."""
        kernels = tuple(dict.fromkeys(config.getoption("rtt_kernel") or ()))
        if len(kernels) > 1 and "auto" in kernels:
            raise pytest.UsageError(
                f"--rtt-kernel {' '.join(kernels)}: `auto` chooses by itself and stands alone: name the kernels, or "
                "leave them to it"
            )
        jobs = config.getoption("rtt_jobs")
        machines = tuple(dict.fromkeys(config.getoption("rtt_on") or ()))
        if jobs is not None and (jobs < 0 or (jobs == 0 and not machines)):
            raise pytest.UsageError(
                f"--rtt-jobs {jobs} guests at a time can do nothing: give 1 or more, or other machines with --rtt-on"
            )
        recordings = config.getoption("rtt_recordings")
        wants_scenarios = bool(kernels) or _selects_marker(config.getoption("markexpr") or "")
        for option in ("rtt_json", "rtt_markdown"):
            if config.getoption(option) and not wants_scenarios:
                raise pytest.UsageError(
                    f"--{option.replace('_', '-')} is for results of scenarios, and none were asked for: add -m rtt, "
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
    """Make the directory for recordings; the default one keeps itself out of version control. Raises OSError."""
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
        "(the default with `-m rtt`) takes the running kernel, and, unless it can inject delay and see every sample "
        "there, a guest as well; may be given several times, for several kernels in one session",
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
        help="what delays packets; one that does not work on the kernel is an error, not a skip (default: auto)",
    )
    group.addoption(
        "--rtt-probe",
        choices=(AUTO, *PROBES),
        default=AUTO,
        help="probe backend; one that does not work on the kernel is an error, not a skip (default: auto)",
    )
    group.addoption(
        "--rtt-recordings",
        metavar="DIR",
        help=f"where recordings are kept (default: {DEFAULT_RECORDINGS} under the root directory)",
    )
    group.addoption(
        "--rtt-strict",
        action="store_true",
        help="a scenario that is inconclusive, or of which the probe did not see all, fails",
    )
    group.addoption(
        "--rtt-allow-splats",
        metavar="FILE",
        help="kernel complaints that fail no test: a TOML file of [[splat]] with pattern (of the title), reason, until "
        "and, where it is of some kernels only, since and before",
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
        help="another machine on which guests run, too, reached with ssh (no password, no question): `user@host`, "
        "`host:2222`, an alias of ~/.ssh/config, with `//python=/opt/rttcheck/bin/python` where its python3 lacks "
        "rttcheck's requirements; the tests and rttcheck are brought there, recordings come home; may be given "
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
    """Whether a ``-m`` expression asks for the marker ``rtt`` (and does not merely exclude it)."""
    names = re.findall(r"(not\s+)?\b(\w+)\b", expression)
    return any(name == "rtt" and not negated for negated, name in names)
