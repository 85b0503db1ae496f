"""How many rounds of a run a promise has to cover, and how many of these gave a sum: by the release and by ledgers.

Knows what the release states and what sites show of their ledgers. What is promised costs no less than either says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from dp.ledger import Kind
from dp.ledger.entries import Entry
from secagg.charter import Charter, VerifiedCharter
from secagg.release import Release
from training.privacy_plan import privacy_plan
from training.reporting.evidence import SiteEvidence

Counted = Literal["charged", "stated", "planned"]
"""Where a number of rounds is from: what a ledger charged; what a release states, which is more than the ledgers shown
have charged; or, where nobody knows either, what the charter asks for."""


@dataclass(frozen=True)
class RoundsRun:
    """What a promise covers.

    Attributes:
        rounds: all of them, those without a sum too.
        sums: of so many rounds; of any other it is assumed that counts were released with it.
    """

    rounds: int
    sums: int
    counted: Counted = "charged"


@dataclass(frozen=True)
class _Shown:
    """What one ledger shows of a run: how many rounds it charged, without a sum or with counts, and which it missed."""

    charged: int
    without_sum: int
    with_counts: int
    missed: int

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """Of a run's entries, on whatever data set: a patient may be in each."""
        charges = [entry for entry in entries if entry.kind in (Kind.CHARGE, Kind.UNPROTECTED)]
        charged = {entry.round for entry in charges}
        # What is unprotected is not said to have had a sum, and costs the same with and without.
        spent = {entry.round for entry in charges if entry.kind is Kind.CHARGE}
        summed = {entry.round for entry in entries if entry.kind is Kind.COMMIT}
        with_counts = sum(bool(entry.cost.metrics) for entry in charges)
        return cls(len(charges), len(spent - summed), with_counts, len(summed - charged))


def rounds_run(release: Release | None, sites: Sequence[SiteEvidence], charter: VerifiedCharter) -> RoundsRun:
    """What a promise has to cover: what the release states, or the most that a ledger shows if that is more.

    Without a release, and with a ledger that cannot be read or is not shown whole, no less than the charter asks for.
    """
    run = charter.digest.hex()
    shown = [_Shown.of([entry for entry in site.ledger.entries if entry.run == run]) for site in sites if site.ledger]
    if release:
        charged = max((site.charged for site in shown), default=0)
        stated = release.rounds > charged
        found = RoundsRun(max(release.rounds, charged), release.sums, "stated" if stated else "charged")
    else:
        # A hash may be in the place of a charge, in the egress log in that of the update: one site can hide both.
        whole = all(site.ledger and not site.ledger.hidden for site in sites)
        found = _by_ledgers(shown, charter.charter, "charged" if shown and whole else "planned")
    return _with_counts(found, max((site.with_counts for site in shown), default=0), charter.charter)


def _by_ledgers(shown: Sequence[_Shown], charter: Charter, counted: Counted) -> RoundsRun:
    without_sum = max((site.without_sum for site in shown), default=0)
    # A sum that a hospital missed has its place among those that counts are released with.
    rounds = max((site.charged + site.missed for site in shown), default=0)
    sums = rounds - without_sum
    if counted == "planned":
        sums = max(sums, charter.training.rounds)
    return RoundsRun(sums + without_sum, sums, counted)


def _with_counts(found: RoundsRun, counts: int, charter: Charter) -> RoundsRun:
    """The same with fewer sums, where a ledger was charged for more counts than so many sums and failures release.

    A sum may have been made twice, once in a round that some hospitals took and all gave up.
    """
    plan, sums = privacy_plan(charter), found.sums
    while plan.most_releases(found.rounds, sums) < counts:
        sums -= 1
    return RoundsRun(found.rounds, sums, found.counted)
