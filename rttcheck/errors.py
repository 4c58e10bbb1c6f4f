"""The exceptions, one type per kind of remedy.

Every message is one sentence: what was requested, what was found and what to do about it. The plugin and the command
line print it unchanged; a traceback that a user sees is a bug.
"""

from __future__ import annotations


class RttcheckError(Exception):
    """Base of all errors that rttcheck raises on purpose; ``str()`` is a sentence for the user."""


class ScenarioError(RttcheckError, ValueError):
    """A scenario is invalid (a bare number, an unknown key, a value at a bucket's edge)."""


class CapabilityError(RttcheckError):
    """This machine or kernel lacks what was requested; the message names the remedy."""


class ProbeError(RttcheckError):
    """The RTT probe could not be loaded or attached; the message ends with the kernel's."""


class CaptureError(RttcheckError):
    """Packets could not be captured; the message ends with the remedy."""


class TrafficError(RttcheckError):
    """TCP traffic was not completed before its deadline."""


class RecordingError(RttcheckError):
    """A recording cannot be read or written; the message names the problem with the file."""


class AllowListError(RttcheckError):
    """A list of allowed kernel splats cannot be read or has an invalid entry; the message names the entry."""


class JudgingError(RttcheckError):
    """A process that judges a recording died, hung or could not be started; the message names the recording."""


class KernelError(RttcheckError):
    """A kernel does not exist, cannot be fetched or cannot be booted."""


class GuestLost(RttcheckError):
    """A guest died, hung or did not boot. Its tests neither passed nor failed.

    ``console_tail`` has the last lines of the guest's console, for the report.
    """

    def __init__(self, message: str, console_tail: str = "") -> None:
        super().__init__(message)
        self.console_tail = console_tail


class RemoteError(RttcheckError):
    """Another machine cannot be reached, lacks something, or does not answer any more."""
