"""Which rounds gave no sum, and which of these were charged: by the transcript, and by the ledgers that are shown.

A round is charged before anything of it leaves a hospital. One that all hospitals refused was not; one that was cut off
was, and may be in no transcript.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dp.ledger import Kind
from secagg.charter import VerifiedCharter
from training.reporting.charges import rounds_of
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Notice
from training.reporting.rounds import TranscriptFacts


def without_sum(
    transcript: TranscriptFacts | None, sites: Sequence[SiteEvidence], charter: VerifiedCharter
) -> Iterator[Notice]:
    """What is to be told of the rounds that gave no sum; nothing where no transcript was given.

    Args:
        transcript: run again.
        sites: of which a ledger that cannot be read shows nothing.
    """
    if transcript is None:
        return
    made = {found.round for found in transcript.rounds if found.sum_sha256}
    summed = made | _rounds_of(Kind.COMMIT, sites, charter)
    failed = {found.round for found in transcript.rounds} - summed
    if charter.charter.privacy.mode == "none":
        yield from _notice(failed, "Nothing is charged without differential privacy.")
        return
    if not any(site.ledger for site in sites):
        yield from _notice(failed, "A hospital that sent an update in one was charged all the same.")
        return
    charged = _rounds_of(Kind.CHARGE, sites, charter)
    if transcript.broken_off:
        # Of a round after the break nobody knows here what came of it.
        charged &= failed | summed
    yield from _notice(charged - summed, "That was charged all the same.")
    yield from _notice(failed - charged, "No entry that is shown charges for that.")


def _rounds_of(kind: Kind, sites: Sequence[SiteEvidence], charter: VerifiedCharter) -> set[int]:
    """The rounds that ledgers have an entry of this kind for: CHARGE, or COMMIT of those whose sum was applied."""
    return {number for site in sites for number in rounds_of(site, charter, kind)}


def _notice(rounds: set[int], remedy: str) -> Iterator[Notice]:
    if rounds:
        which = f"round{'s' if len(rounds) > 1 else ''} {', '.join(map(str, sorted(rounds)))}"
        yield Notice("no-sum", f"No sum was made in {which}.", remedy)
