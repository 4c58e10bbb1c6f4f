"""The pytest plugin: ``@pytest.mark.rtt(...)``, the fixtures ``rtt`` and ``lab``, and guests as xdist gateways.

Only this package uses pytest's API. Importing it must stay cheap, because pytest loads it in every session, guests
included.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.plugin.fixtures import RttFailure, Runner, lab, rtt, rtt_harness
from rttcheck.plugin.options import Options, add_options
from rttcheck.plugin.worker import Worker, kernel_of, without_kernel

__all__ = ["RttFailure", "Runner", "lab", "pytest_addoption", "pytest_configure", "rtt", "rtt_harness"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ``--rtt-*`` options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; in a controller decide where the scenarios run, before xdist reads its options."""
    config.addinivalue_line(
        "markers",
        'rtt(**scenario): a scenario with an injected round trip, as in rtt(rtt="40ms", loss="1%"); '
        "run with `pytest -m rtt`",
    )
    options = Options.of(config)
    if config.option.rtt_allow_splats:
        # A guest's Python may have another working directory.
        config.option.rtt_allow_splats = str(Path(config.option.rtt_allow_splats).absolute())
    if options.wants_scenarios:
        # A test can also be selected by the id in reports.
        config.args[:] = [without_kernel(argument) for argument in config.args]
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Worker(), "rttcheck-worker")
        if kernel_of(config) is not None:
            _watch_kernel(config)
        _use_host_judge(config)
        return
    if not options.wants_scenarios or config.option.collectonly or config.option.help or config.option.version:
        return
    from rttcheck.plugin.controller import start
    from rttcheck.plugin.ending import SigtermHandling
    from rttcheck.plugin.splats import allowed_of

    SigtermHandling.begin(config)
    # Report an invalid file before a guest is booted.
    allowed_of(config)
    if start(config, options):
        _watch_kernel(config)


def _watch_kernel(config: pytest.Config) -> None:
    """Read the kernel's log around each test, in the process that runs the tests."""
    from rttcheck.plugin.splats import SplatWatch, allowed_of

    config.pluginmanager.register(SplatWatch(allowed_of(config)), "rttcheck-splats")


def _use_host_judge(config: pytest.Config) -> None:
    """In a guest whose controller judges, hand recordings over to it."""
    from rttcheck.plugin.host_judge import HOST_JUDGE, JUDGE_INPUT, HeldReports, HostJudge

    channel = config.workerinput.get(JUDGE_INPUT)  # type: ignore[attr-defined]  # xdist's
    if channel is not None:
        config.stash[HOST_JUDGE] = HostJudge(channel)
        config.pluginmanager.register(HeldReports(), "rttcheck-held-reports")
