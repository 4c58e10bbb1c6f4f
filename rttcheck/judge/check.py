"""The declaration of a check: an id that never changes, a title for people, and the data that it needs.

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
    """The parts of the probe's events that a check needs; nothing by default."""

    all_of: tuple[str, ...] = ()
    """Event fields, all of which are needed."""
    any_of: tuple[str, ...] = ()
    """Event fields, one of which is enough."""
    every_sample: bool = False
    columns: tuple[str, ...] = ()
    """Columns of other tables than events, as in ``wire.window``: older recordings may not have them."""

    def unmet(self, view: View, absent: Collection[str] = ()) -> str:
        """Return what a recording with this view and without the columns ``absent`` lacks; empty for nothing."""
        lacks = [name for name in self.columns if name in absent]
        if self.every_sample and not view.every_sample:
            lacks.append(EVERY_SAMPLE)
        hidden = [name for name in self.all_of if not view.sees(name)]
        if self.any_of and not any(view.sees(name) for name in self.any_of):
            hidden.append(" or ".join(self.any_of))
        return " and ".join((*lacks, *hidden))

    def render(self) -> str:
        """Return the needs as one line of text; empty for nothing."""
        parts = [EVERY_SAMPLE] if self.every_sample else []
        return ", ".join((*parts, *self.all_of, *([" or ".join(self.any_of)] if self.any_of else [])))


NOTHING: Final = Needs()
"""No event field: the check uses packets, settings or the kernel's log."""

VALUES: Final = Needs(any_of=("sample_us", "last_rtt_us"))
"""A time of each event: the sample, or else the last-acked RTT."""

CALLS: Final = Needs(every_sample=True, all_of=("flag", "first_rtt_us", "sack_rtt_us"))
"""Every call of ``tcp_ack_update_rtt()``, with its arguments."""


class Quality(StrEnum):
    """The data quality that a check needs: without it a failure is *inconclusive*."""

    ANY = "none"
    """No requirement: a failure stays a failure."""
    PACKETS_AND_EVENTS = "packets and events complete, clock not set, no corrupted packets"
    END_CAPTURES = "packets and events complete, clock not set, no corrupted packets, seen before any queue of the ends"
    LINK_CAPTURES = "the link's captures complete, clock not set"
    RELAY_ACCOUNT = "the link's captures and the relay's records complete, clock not set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One assertion of the judge. The ``id`` is unique."""

    id: str
    """Layer and name, as in ``link.never-early``. It never changes, so that programs can use it as a key."""
    layer: Layer
    title: str
    """Text for people, shown in a verdict; it may change."""
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
        """Return a finding of this check; ``layer`` names the guilty layer where it is not the check's own."""
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
