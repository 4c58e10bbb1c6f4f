"""Decide whether a test's verdict may be added to its report later, after the guest has begun the next test."""

from __future__ import annotations

from types import FrameType

import pytest

from rttcheck.plugin.last_call import is_last_call

_OUTCOME = (
    "pytest_runtest_makereport",
    "pytest_runtest_logreport",
    "pytest_exception_interact",
    "pytest_runtest_protocol",
)
"""Hooks that read a test's outcome, or run tests."""

_AROUND = ("pytest_runtest_call", "pytest_pyfunc_call")
"""Hooks whose wrappers read it."""

_KNOWN = frozenset({"_pytest", "rttcheck", "xdist", "__channelexec__"})
"""Packages whose hooks may read passed before there is a verdict; execnet runs xdist's worker under the last name."""


def may_be_reported_late(item: pytest.Item, frame: FrameType, called: object) -> bool:
    """Return whether the verdict of a call may be added to the test's report later; ``frame`` called ``called``.

    It may if the call is the test's last statement, and no hook of another plugin or a conftest.py reads the outcome.
    """
    option = item.config.option
    if option.maxfail or option.tbstyle == "native" or option.fulltrace:
        # The guest ends with its first failures, or shows frames that are not there later.
        return False
    if item.get_closest_marker("xfail") is not None:
        return False
    return is_last_call(frame, item, called) and not _outcome_is_seen(item)


def _outcome_is_seen(item: pytest.Item) -> bool:
    for name in (*_OUTCOME, *_AROUND):
        for hook in getattr(item.ihook, name).get_hookimpls():
            wraps = hook.wrapper or hook.hookwrapper
            if (wraps or name in _OUTCOME) and hook.function.__module__.partition(".")[0] not in _KNOWN:
                return True
    return False
