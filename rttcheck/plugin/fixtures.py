"""The fixtures for users' tests: ``rtt`` runs a scenario, ``lab`` is a live network for the test's own traffic."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import pytest

from rttcheck.doctor.choices import AUTO
from rttcheck.errors import CapabilityError, RttcheckError
from rttcheck.plugin.host_judge import HOST_JUDGE, HostJudge, hold
from rttcheck.plugin.late_report import may_be_reported_late
from rttcheck.plugin.options import Options
from rttcheck.plugin.verdict_report import (
    PLACEHOLDER,
    Pending,
    ending_of,
    failure_text,
    properties_of,
    shown_at,
    skip_text,
)
from rttcheck.plugin.worker import in_guest, kernel_of, without_kernel

if TYPE_CHECKING:
    from rttcheck.harness import Harness, Result
    from rttcheck.judge.judgement import Verdict
    from rttcheck.judging.result import Row
    from rttcheck.record.recording import Recording
    from rttcheck.scenario.model import Scenario
    from rttcheck_netns import Lab


class RttFailure(AssertionError):
    """A scenario's verdict was not passed; the message is the verdict, with its picture."""


@contextmanager
def as_sentence(*errors: type[Exception]) -> Iterator[None]:
    """Turn these errors into a failure of the test without a traceback."""
    __tracebackhide__ = True
    try:
        yield
    except errors as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture(scope="session")
def rtt_harness(pytestconfig: pytest.Config) -> Iterator[Harness]:
    """A harness on the kernel that this process runs on, its probe loaded once for the session.

    Skips, with the reason, if the kernel cannot be judged; that is an error if the kernel, the engine or the probe was
    requested by name.
    """
    from rttcheck.harness import open_harness
    from rttcheck.plugin.splats import allowed_of

    options = Options.of(pytestconfig)
    allowed = tuple(entry.as_dict() for entry in allowed_of(pytestconfig))
    named = kernel_of(pytestconfig) is not None or "host" in options.kernels
    asked_for = named or options.probe != AUTO or options.engine != AUTO
    try:
        with open_harness(engine=options.engine, backend=options.probe, recordings=_recordings(options)) as harness:
            harness.collector.allowed_splats = allowed
            yield harness
    except CapabilityError as error:
        if asked_for:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"{error} (`pytest -m rtt` takes a guest's kernel instead)")


@dataclass(slots=True)
class Runner:
    """The value of the fixture ``rtt``: call it to run the marker's scenario, or another one.

    ``rtt()`` runs the scenario of ``@pytest.mark.rtt(...)`` and fails the test unless the verdict is passed;
    ``rtt(rtt="80ms")`` runs it with changes, ``rtt(NAMED["step"])`` another one; ``rtt(check=False)`` leaves the
    assertions to the test.

    A guest of this machine only records: the host judges. Where ``rtt()`` is the last statement of the test, the guest
    goes on, and the verdict comes into the test's report as if the call had raised it. Anywhere else the call waits for
    the verdict, returns it, or raises.
    """

    # pytest shows arguments of failed tests; that of all that the harness has takes seconds in a guest.
    harness: Harness = field(repr=False)
    node: pytest.Item
    options: Options = field(repr=False)
    keywords: dict[str, Any]

    def scenario(self, base: Scenario | None = None, /, **changes: Any) -> Scenario:
        """The marker's scenario, or ``base``, with ``changes``; raises ScenarioError for invalid values."""
        from rttcheck.scenario.model import Scenario

        keywords = {**(self.keywords if base is None else base.keywords()), **changes}
        keywords.setdefault("name", self.node.name.removeprefix("test_"))
        return Scenario.make(**keywords)

    def __call__(self, base: Scenario | None = None, /, *, check: bool = True, **changes: Any) -> Result:
        """Run the scenario and return its Result; with ``check``, any verdict but passed ends the test."""
        from rttcheck_netns import NetnsError

        __tracebackhide__ = True
        judge = self.node.config.stash.get(HOST_JUDGE, None)
        with as_sentence(RttcheckError, NetnsError):
            scenario = self.scenario(base, **changes)
            command = self._command(scenario.name)
            if judge is None:
                result = self.harness.run(scenario, reproduce=command)
                row = result.row()
            else:
                judge.keep_until_judged(self.harness.path_of(scenario))
                recording, path = self.harness.record(scenario)
                assert path is not None, "the plugin keeps all recordings"
                caller = sys._getframe(1)
                if check and may_be_reported_late(self.node, caller, self):
                    self._judge_later(judge, path, command, caller)
                    return cast("Result", None)  # which nobody uses
                result, row = _judged_outside(judge, recording, path, command)
        self.node.user_properties += properties_of(row, asked=self._kernel(), reproduce=command)
        if check:
            self._require_passed(result.verdict)
        return result

    def _judge_later(self, judge: HostJudge, path: Path, command: str, caller: FrameType) -> None:
        """Hand the recording over, and let the test's report wait for the verdict."""
        pending = Pending(
            number=judge.hand_over(path, command),
            place=len(self.node.user_properties),
            strict=self.options.strict,
            asked=self._kernel(),
            reproduce=command,
        )
        hold(self.node, pending, shown_at(self.node, caller, RttFailure(f"\n{PLACEHOLDER}")))

    def _require_passed(self, verdict: Verdict) -> None:
        __tracebackhide__ = True
        ending = ending_of(verdict, strict=self.options.strict)
        if ending == "failed":
            raise RttFailure(failure_text(verdict))
        if ending == "skipped":
            pytest.skip(skip_text(verdict))

    @staticmethod
    def _kernel() -> str:
        """Return the user's name of this kernel."""
        return os.environ.get("RTTCHECK_KERNEL", "host")

    def _command(self, scenario: str) -> str:
        """Return the command that repeats ``scenario``: by name for `rttcheck.suite`, else by the test's id."""
        kernel = self._kernel()
        module = getattr(self.node, "module", None)
        if getattr(module, "__name__", "") == "rttcheck.suite.named_scenarios":
            again, option = f"rttcheck run {scenario}", "--"
        else:
            again, option = f"pytest '{without_kernel(self.node.nodeid)}'", "--rtt-"
        clock = f" {option}clock {os.environ['RTTCHECK_CLOCK']}" if in_guest() else ""
        engine = f" {option}engine {self.options.engine}" if self.options.engine != AUTO else ""
        probe = f" {option}probe {self.options.probe}" if self.options.probe != AUTO else ""
        known = self.node.config.getoption("rtt_allow_splats")
        allowed = f" {option}allow-splats {shlex.quote(known)}" if known else ""
        return f"{again} {option}kernel {kernel}{clock}{engine}{probe}{allowed}"


def _judged_outside(judge: HostJudge, recording: Recording, path: Path, command: str) -> tuple[Result, Row]:
    """Return the result and its row of a recording that the host judges. Raises JudgingError."""
    from rttcheck.judging.result import Result

    judged = judge.judged(path, command)
    return Result(recording=recording, verdict=judged.verdict, path=path), judged.row


@pytest.fixture
def rtt(request: pytest.FixtureRequest, rtt_harness: Harness) -> Runner:
    """Run scenarios: ``result = rtt()`` for the marker's, ``rtt(rtt="80ms")`` for a variation of it."""
    return Runner(rtt_harness, request.node, Options.of(request.config), _marker_keywords(request.node))


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A live lab with the marker's topology and impairment (no marker: none), to drive by hand.

    ``lab.client.namespace.socket(...)`` gives a socket inside; ``lab.impair(out=..., back=...)`` changes the link.
    """
    from rttcheck.collect.collector import open_lab
    from rttcheck.scenario.link import LINK_KEYWORDS
    from rttcheck.scenario.model import Scenario
    from rttcheck_netns import NetnsError

    keywords = _marker_keywords(request.node)
    with ExitStack() as stack:
        with as_sentence(RttcheckError, NetnsError):
            scenario = Scenario.make(**{"name": request.node.name, **keywords})
            # Without settings of the link the lab has none, and works on a kernel without netem.
            live = stack.enter_context(open_lab(scenario, impaired=bool(set(LINK_KEYWORDS).intersection(keywords))))
        yield live


def _marker_keywords(node: pytest.Item) -> dict[str, Any]:
    """Return the keywords of all ``rtt`` markers on the test; the nearest marker takes precedence."""
    keywords: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("rtt"))):
        if marker.args:
            pytest.fail(
                f'@pytest.mark.rtt takes keywords only and got {marker.args[0]!r}: write rtt(rtt="40ms")', pytrace=False
            )
        keywords.update(marker.kwargs)
    return keywords


def _recordings(options: Options) -> Path:
    """Return a separate directory for each kernel, so that guests do not overwrite each other's recordings."""
    return options.recordings / os.uname().release
