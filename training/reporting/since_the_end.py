"""Whether a hospital's log still begins as the one that it signed for when the run ended.

Knows a log's checkpoint and what is shown of the log. One that does not is no evidence of anything: whoever has the
site's key can write it anew, and say with it that the coordinator lied. An export may only be older than that.
"""

from __future__ import annotations

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
    member: str,
    excerpt: LogExcerpt[EntryT],
    kind: LogKind[EntryT],
    noted: LogCheckpoint | None,
    exported: str | None = None,
) -> Finding | None:
    """What is wrong with a log beside what its hospital signed for when the run ended; None if nothing is.

    Args:
        noted: its checkpoint; None if it has none.
        exported: when it was exported for others, by the site's clock; None where the log itself was read.
    """
    if noted is None:
        return None
    if exported is not None and excerpt.checkpoint.entries < noted.entries:
        return _old_export(member, exported)
    try:
        require_grown_from(noted, excerpt, kind, Path(f"of {member}"))
    except TamperingError as error:
        return Finding(error.reason, error.message, member, error.remedy)
    return None


def of_ledger(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None) -> Finding | None:
    """The same of what a site shows of its ledger."""
    own = checkpoints.by_name.get(site.member) if checkpoints else None
    if own is None or site.ledger is None:
        return None
    return since_the_end(site.member, site.ledger, LEDGER, own.ledger, _exported(site))


def of_egress(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None) -> Finding | None:
    """The same of what a site shows of its egress log."""
    own = checkpoints.by_name.get(site.member) if checkpoints else None
    if own is None or site.egress is None:
        return None
    return since_the_end(site.member, site.egress, EGRESS, own.egress, _exported(site))


def is_old_export(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None) -> bool:
    """Whether it was exported before the run ended, so that rounds that it does not show tell nothing."""
    found = of_ledger(site, checkpoints), of_egress(site, checkpoints)
    return any(finding and finding.reason == OLD_EXPORT for finding in found)


def _exported(site: SiteEvidence) -> str | None:
    return site.made if site.scope == "charter" else None


def _old_export(member: str, exported: str) -> Finding:
    return Finding(
        OLD_EXPORT,
        f"What {member} shows was exported on {printable(exported)}, and is shorter than what it signed for when the "
        f"run ended. Ask {member} for a new export: if that is as short, an older log was put back there, or the log "
        "was cut off.",
        member,
        "Use the new export.",
    )
