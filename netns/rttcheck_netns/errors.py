"""What can go wrong with a network in a bottle: one type a remedy, each message one sentence.

Every message says what was asked, what was found and what to do. Nothing here knows who builds a network or why.
"""

from __future__ import annotations


class NetnsError(Exception):
    """Base of all errors that this package raises on purpose; ``str()`` is a sentence for a person."""


class NetlinkRefused(NetnsError):
    """The kernel refused one message; ``errno`` is its reason, the message names what was asked for.

    ``kernel_says`` holds the kernel's own words (NLMSGERR_ATTR_MSG), empty where it gave none.
    """

    def __init__(self, message: str, errno: int, kernel_says: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.kernel_says = kernel_says


class UnsupportedByKernel(NetnsError):
    """The running kernel lacks what was asked for; the message names the option or the release that has it."""


class NetemInvalid(NetnsError, ValueError):
    """An impairment that makes no sense or that netem cannot hold; raised before anything is installed."""


class NetemMismatch(NetnsError):
    """The kernel's netem is not what was asked for: ``attribute`` differs, ``asked`` and ``found`` say how."""

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
    """netem's queue cannot hold the packets in flight: it would drop without a word; ``needed`` packets would do."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


class SysctlRefused(NetnsError):
    """A sysctl of a namespace could not be set, or holds something else after it was set."""


class LinkSilent(NetnsError):
    """Markers sent through the link did not come out, or its queues did not empty, before the deadline."""


class UnsupportedByEngine(NetnsError, ValueError):
    """The chosen engine does not have this setting; another one does."""


class RelayFailed(NetnsError):
    """The relay's process could not start, ended by itself, or does not answer."""
