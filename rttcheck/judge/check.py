"""What a check is: an identity that never changes, a title for people, and what it rests on.

Each check is declared once, beside its code. `rttcheck.judge.checks` lists them all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rttcheck.judge.findings import Finding, Layer, Outcome

if TYPE_CHECKING:
    # A guest reads its log before its first test, and numpy is most of what a start costs there.
    from rttcheck.record.view import View

EVERY_SAMPLE: Final = "every sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Return what of the probe's events a check rests on; nothing by default."""

    all_of: tuple[str, ...] = ()
    """Members of an event."""
    any_of: tuple[str, ...] = ()
    every_sample: bool = False
    columns: tuple[str, ...] = ()
    """Columns of other tables than events, as in ``wire.window``: older recordings may not have them."""

    def unmet(self, view: View, absent: Collection[str] = ()) -> str:
        """Say what a recording lacks whose probe has this view, and whose tables lack the columns ``absent``.

        Empty when it lacks nothing.
        """
        lacks = [name for name in self.columns if name in absent]
        if self.every_sample and not view.every_sample:
            lacks.append(EVERY_SAMPLE)
        hidden = [name for name in self.all_of if not view.sees(name)]
        if self.any_of and not any(view.sees(name) for name in self.any_of):
            hidden.append(" or ".join(self.any_of))
        return " and ".join((*lacks, *hidden))

    def render(self) -> str:
        """Say it in a line; empty for nothing."""
        parts = [EVERY_SAMPLE] if self.every_sample else []
        return ", ".join((*parts, *self.all_of, *([" or ".join(self.any_of)] if self.any_of else [])))


NOTHING: Final = Needs()
"""No member of an event: the check rests on packets, on settings or on the log."""

VALUES: Final = Needs(any_of=("sample_us", "last_rtt_us"))
"""A time of each event: the sample, or else the last-acked one."""


class Quality(StrEnum):
    """Which damage to the recording turns a failure of the check into *inconclusive*."""

    ANY = "none"
    """No damage does: a failure is a failure."""
    PACKETS_AND_EVENTS = "packets and events complete, clock not set, no corrupted packets"
    END_CAPTURES = "packets and events complete, clock not set, no corrupted packets, no netem on the ends' interfaces"
    LINK_CAPTURES = "the link's captures complete, clock not set"
    RELAY_ACCOUNT = "the link's captures and the relay's account complete, clock not set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that is asserted. Two checks are never equal by chance: the ``id`` is unique."""

    id: str
    """A layer and a name, as in ``link.never-early``. It never changes: programs may key by it."""
    layer: Layer
    title: str
    """For people, in a verdict; it may change."""
    asserts: str
    """One sentence: what must hold."""
    against: str
    """What the observed values are compared with."""
    tolerance: str
    needs: Needs
    quality: Quality = Quality.ANY

    def finding(
        self,
        outcome: Outcome,
        message: str,
        expected: str,
        seen: str,
        samples: int,
        *,
        layer: Layer | None = None,
        blind: bool = False,
    ) -> Finding:
        """Return what the check came to; ``layer`` is given where another layer than its own is guilty."""
        return Finding(
            check=self.id,
            title=self.title,
            layer=self.layer if layer is None else layer,
            outcome=outcome,
            message=message,
            expected=expected,
            seen=seen,
            samples=samples,
            blind=blind,
        )
