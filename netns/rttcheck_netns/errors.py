"""The errors of this package: one type for each remedy.

Every message is one sentence that names what was asked, what was found and what to do.
"""

from __future__ import annotations


class NetnsError(Exception):
    """Base of all errors that this package raises on purpose; ``str()`` is a sentence for the user."""


class NetlinkRefused(NetnsError):
    """The kernel refused one message; ``errno`` is its reason, the message names the request.

    ``kernel_message`` is the kernel's own text (NLMSGERR_ATTR_MSG), empty where it gave none.
    """

    def __init__(self, message: str, errno: int, kernel_message: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.kernel_message = kernel_message


class UnsupportedByKernel(NetnsError):
    """The running kernel lacks what was asked for; the message names the option or the release that has it."""


class NetemInvalid(NetnsError, ValueError):
    """An impairment that is contradictory or that netem cannot represent; raised before anything is installed."""


class NetemMismatch(NetnsError):
    """The kernel's netem differs from the request: in ``attribute``, with values ``asked`` and ``found``."""

    def __init__(self, direction: str, attribute: str, asked: object, found: object) -> None:
        super().__init__(
            f"netem {direction}: asked for {attribute} = {asked}, the kernel holds {found}: "
            "choose a value that this kernel keeps, or another kernel"
        )
        self.direction = direction
        self.attribute = attribute
        self.asked = asked
        self.found = found


class LimitTooSmall(NetnsError, ValueError):
    """netem's queue is too short for the packets in flight and would drop silently; ``needed`` packets would do."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


class SysctlRefused(NetnsError):
    """A sysctl of a namespace could not be set, or has another value after it was set."""


class LinkSilent(NetnsError):
    """Markers sent through the link did not arrive, or its queues did not empty, before the deadline."""


class UnsupportedByEngine(NetnsError, ValueError):
    """The chosen engine does not have this setting; another engine does."""


class RelayFailed(NetnsError):
    """The relay's process could not start, ended unexpectedly, or does not answer."""
