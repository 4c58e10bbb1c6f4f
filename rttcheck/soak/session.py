"""One suite from its beginning to its end: a session of pytest in a process of its own, and what its files say.

Owns that process, the directory of the suite, and the rule which outcome counts: the one that the user of the session
saw and the one that the recording gives must agree. Checks are counted from recordings, judged here.
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
"""Exit statuses of a session that ran its tests; the others say that there was none."""

_LEAVE_S = 20.0
"""Host seconds that pytest has for its end after Ctrl-C."""

_BOOT_BACKSTOP_S, _SCENARIO_BACKSTOP_S = 900.0, 300.0
"""Beyond all deadlines of guests and scenarios: what is not done then is no guest that hangs, but pytest."""

Reported = tuple[str, str]
"""Outcome and message of a scenario as the session reported it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRequest:
    """One suite that is to be run; ``directory`` is its own and empty, ``boot`` is ``thawed`` or ``fresh``."""

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
        """What pytest says."""
        return self.directory / "pytest.log"

    @property
    def junit(self) -> Path:
        """What came of each test."""
        return self.directory / "junit.xml"

    def command(self) -> list[str]:
        """The session's command line; whatever configuration lies around does not count."""
        clock = [] if self.condition.kernel == "host" else ["--rtt-clock", self.condition.clock]
        return [
            *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(self.directory), "--noconftest"),
            *("-p", "no:cacheprovider", "-m", "rtt", "--rtt-kernel", self.condition.kernel, *clock),
            *("--rtt-recordings", str(self.recordings), f"--junit-xml={self.junit}"),
            *(f"{TESTS}::test_scenario[{name}]" for name in self.scenarios),
        ]


def run_suite(order: SuiteRequest) -> SuiteResult:
    """Run the suite under its load and count what came of it; only what did not pass is left in its directory.

    Raises RttcheckError when pytest could not run it. Interrupted, it leaves no process and no file behind.
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
                f"pytest ended with status {status} under {order.condition} ({_last_line(order.log)}): all that it "
                f"said is in {order.log}"
            )
        suite = count_suite(order, reported(order.junit), status=status, seconds=seconds)
    except OSError as error:
        raise RttcheckError(
            f"the suite cannot be kept in {order.directory} ({error.strerror}): make room, or name another --output"
        ) from error
    except KeyboardInterrupt:
        shutil.rmtree(order.directory, ignore_errors=True)
        raise
    remove_passed(order, suite)
    return suite


def _pytest(order: SuiteRequest) -> int:
    """The exit status of the session; that of a lost guest when it never ends."""
    leash = die_with_parent()

    def prepare() -> None:
        leash()
        # What is started in the background of a shell has it ignored, and would pass that on.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    # The code that soaks is the code that is soaked, from whichever directory.
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
    """In order, so that its guest ends too; a guest whose session is killed hears of it a moment later."""
    if session.poll() is not None:
        return
    session.send_signal(signal.SIGINT)
    try:
        session.wait(_LEAVE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        session.kill()


def reported(junit: Path) -> dict[str, Reported]:
    """What the session reported of each scenario, from its JUnit file; nothing when there is none.

    A test that came to no outcome of a scenario's, or failed besides, is an error.
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
            found[name] = ERROR, str(broken.get("message") or broken.text or "it failed and gave no reason")
        elif outcome == ERROR:
            skipped = case.find("skipped")
            found[name] = ERROR, "it was not run" if skipped is None else f"skipped: {skipped.get('message')}"
        else:
            found[name] = outcome, properties.get("rtt.reason", "")
    return found


def count_suite(order: SuiteRequest, told: Mapping[str, Reported], *, status: int, seconds: float) -> SuiteResult:
    """The suite's result from what its session ``told`` and the recordings in its directory."""
    recordings = {path.name.removesuffix(SUFFIX): path for path in sorted(order.recordings.glob(f"*/*{SUFFIX}"))}
    counts: dict[tuple[str, str], list[str]] = {}
    runs = []
    for name in order.scenarios:
        outcome, message = told.get(name, (ERROR, f"the session said nothing of it ({_last_line(order.log)})"))
        if outcome == LOST or (outcome == ERROR and status == EXIT_LOST):
            runs.append(ScenarioRun(scenario=name, outcome=LOST, message=_short(message)))
            continue
        run, findings = _judged(name, recordings.get(name))
        if outcome == ERROR:
            run = replace(run, outcome=ERROR, check=": ".join(_RAN), message=_short(message))
        elif run.outcome != outcome:
            words = f"the session said {outcome} ({message or 'no reason'}), and its recording gives {run.outcome}"
            run = replace(run, outcome=ERROR, check=": ".join(_RAN), message=f"{words} ({run.message or 'no reason'})")
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
    """A recording's verdict as a line of the soak, and its findings."""
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
    """Whether the link's model gives every packet of the run one and the same round trip."""
    bounds = scenario_bounds(scenario)
    return all(one.constant for one in bounds) and len({one.lowest_us for one in bounds}) == 1


def remove_passed(order: SuiteRequest, suite: SuiteResult) -> None:
    """Delete the recordings of what passed; where all passed, the whole directory."""
    if all(run.outcome == PASSED for run in suite.runs):
        shutil.rmtree(order.directory, ignore_errors=True)
        return
    kept = {run.recording for run in suite.runs if run.outcome != PASSED}
    for path in list(order.recordings.rglob("*")):
        if path.is_file() and str(path) not in kept:
            path.unlink()


def _short(text: str) -> str:
    """The first line of what may be a traceback or a console, and the last, which names a traceback's error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


def _last_line(log: Path) -> str:
    """pytest's error, if it named one, else the last it said."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except FileNotFoundError:
        lines = []
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1]
