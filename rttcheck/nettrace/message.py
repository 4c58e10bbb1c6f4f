"""The message that nettrace's ``rtt`` analyzer adds to an event, in both of its dialects.

Its names are misleading, and kept because users search for them: ``rtt`` is the raw sample of the first segment that an
ACK newly acknowledged (not smoothed), ``rtt_min`` that of the last one (not a minimum).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from rttcheck.errors import RttcheckError

COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")

_MESSAGE = re.compile(r" \*rtt:(\d+)(?:\.(\d{3}))?ms, rtt_min:(\d+)(?:\.(\d{3}))?ms\*")


class AnalyzerError(RttcheckError, ValueError):
    """A text is not an output of nettrace's analyzer, or a value cannot be in one; the message quotes it."""


class Dialect(Enum):
    """How nettrace writes milliseconds."""

    WHOLE = "whole milliseconds"
    """``20ms``: up to 15365ac (2025-08-18); the program divides by 1000, so the rest is cut off."""
    DECIMAL = "milliseconds with three decimals"
    """``20.656ms``: since then; exact to the microsecond."""


@dataclass(frozen=True, slots=True)
class RttMessage:
    """First-acked and last-acked sample in microseconds, and the dialect that they are written in.

    The WHOLE dialect truncates to milliseconds: a message holds 20,000 for anything from 20,000 to 20,999, whether
    parsed or made. Raises AnalyzerError for a value below 0 ("no sample").
    """

    first_us: int
    last_us: int
    dialect: Dialect = Dialect.DECIMAL

    def __post_init__(self) -> None:
        if min(self.first_us, self.last_us) < 0:
            raise AnalyzerError(
                f"a message was asked for the samples {self.first_us} and {self.last_us} us, and below 0 means "
                "'no sample': the analyzer ignores such events"
            )
        if self.dialect is Dialect.WHOLE:
            object.__setattr__(self, "first_us", self.first_us // 1000 * 1000)
            object.__setattr__(self, "last_us", self.last_us // 1000 * 1000)

    def render(self) -> str:
        """`` *rtt:20.656ms, rtt_min:20.656ms*``, with the space before it."""
        return f" *rtt:{self._ms(self.first_us)}, rtt_min:{self._ms(self.last_us)}*"

    def _ms(self, value_us: int) -> str:
        whole, rest = divmod(value_us, 1000)
        return f"{whole}ms" if self.dialect is Dialect.WHOLE else f"{whole}.{rest:03d}ms"

    def shows(self, first_us: int, last_us: int) -> bool:
        """Return whether this is the message of an event with these samples, in its dialect."""
        return RttMessage(first_us, last_us, self.dialect) == self

    @classmethod
    def parse(cls, text: str) -> RttMessage:
        """Read a message, with or without colour codes. Raises AnalyzerError for anything else or more."""
        found = _MESSAGE.fullmatch(COLOUR_CODE.sub("", text))
        if found is None or (found[2] is None) != (found[4] is None):
            raise AnalyzerError(
                "a message was expected to look like ' *rtt:20ms, rtt_min:20ms*' or with three decimals, "
                f"found '{text}'"
            )
        dialect = Dialect.WHOLE if found[2] is None else Dialect.DECIMAL
        return cls(
            int(found[1]) * 1000 + int(found[2] or 0),
            int(found[3]) * 1000 + int(found[4] or 0),
            dialect,
        )
