"""What can go wrong, one type a remedy.

Every message is one sentence that says what was asked, what was found and what to do about it. The plugin and the
command line print it as it is; a traceback that reaches a user is a bug.
"""

from __future__ import annotations


class RttcheckError(Exception):
    """Base of all errors that rttcheck raises on purpose; ``str()`` is a sentence for a person."""


class ScenarioError(RttcheckError, ValueError):
    """A scenario asks for something that makes no sense (a bare number, an unknown key, a value at a bucket's edge)."""


class CapabilityError(RttcheckError):
    """This machine or kernel lacks what was asked for; the message names the remedy."""


class ProbeError(RttcheckError):
    """The RTT probe could not be loaded or attached; the message ends with the kernel's own words."""


class CaptureError(RttcheckError):
    """Packets could not be captured; the message ends with the remedy."""


class TrafficError(RttcheckError):
    """TCP traffic did not get through before its deadline."""


class RecordingError(RttcheckError):
    """A recording cannot be read or written; the message says what is wrong with the file."""


class AllowListError(RttcheckError):
    """A list of allowed kernel splats cannot be read or says nothing; the message names the entry."""


class KernelError(RttcheckError):
    """A kernel that does not exist, cannot be fetched or is not what its name says."""


class GuestLost(RttcheckError):
    """A guest died, hung or did not boot: its tests neither passed nor failed.

    ``console_tail`` holds the last lines of the guest's console, for the report.
    """

    def __init__(self, message: str, console_tail: str = "") -> None:
        super().__init__(message)
        self.console_tail = console_tail


class RemoteError(RttcheckError):
    """Another machine that cannot be reached, lacks something, or has gone away."""
