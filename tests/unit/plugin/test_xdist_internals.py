"""The internals of pytest-xdist that `rttcheck.plugin` uses, and the bound on its version that they make necessary."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import xdist.plugin
import xdist.remote
from xdist import newhooks
from xdist.dsession import DSession
from xdist.scheduler.protocol import Scheduling
from xdist.workermanage import Marker, NodeManager, WorkerController

from rttcheck.plugin.kernel_nodes import KernelNodes, RemoteWorker
from rttcheck.plugin.kernel_scheduling import KernelScheduling
from rttcheck.plugin.kernel_session import KernelSession

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"

ATTRIBUTES = (
    (DSession, "_active_nodes"),
    (DSession, "_session"),
    (DSession, "nodemanager"),
    (DSession, "queue"),
    (DSession, "sched"),
    (DSession, "shouldstop"),
    (NodeManager, "config"),
    (NodeManager, "group"),
    (WorkerController, "channel"),
    (WorkerController, "config"),
    (WorkerController, "gateway"),
    (WorkerController, "workerinput"),
)
"""Attributes of instances that the plugin reads or sets."""

MEMBERS = (
    (DSession, "pytest_runtestloop"),
    (NodeManager, "EXIT_TIMEOUT"),
    (WorkerController, "process_from_remote"),
    (WorkerController, "send_runtest_some"),
    (WorkerController, "shutdown"),
    (Marker, "END"),
)
"""Members of classes that the plugin uses and does not override."""

OVERRIDES = (
    (DSession, KernelSession, "pytest_collection"),
    (DSession, KernelSession, "pytest_runtestloop"),
    (DSession, KernelSession, "pytest_sessionfinish"),
    (DSession, KernelSession, "pytest_xdist_make_scheduler"),
    (DSession, KernelSession, "worker_collectionfinish"),
    (DSession, KernelSession, "worker_errordown"),
    (DSession, KernelSession, "worker_logfinish"),
    (DSession, KernelSession, "worker_logstart"),
    (DSession, KernelSession, "worker_testreport"),
    (DSession, KernelSession, "worker_workerfinished"),
    (DSession, KernelSession, "worker_workerready"),
    (NodeManager, KernelNodes, "setup_node"),
    (WorkerController, RemoteWorker, "setup"),
)
"""Methods that the plugin overrides: (xdist's class, the plugin's, the method)."""

HOOKS = (
    "pytest_configure_node",
    "pytest_testnodedown",
    "pytest_xdist_getremotemodule",
    "pytest_xdist_make_scheduler",
    "pytest_xdist_newgateway",
)


def gone(what: str) -> str:
    return f"pytest-xdist {metadata.version('pytest-xdist')} has no {what}: adapt rttcheck.plugin, or bound the version"


def parameters(function: Callable[..., object]) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_version_is_bounded_above() -> None:
    requirements = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    (wanted,) = (one for one in requirements if one.startswith("pytest-xdist"))
    assert re.fullmatch(r"pytest-xdist>=[\d.]+,<[\d.]+", wanted), wanted


@pytest.mark.parametrize(("owner", "name"), ATTRIBUTES)
def test_an_attribute_exists(owner: type, name: str) -> None:
    assert re.search(rf"\bself\.{name}\b.*=", inspect.getsource(owner)), gone(f"{owner.__name__}.{name}")


@pytest.mark.parametrize(("owner", "name"), MEMBERS)
def test_a_member_exists(owner: type, name: str) -> None:
    assert hasattr(owner, name), gone(f"{owner.__name__}.{name}")


@pytest.mark.parametrize(("theirs", "ours", "name"), OVERRIDES)
def test_an_overridden_method_exists_and_has_the_same_parameters(theirs: type, ours: type, name: str) -> None:
    assert hasattr(theirs, name), gone(f"{theirs.__name__}.{name}")
    assert parameters(getattr(ours, name)) == parameters(getattr(theirs, name))


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_exists(name: str) -> None:
    assert hasattr(newhooks, name), gone(f"hook {name}")


def test_the_scheduler_has_all_members_of_xdists_protocol() -> None:
    members = [name for name in vars(Scheduling) if not name.startswith("_")]
    assert "schedule" in members, gone("Scheduling.schedule")
    assert [name for name in members if not hasattr(KernelScheduling, name)] == []
    methods = [name for name in members if inspect.isfunction(getattr(Scheduling, name))]
    theirs = {name: parameters(getattr(Scheduling, name)) for name in methods}
    assert {name: parameters(getattr(KernelScheduling, name)) for name in methods} == theirs


def test_a_worker_receives_the_four_values_that_are_sent_to_it() -> None:
    source = inspect.getsource(xdist.remote)
    assert "workerinput, args, option_dict, change_sys_path = channel.receive()" in source, gone("such a message")


def test_the_session_is_registered_under_the_name_that_xdist_looks_for() -> None:
    assert '"dsession"' in inspect.getsource(xdist.plugin), gone("plugin named dsession")
