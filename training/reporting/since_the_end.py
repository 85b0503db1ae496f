"""Whether a hospital's log still begins as the one that it signed for when the run ended.

Knows a log's checkpoint and what is shown of the log. One that does not is no evidence of anything: whoever has the
site's key can write it anew, and say with it that the coordinator lied. An export may only be older than that, and is
called so only where nothing in it shows that it is newer.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from dp.ledger.entries import LEDGER
from secagg.egress import EGRESS
from secagg.errors import TamperingError
from secagg.log_excerpt import LogCheckpoint, LogExcerpt, require_grown_from
from secagg.printable import printable
from secagg.release.checkpoints import VerifiedCheckpoints
from secagg.signed_log import EntryT, LogKind
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Finding

OLD_EXPORT: Final = "old-export"


def since_the_end(
    member: str, excerpt: LogExcerpt[EntryT], kind: LogKind[EntryT], noted: LogCheckpoint | None
) -> Finding | None:
    """What is wrong with a log beside what its hospital signed for when the run ended; None if nothing is.

    Args:
        noted: its checkpoint; None if it has none.
    """
    if noted is None:
        return None
    try:
        require_grown_from(noted, excerpt, kind, Path(f"of {member}"))
    except TamperingError as error:
        return Finding(error.reason, error.message, member, error.remedy)
    return None


def of_ledger(
    site: SiteEvidence, checkpoints: VerifiedCheckpoints | None, read_here: Collection[str] = ()
) -> Finding | None:
    """The same of what a site shows of its ledger.

    Args:
        read_here: members whose own logs were read just now, so that what they show is no older export.
    """
    own = checkpoints.by_name.get(site.member) if checkpoints else None
    if own is None or site.ledger is None:
        return None
    if is_old_export(site, checkpoints, read_here) and site.ledger.checkpoint.entries < own.ledger.entries:
        return _old_export(site)
    return since_the_end(site.member, site.ledger, LEDGER, own.ledger)


def of_egress(
    site: SiteEvidence, checkpoints: VerifiedCheckpoints | None, read_here: Collection[str] = ()
) -> Finding | None:
    """The same of what a site shows of its egress log."""
    own = checkpoints.by_name.get(site.member) if checkpoints else None
    if own is None or site.egress is None:
        return None
    if is_old_export(site, checkpoints, read_here):
        return _old_export(site)
    return since_the_end(site.member, site.egress, EGRESS, own.egress)


def is_old_export(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None, read_here: Collection[str] = ()) -> bool:
    """Whether it may have been exported before the run ended, so that later rounds that it lacks tell nothing.

    What a hospital attests is in its egress log, and its ledger is complete by then. So one whose egress log has come
    as far as its checkpoint is no older export, however short its ledger.
    """
    own = checkpoints.by_name.get(site.member) if checkpoints else None
    if own is None or site.egress is None or site.scope != "charter" or site.member in read_here:
        return False
    if site.ledger and site.ledger.checkpoint.entries >= own.ledger.entries and site.ledger.checkpoint != own.ledger:
        return False
    return site.egress.checkpoint.entries < own.egress.entries


def _old_export(site: SiteEvidence) -> Finding:
    member = site.member
    return Finding(
        OLD_EXPORT,
        f"What {member} shows was exported on {printable(site.made)}, and is shorter than what it signed for when the "
        f"run ended. Ask {member} for a new export: if that is as short, an older log was put back there, or the log "
        "was cut off.",
        member,
        "Use the new export.",
    )
