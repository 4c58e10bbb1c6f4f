"""A session on several kernels: each is a pytest-xdist worker, started when there is room for it.

xdist starts all workers at the beginning and counts a dead one as a failed test. This module adds kernels that wait for
a slot, and guests that are lost, tried once more, and lost for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING

import pytest
from xdist.dsession import DSession

from rttcheck.errors import RemoteError
from rttcheck.judging.judges import Judges
from rttcheck.plugin.backlog import Backlog
from rttcheck.plugin.guest_verdicts import GuestVerdicts, judged_of
from rttcheck.plugin.host_judge import JUDGE_INPUT
from rttcheck.plugin.kernel_nodes import KernelNodes
from rttcheck.plugin.kernel_run import ATTEMPTS, KernelRun
from rttcheck.plugin.kernel_scheduling import KernelScheduling
from rttcheck.plugin.properties import PROPERTY
from rttcheck.plugin.verdict_report import pending_of, settle_all
from rttcheck.plugin.worker import KERNEL_INPUT, with_kernel

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling
    from xdist.workermanage import WorkerController

    from rttcheck.judging.result import Judged
    from rttcheck.plugin.slots import SessionMachine, Slots

LEAVE_S = 2.0
"""Seconds that a kernel has to end after an interruption; CI services kill a job some 10 s after SIGTERM."""

TOOK = "rttcheck/seconds"
"""The key in pytest's cache of the time that each kernel took, seconds."""


class KernelSession(DSession):  # type: ignore[misc]  # xdist has no types
    """xdist's session with kernels as workers; registered instead of it, under its name."""

    def __init__(
        self, session: pytest.Session, runs: Sequence[KernelRun], slots: Slots, *, say: Callable[[str], None]
    ) -> None:
        """``runs`` are in the order in which they get a slot; ``say`` prints a line of progress."""
        super().__init__(session.config)
        self._session = session
        self.runs = runs
        self._interrupted = False
        self._waiting = list(runs)
        self._slots = slots
        self._say = say
        self._nodes: dict[str, KernelRun] = {}
        self._parts: dict[str, list[pytest.TestReport]] = {}
        self._judges = Judges()
        self._verdicts: dict[str, GuestVerdicts] = {}
        """By gateway: the verdicts on a guest's recordings."""
        self._backlogs = {run: Backlog() for run in runs}

    def run_of(self, node: WorkerController) -> KernelRun:
        """Return the kernel of a worker."""
        return self._nodes[node.gateway.id]

    @pytest.hookimpl
    def pytest_collection(self) -> bool:
        """Start as many kernels as there is room for; they collect the tests.

        Not at the session's start, as xdist does, because pytest reports nothing for an interruption then.
        """
        self.nodemanager = KernelNodes(self.config, specs=[])
        self.shouldstop = False
        self._fill()
        return True

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self) -> None:
        """Shorten the time that guests have to end."""
        self._interrupted = True
        if self.nodemanager is not None:
            self.nodemanager.EXIT_TIMEOUT = LEAVE_S

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        """End all kernels; after an interruption also report what they had sent before."""
        super().pytest_sessionfinish()
        for run in self._nodes.values():
            run.ended_s = time.monotonic()
        if self._interrupted:
            self._report_rest()
        self._judges.close()

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        """End the judging processes also if the session did not begin."""
        self._judges.close()

    def _report_rest(self) -> None:
        """Pass on the reports still in the queue, and print for each kernel how many tests have none."""
        with suppress(Empty):
            while True:
                name, arguments = self.queue.get_nowait()
                if name == "testreport":
                    self.worker_testreport(**arguments)
        self._report_judged(within_s=LEAVE_S)
        for run in self.runs:
            left, whole = len(run.unfinished), len(run.collected)
            if not run.lost and (left or not whole):
                what = f"has {left} of its {whole} tests left" if whole else "had begun no test"
                self._say(f"interrupted: {run.asked} {what}")

    def _report_judged(self, *, within_s: float) -> None:
        """Report tests whose verdicts come within ``within_s`` seconds; the others have no result."""
        deadline_s = time.monotonic() + within_s
        for run, backlog in self._backlogs.items():
            while backlog and time.monotonic() < deadline_s:
                wait(backlog.awaited[:1], timeout=deadline_s - time.monotonic())
                backlog.work()
            run.finished.difference_update(backlog.left)

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> Scheduling:  # noqa: ARG002  # as xdist calls it
        """Return the scheduler: every test on every kernel, independently."""
        return KernelScheduling(self.run_of, all_done=lambda: not self._waiting and not self._nodes)

    @pytest.hookimpl
    def pytest_runtestloop(self) -> bool:
        """Run xdist's loop, which cannot begin without a worker."""
        if not self._active_nodes:
            return True
        return bool(super().pytest_runtestloop())

    @pytest.hookimpl
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Send its kernel's name to a worker, and to a guest of this machine a channel for its recordings."""
        run = self.run_of(node)
        node.workerinput[KERNEL_INPUT] = run.asked
        # The running kernel's process judges itself: nothing else may run then. Another machine has its recordings.
        if not run.is_host and not run.where:
            channel = node.gateway.newchannel()
            self._verdicts[node.gateway.id] = GuestVerdicts(self._judges, channel)
            node.workerinput[JUDGE_INPUT] = channel

    def worker_workerready(self, node: WorkerController, workerinfo: object) -> None:
        """Handle a kernel that has booted and imported pytest, and now collects tests."""
        super().worker_workerready(node, workerinfo)
        run = self.run_of(node)
        self._say(f"{run.asked} is up after {time.monotonic() - run.started_s:.1f} s")

    def worker_collectionfinish(self, node: WorkerController, ids: Sequence[str]) -> None:
        """Record the tests of a kernel; those without a report at the end are lost."""
        run = self.run_of(node)
        run.collected = tuple(with_kernel(nodeid, run.asked) for nodeid in ids)
        run.first_test_s = time.monotonic()
        self._say(f"{run.asked} begins with its first test after {run.first_test_s - run.started_s:.1f} s")
        super().worker_collectionfinish(node, ids)
        if self._session is not None:
            # Progress in percent is of all kernels, some of which have not collected yet.
            self._session.testscollected = sum(len(run.collected) or len(ids) for run in self.runs)

    def worker_logstart(self, node: WorkerController, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Pass on the start of one kernel's test."""
        run = self.run_of(node)
        self._backlogs[run].add(partial(super().worker_logstart, node, with_kernel(nodeid, run.asked), location))

    def worker_logfinish(self, node: WorkerController, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Pass on the end of one kernel's test."""
        run = self.run_of(node)
        self._backlogs[run].add(partial(super().worker_logfinish, node, with_kernel(nodeid, run.asked), location))

    def worker_testreport(self, node: WorkerController, rep: pytest.TestReport) -> None:
        """Collect the reports of a test, and pass them on with the last, as a guest may die before and start anew.

        A test whose verdict is to come is finished, and its reports wait.
        """
        run = self.run_of(node)
        rep.nodeid = with_kernel(rep.nodeid, run.asked)
        parts = self._parts.setdefault(node.gateway.id, [])
        parts.append(rep)
        if rep.when == "teardown":
            del self._parts[node.gateway.id]
            run.finished.add(rep.nodeid)
            pending = next(filter(None, map(pending_of, parts)), None)
            verdict = None if pending is None else self._verdicts[node.gateway.id].of(pending.number)
            self._backlogs[run].add(partial(self._pass_on, node, parts, verdict), verdict, name=rep.nodeid)
            if verdict is not None:
                verdict.add_done_callback(lambda _: self.queue.put(("judged", {"run": run})))

    def _pass_on(
        self, node: WorkerController, parts: Sequence[pytest.TestReport], verdict: Future[Judged] | None
    ) -> None:
        """Pass on the reports of a test, with its verdict."""
        if verdict is not None:
            settle_all(parts, judged_of(verdict), self.config)
        for part in parts:
            super().worker_testreport(node, part)

    def worker_judged(self, run: KernelRun) -> None:
        """Handle a verdict: pass on what it held up, which the running kernel may have waited for."""
        self._backlogs[run].work()
        self._fill()

    def worker_workerfinished(self, node: WorkerController) -> None:
        """Handle a kernel that has run its tests: the next one gets its slot, also if verdicts are still to come."""
        run = self.run_of(node)
        self._backlogs[run].add(partial(super().worker_workerfinished, node))
        if self._nodes.pop(node.gateway.id, None) is not None:
            # xdist keeps idle workers to the end; closing a guest's input ends it now and frees its memory.
            node.gateway.exit()
            if not self._files_fetched(run):
                self._say(f"the recordings of {run.asked} could not be fetched from {run.where}; its tests are done")
            self._leave(run)
            self._fill()

    def worker_errordown(self, node: WorkerController, error: object | None) -> None:
        """Handle a gateway that closed before its tests were done: its guest is lost, and tried once more."""
        self.config.hook.pytest_testnodedown(node=node, error=error)
        run = self._nodes.pop(node.gateway.id, None)
        if run is None:
            self._active_nodes.discard(node)
            return
        assert isinstance(self.sched, KernelScheduling)
        running = self.sched.running(node)
        if node in self.sched.nodes:
            self.sched.remove_node(node)
        if not self.shouldstop:
            when = f"during {running}" if running else "between its tests"
            self._lose_or_move(run, f"it ended early ({error})", when)
        # The session goes on while a node is active.
        self._backlogs[run].add(partial(self._active_nodes.discard, node))
        self._leave(run)
        self._fill()

    def _fill(self) -> None:
        """Give each free slot to the first kernel that waits."""
        while self._waiting and not self.shouldstop:
            run, machine = self._next()
            if machine is None and not self._slots.may_wait(run):
                self._waiting.remove(run)
                self._lose_for_good(run, "no machine is left that can run it")
                continue
            if machine is None:
                return
            self._waiting.remove(run)
            self._start(run, machine)

    def _next(self) -> tuple[KernelRun, SessionMachine | None]:
        # In order: if guests could overtake the host, the host would wait until all guests are done.
        run = self._waiting[0]
        # Verdicts that are to come would disturb the host, too; each calls `_fill`.
        return run, None if run.is_host and any(self._backlogs.values()) else self._slots.take(run)

    def _start(self, run: KernelRun, machine: SessionMachine) -> None:
        """Start a kernel, which takes seconds; execnet's threads queue the reports of others meanwhile."""
        import execnet

        run.attempt += 1
        run.where = machine.name
        run.started_s = time.monotonic()
        try:
            spec = f"popen//id={run.gateway}"
            if not run.is_host:
                self._empty_console(run)
                settings = run.remote_settings() if machine.name else run.attempt_settings()
                spec = machine.gateway_spec(settings, name=run.gateway)
            self._say(
                f"{'starting' if run.is_host else 'booting'} {run.asked}{' on ' + run.where if run.where else ''}"
            )
            self._nodes[run.gateway] = run
            assert self.nodemanager is not None
            node = self.nodemanager.setup_node(execnet.XSpec(spec), self.queue.put)
        except (EOFError, OSError, execnet.HostNotFound) as error:
            # execnet only reports that its pipe was closed; the launcher printed the reason to standard error.
            self._nodes.pop(run.gateway, None)
            cause = "it did not boot" if isinstance(error, EOFError) else f"it did not boot ({error})"
            self._lose_or_move(run, cause, "before it was up")
            self._leave(run)
            return
        self._active_nodes.add(node)

    @staticmethod
    def _empty_console(run: KernelRun) -> None:
        """Empty the console's file, which may be of an earlier session."""
        if run.console is not None:
            run.console.write_bytes(b"")

    def _leave(self, run: KernelRun) -> None:
        run.ended_s = time.monotonic()
        self._slots.leave(run)
        cache = getattr(self.config, "cache", None)
        if cache is not None and not run.losses:
            cache.set(TOOK, {**cache.get(TOOK, {}), run.asked: run.ended_s - run.started_s})

    def _files_fetched(self, run: KernelRun) -> bool:
        """Fetch the files of its guest; return False when its machine does not answer."""
        machine = self._slots.taken[run]
        if run.is_host:
            return True
        try:
            machine.fetch_files(run.attempt_settings(), name=run.gateway)
        except RemoteError as error:
            self._say(str(error))
            self._slots.close(machine)
            return False
        return True

    def _lose_or_move(self, run: KernelRun, cause: str, when: str) -> None:
        """Handle a lost guest; if its machine is lost too, give the kernel to another machine instead."""
        if self._files_fetched(run):
            self._lose(run, cause, when)
            return
        run.departures.append(f"{run.asked} was on {run.where}, and the machine was lost {when}: {cause}")
        self._say(f"{run.asked} was lost with {run.where}; it will run on another machine")
        self._waiting.insert(0, run)

    def _lose(self, run: KernelRun, cause: str, when: str) -> None:
        """Record a lost guest: it waits for another one, or its unfinished tests are lost."""
        why = run.lose(cause, when=when)
        if len(run.losses) < ATTEMPTS:
            self._say(f"{run.asked} was lost {when}: {why}; it is tried once more, in a fresh guest")
            self._waiting.insert(0, run)
            return
        self._say(f"{run.asked} was lost again {when}: {why}; its unfinished tests are lost")
        self._report_lost(run)

    def _lose_for_good(self, run: KernelRun, cause: str) -> None:
        """Record a kernel that cannot be started again as lost."""
        self._say(f"{run.asked} is lost: {cause}")
        while not run.lost:
            run.lose(cause)
        self._report_lost(run)

    def _report_lost(self, run: KernelRun) -> None:
        for nodeid in run.unfinished or (f"{run.asked}",):
            report = partial(self.config.hook.pytest_runtest_logreport, report=lost_report(nodeid, run))
            self._backlogs[run].add(report)


def lost_report(nodeid: str, run: KernelRun) -> pytest.TestReport:
    """Return the report of a lost test: a failure to pytest, which has no other outcome, an error in a JUnit file."""
    path = nodeid.split("::")[0]
    report = pytest.TestReport(
        nodeid=nodeid,
        location=(path, None, path),
        keywords={},
        outcome="failed",
        longrepr=run.losses[-1],
        when="???",  # type: ignore[arg-type]  # as xdist does for a test that was running
    )
    report.user_properties += [(PROPERTY + "outcome", "lost"), (PROPERTY + "asked", run.asked)]
    return report
