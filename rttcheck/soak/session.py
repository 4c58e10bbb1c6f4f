"""Run one suite: a pytest session in its own process, evaluated from its JUnit file and recordings.

The outcome that the session reported and the verdict on the recording must agree. Checks are counted from recordings,
judged here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from xml.etree import ElementTree

from rttcheck.errors import RecordingError, RttcheckError, ScenarioError
from rttcheck.judge.findings import Finding, Outcome
from rttcheck.judge.link.bounds import scenario_bounds
from rttcheck.judge.verdict import judge
from rttcheck.kernels.guest import BOOT_VARIABLE, EXIT_LOST
from rttcheck.kernels.parent_death import die_with_parent
from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.scenario.model import Scenario
from rttcheck.soak.code import PACKAGE
from rttcheck.soak.condition import Condition
from rttcheck.soak.load import busy
from rttcheck.soak.suite import ERROR, INCONCLUSIVE, LOST, PASSED, CheckCount, ScenarioRun, SuiteResult

TESTS = PACKAGE / "suite" / "named_scenarios.py"

_RAN = ("run", "the scenario comes to a verdict, the same as its recording's")
"""Layer and check that an error counts under."""

_REGULAR = (0, 1, EXIT_LOST)
"""Exit statuses of a session that ran its tests."""

_LEAVE_S = 20.0
"""Host seconds that pytest may take to end after SIGINT."""

_BOOT_BACKSTOP_S, _SCENARIO_BACKSTOP_S = 900.0, 300.0
"""Host seconds beyond all deadlines of guests and scenarios: after them pytest itself hangs."""

Reported = tuple[str, str]
"""Outcome and message of a scenario as the session reported it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRequest:
    """One suite to run; ``directory`` is empty and for it alone, ``boot`` is ``thawed`` or ``fresh``."""

    number: int
    condition: Condition
    scenarios: tuple[str, ...]
    directory: Path
    boot: str

    @property
    def recordings(self) -> Path:
        """Where the session keeps its recordings."""
        return self.directory / "recordings"

    @property
    def log(self) -> Path:
        """The output of pytest."""
        return self.directory / "pytest.log"

    @property
    def junit(self) -> Path:
        """The results of the tests."""
        return self.directory / "junit.xml"

    def command(self) -> list[str]:
        """Return the session's command line, which ignores pytest configuration of the current directory."""
        clock = [] if self.condition.kernel == "host" else ["--rtt-clock", self.condition.clock]
        return [
            *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(self.directory), "--noconftest"),
            *("-p", "no:cacheprovider", "-m", "rtt", "--rtt-kernel", self.condition.kernel, *clock),
            *("--rtt-recordings", str(self.recordings), f"--junit-xml={self.junit}"),
            *(f"{TESTS}::test_scenario[{name}]" for name in self.scenarios),
        ]


def run_suite(order: SuiteRequest) -> SuiteResult:
    """Run the suite under its load and return its counts; keep only recordings that did not pass.

    Raises RttcheckError when pytest could not run it. An interruption leaves no process and no file behind.
    """
    shutil.rmtree(order.directory, ignore_errors=True)
    try:
        order.recordings.mkdir(parents=True)
        began = time.monotonic()
        with busy(order.condition.load):
            status = _pytest(order)
        seconds = time.monotonic() - began
        if status not in _REGULAR:
            raise RttcheckError(
                f"pytest ended with status {status} under {order.condition} ({_last_line(order.log)}): its "
                f"output is in {order.log}"
            )
        suite = count_suite(order, reported(order.junit), status=status, seconds=seconds)
    except OSError as error:
        raise RttcheckError(
            f"the suite cannot be written to {order.directory} ({error.strerror}): free space, or name another --output"
        ) from error
    except KeyboardInterrupt:
        shutil.rmtree(order.directory, ignore_errors=True)
        raise
    remove_passed(order, suite)
    return suite


def _pytest(order: SuiteRequest) -> int:
    """Run the session and return its exit status; that of a lost guest when it never ends."""
    request_death_signal = die_with_parent()

    def prepare() -> None:
        request_death_signal()
        # A process in the background of a shell ignores SIGINT, and its children would inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    # The session must run the same code as this process, from any directory.
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": path, BOOT_VARIABLE: order.boot}
    with (
        order.log.open("wb") as log,
        subprocess.Popen(
            order.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=prepare,
            process_group=0,
        ) as session,
    ):
        try:
            return session.wait(_BOOT_BACKSTOP_S + _SCENARIO_BACKSTOP_S * len(order.scenarios))
        except subprocess.TimeoutExpired:
            return EXIT_LOST
        finally:
            _end(session)


def _end(session: subprocess.Popen[bytes]) -> None:
    """End the session with SIGINT, so that its guest ends, too; kill it if that takes too long."""
    if session.poll() is not None:
        return
    session.send_signal(signal.SIGINT)
    try:
        session.wait(_LEAVE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        session.kill()


def reported(junit: Path) -> dict[str, Reported]:
    """Return the outcome and message of each scenario from the JUnit file; empty if there is none.

    A test without a scenario's outcome, or that failed for another reason, is an error.
    """
    try:
        cases = list(ElementTree.parse(junit).iter("testcase"))
    except (FileNotFoundError, ElementTree.ParseError):
        return {}
    found: dict[str, Reported] = {}
    for case in cases:
        # In a guest the kernel's name follows: ``test_scenario[loss@debian:6.12]``.
        name = str(case.get("name", "")).removeprefix("test_scenario[").removesuffix("]").partition("@")[0]
        properties = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
        outcome = properties.get("rtt.outcome", ERROR)
        broken = next((child for child in case if child.tag in ("failure", "error")), None)
        if outcome in (PASSED, INCONCLUSIVE, ERROR) and broken is not None:
            found[name] = ERROR, str(broken.get("message") or broken.text or "it failed without a reason")
        elif outcome == ERROR:
            skipped = case.find("skipped")
            found[name] = ERROR, "it was not run" if skipped is None else f"skipped: {skipped.get('message')}"
        else:
            found[name] = outcome, properties.get("rtt.reason", "")
    return found


def count_suite(order: SuiteRequest, reports: Mapping[str, Reported], *, status: int, seconds: float) -> SuiteResult:
    """Return the suite's result from the session's report ``reports`` and the recordings in its directory."""
    recordings = {path.name.removesuffix(SUFFIX): path for path in sorted(order.recordings.glob(f"*/*{SUFFIX}"))}
    counts: dict[tuple[str, str], list[str]] = {}
    runs = []
    for name in order.scenarios:
        outcome, message = reports.get(name, (ERROR, f"the session did not report it ({_last_line(order.log)})"))
        if outcome == LOST or (outcome == ERROR and status == EXIT_LOST):
            runs.append(ScenarioRun(scenario=name, outcome=LOST, message=_short(message)))
            continue
        run, findings = _judged(name, recordings.get(name))
        if outcome == ERROR:
            run = replace(run, outcome=ERROR, check=": ".join(_RAN), message=_short(message))
        elif run.outcome != outcome:
            mismatch = (
                f"the session reported {outcome} ({message or 'no reason'}), and its recording gives {run.outcome}"
            )
            run = replace(
                run, outcome=ERROR, check=": ".join(_RAN), message=f"{mismatch} ({run.message or 'no reason'})"
            )
        for finding in findings:
            counts.setdefault((finding.layer.value, finding.key), []).append(finding.outcome.value)
        if run.outcome == ERROR:
            counts.setdefault(_RAN, []).append(Outcome.FAILED.value)
        runs.append(replace(run, recording="") if run.outcome == PASSED else run)
    return SuiteResult(
        number=order.number,
        condition=order.condition,
        release=next((path.parent.name for path in recordings.values()), ""),
        seconds=round(seconds, 1),
        status=status,
        runs=tuple(runs),
        checks=tuple(
            CheckCount(layer=layer, check=check, **{outcome: found.count(outcome) for outcome in set(found)})
            for (layer, check), found in counts.items()
        ),
    )


def _judged(name: str, path: Path | None) -> tuple[ScenarioRun, tuple[Finding, ...]]:
    """Judge a recording; return its result and its findings."""
    if path is None:
        return ScenarioRun(scenario=name, outcome=ERROR, message="there is no recording of it"), ()
    try:
        recording = Recording.load(path)
        verdict = judge(recording, path=path)
    except (RecordingError, ScenarioError) as error:
        return ScenarioRun(scenario=name, outcome=ERROR, message=str(error), recording=str(path)), ()
    worst = verdict.findings[0] if verdict.outcome is not Outcome.PASSED else None
    figures = dict(verdict.figures)
    run = ScenarioRun(
        scenario=name,
        outcome=verdict.outcome.value,
        check=f"{worst.layer.value}: {worst.key}" if worst is not None else "",
        message=worst.message if worst is not None else "",
        recording=str(path),
        constant=_is_constant(Scenario.make(**recording.scenario)),
        median_us=figures.get("median_us"),
        over_wire_max_us=figures.get("over_wire_max_us"),
        digest=blake2b(recording.events["sample_us"].tobytes(), digest_size=8).hexdigest(),
    )
    return run, verdict.findings


def _is_constant(scenario: Scenario) -> bool:
    """Return whether every packet of the run has the same round-trip time by the link's model."""
    bounds = scenario_bounds(scenario)
    return all(one.constant for one in bounds) and len({one.lowest_us for one in bounds}) == 1


def remove_passed(order: SuiteRequest, suite: SuiteResult) -> None:
    """Delete the recordings that passed; where all passed, the whole directory."""
    if all(run.outcome == PASSED for run in suite.runs):
        shutil.rmtree(order.directory, ignore_errors=True)
        return
    kept = {run.recording for run in suite.runs if run.outcome != PASSED}
    for path in list(order.recordings.rglob("*")):
        if path.is_file() and str(path) not in kept:
            path.unlink()


def _short(text: str) -> str:
    """Return the first and the last line of a traceback or console; the last one names a traceback's error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


def _last_line(log: Path) -> str:
    """Return pytest's first error line, else its last line."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except FileNotFoundError:
        lines = []
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1]
