"""Whether a site's ledger has every round that the site was in: a hash in a charge's place would hide it.

Knows ledger, egress log, release and transcript. A hospital charges a round before it masks for it, so that an honest
one's ledger has at least the rounds that its log has. What one hospital hides in its ledger it can hide in its log too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dp.ledger import Kind
from secagg.charter import VerifiedCharter
from secagg.egress import Direction
from secagg.masking import Purpose
from secagg.printable import printable
from secagg.release import Release
from secagg.release.checkpoints import VerifiedCheckpoints
from secagg.wire import Stage
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Finding
from training.reporting.integrity import Integrity
from training.reporting.rounds import TranscriptFacts
from training.reporting.since_the_end import goes_on_after, is_old_export, may_be_older

_OWN_WORD = (
    "there is no release and no whole transcript, and it does not show its whole egress log: that it was in no other "
    "round is only the site's word"
)
_REMEDY = "What its patients have spent cannot be told from what it shows: ask it for the whole ledger."


@dataclass(frozen=True)
class Beside:
    """What says which rounds a site was in, beside its own log; None where it was not given."""

    transcript: TranscriptFacts | None
    release: Release | None


def check_charges(
    site: SiteEvidence,
    charter: VerifiedCharter,
    checkpoints: VerifiedCheckpoints | None,
    beside: Beside,
    integrity: Integrity,
) -> None:
    """Hold what a site shows of its ledger against the rounds that it masked for or is in the sum of.

    Of an export that may be from before the run's end, what it lacks may have come later.
    """
    if is_old_export(site, checkpoints):
        _check_so_far(site, charter, beside, integrity)
    elif may_be_older(site, checkpoints, charter.charter):
        _check_older(site, charter, beside, integrity)
    else:
        _check_whole(site, charter, beside, integrity)


def _check_whole(site: SiteEvidence, charter: VerifiedCharter, beside: Beside, integrity: Integrity) -> None:
    if site.ledger is None:
        return
    charged = rounds_of(site, charter, Kind.CHARGE, Kind.UNPROTECTED)
    transcript, release = beside.transcript, beside.release
    wrong = _not_charged(site, rounds_masked(site, charter, charged, transcript) - charged)
    if release:
        wrong += _fewer_than_its_sums(site, charged, release) + _understated(site, charged, release)
    what = _what(site)
    if site.egress and not site.egress.hidden:
        integrity.found(what, f"{len(charged)} rounds charged, and by its own log it was in no other round", wrong)
    elif wrong or release or (transcript and not transcript.broken_off):
        integrity.found(what, f"{len(charged)} rounds charged, no fewer than it is in the sums of", wrong)
    else:
        integrity.absent(what, _OWN_WORD)


def _check_older(site: SiteEvidence, charter: VerifiedCharter, beside: Beside, integrity: Integrity) -> None:
    """Of a site that may have exported this before the run ended."""
    charged = rounds_of(site, charter, Kind.CHARGE, Kind.UNPROTECTED)
    lacking = rounds_masked(site, charter, charged, beside.transcript) - charged
    until_then = _until_then(site, charter, charged, lacking)
    if lacking == until_then and not (beside.release and _fewer_than_its_sums(site, charged, beside.release)):
        _check_whole(site, charter, beside, integrity)
        return
    wrong = _not_charged(site, until_then)
    if beside.release:
        wrong += _understated(site, charged, beside.release)
    integrity.found(_what(site), "", [goes_on_after(site.member, site), *wrong])


def _check_so_far(site: SiteEvidence, charter: VerifiedCharter, beside: Beside, integrity: Integrity) -> None:
    """Of an export from before the run's end: of rounds after the last that it shows it says nothing."""
    if site.ledger is None:
        return
    charged = rounds_of(site, charter, Kind.CHARGE, Kind.UNPROTECTED)
    lacking = rounds_masked(site, charter, charged, beside.transcript) - charged
    wrong = _not_charged(site, _until_then(site, charter, charged, lacking))
    if wrong:
        integrity.found(_what(site), "", wrong)
    else:
        last = max(charged, default=0)
        integrity.absent(_what(site), f"it was exported before the run ended, and shows no round after {last}")


def _until_then(
    site: SiteEvidence, charter: VerifiedCharter, charged: frozenset[int], lacking: frozenset[int]
) -> frozenset[int]:
    """The rounds without a charge that are no later than what it shows: later ones are charged, or its log has them.

    An honest ledger is read after the log, and a round is charged in it before it is masked for.
    """
    last, masked = max(charged, default=0), _masked(site, charter)
    return frozenset(number for number in lacking if number < last or number in masked)


def rounds_of(site: SiteEvidence, charter: VerifiedCharter, *kinds: Kind) -> frozenset[int]:
    """The rounds of this charter that a site's ledger shows an entry of these kinds for, on whatever data set."""
    run = charter.digest.hex()
    entries = site.ledger.entries if site.ledger else ()
    return frozenset(entry.round for entry in entries if entry.run == run and entry.kind in kinds)


def rounds_masked(
    site: SiteEvidence, charter: VerifiedCharter, charged: frozenset[int], transcript: TranscriptFacts | None
) -> frozenset[int]:
    """The training rounds that a site masked for, by its own log, or is in the sum of, by the transcript."""
    training = (
        {found.round for found in transcript.rounds if found.purpose is Purpose.TRAINING} if transcript else set()
    )
    summed = {found.round for found in transcript.rounds if site.member in found.took_part} if transcript else set()
    masked = _masked(site, charter)
    # No statistics are summed once a hospital trains. Which epoch trained first it says by what it has charged.
    none = not charter.charter.statistics.features
    first = min((epoch for number, epoch in masked.items() if none or number in charged), default=None)
    own = {number for number, epoch in masked.items() if first is not None and epoch >= first}
    return frozenset(own | training & (summed | masked.keys()))


def _masked(site: SiteEvidence, charter: VerifiedCharter) -> dict[int, int]:
    """The epoch of each round that it sent a masked vector in."""
    return {
        entry.round: entry.epoch
        for entry in (site.egress.entries if site.egress else ())
        if (entry.charter, entry.direction, entry.stage) == (charter.digest.hex(), Direction.SENT, Stage.MASKED.name)
    }


def _fewer_than_its_sums(site: SiteEvidence, charged: frozenset[int], release: Release) -> list[Finding]:
    sums = {contributor.name: contributor.sums for contributor in release.contributors}.get(site.member, 0)
    if sums <= len(charged):
        return []
    told = f"{site.member} is in {sums} sums, and its ledger, read on {printable(site.made)}, shows {len(charged)}"
    return [_uncharged(site, f"{told} rounds as charged.")]


def _understated(site: SiteEvidence, charged: frozenset[int], release: Release) -> list[Finding]:
    if len(charged) <= release.rounds:
        return []
    return [
        Finding(
            "understated-rounds",
            f"The release states {release.rounds} rounds, and {site.member} was charged for {len(charged)}.",
            "the release",
            "Do not rely on what it states.",
        )
    ]


def _what(site: SiteEvidence) -> str:
    return f"{site.member}: ledger, compared with the rounds that it was in"


def _not_charged(site: SiteEvidence, rounds: Collection[int]) -> list[Finding]:
    if not rounds:
        return []
    told = ", ".join(map(str, sorted(rounds)[:20]))
    read = f"its ledger, read on {printable(site.made)},"
    return [_uncharged(site, f"{site.member} was in rounds that {read} does not show as charged: {told}.")]


def _uncharged(site: SiteEvidence, told: str) -> Finding:
    return Finding("uncharged-round", told, site.member, _REMEDY)
