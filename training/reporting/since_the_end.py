"""Whether a hospital's log still begins as the one that it signed for when the run ended.

Knows a log's checkpoint and what is shown of the log. One that does not is no evidence of anything: whoever has the
site's key can write it anew, and say with it that the coordinator lied. An export may only be older than that, and is
called so only where nothing in it shows that it is newer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from dp.ledger.entries import LEDGER
from secagg.charter import Charter, VerifiedCharter
from secagg.egress import EGRESS, Direction, EgressEntry
from secagg.errors import TamperingError
from secagg.log_excerpt import LogCheckpoint, LogExcerpt, require_grown_from
from secagg.printable import printable
from secagg.release.checkpoints import SiteCheckpoint, VerifiedCheckpoints, is_vouched_for
from secagg.signed_log import EntryT, LogKind
from secagg.wire import Stage
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Finding

OLD_EXPORT: Final = "old-export"
OLD_COPY: Final = "old-copy"
TAKEN_LATER: Final = "taken-after-the-end"
# While a hospital runs, or once it was killed, its last entries are in another file than the log's own.
_USE_THE_NEW_COPY: Final = "Use the new copy, made with all files beside the log whose names begin like its own."


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


def taken_after_the_end(
    member: str, excerpt: LogExcerpt[EgressEntry], charter: VerifiedCharter, noted: LogCheckpoint | None
) -> Finding | None:
    """Whether a log has a sum of the run that its hospital took only after it had signed for the log; None if not.

    Who has signed has every sum. One whose state is lost after that takes those again, and no other.
    """
    if noted is None:
        return None
    run = charter.digest.hex()
    taken = [entry for entry in excerpt.entries if entry.took_sum and entry.charter == run]
    before = {(entry.round, entry.sha256) for entry in taken if entry.sequence <= noted.entries}
    later = [entry.round for entry in taken if (entry.round, entry.sha256) not in before]
    if not later:
        return None
    return Finding(
        TAKEN_LATER,
        f"By its egress log, {member} took a sum of round {later[0]} after the run had ended and it had signed for the "
        "log, in which that sum is not. No hospital takes another one then: the entry was added later, and was "
        "compared with nothing.",
        member,
        f"Ask {member} who wrote to its log after the run.",
    )


def evidence_of_log(excerpt: LogExcerpt[EgressEntry], noted: LogCheckpoint | None) -> list[EgressEntry]:
    """The entries that say something of others: all of what was sent, and what was taken before the run ended.

    A checkpoint does not cover what comes after it, so that whoever has the key can add whatever it likes. A message
    that was sent can only clear the coordinator.
    """
    return [
        entry
        for entry in excerpt.entries
        if noted is None or entry.direction is Direction.SENT or entry.sequence <= noted.entries
    ]


def own_checkpoint(member: str, checkpoints: VerifiedCheckpoints | None) -> SiteCheckpoint | None:
    """What a member has signed for of its own logs; None if it has for nothing."""
    return checkpoints.by_name.get(member) if checkpoints else None


def noted_egress(member: str, checkpoints: VerifiedCheckpoints | None) -> LogCheckpoint | None:
    """What a member has signed for of its egress log; None if it has for nothing."""
    own = own_checkpoint(member, checkpoints)
    return own.egress if own else None


def of_copy(member: str, excerpt: LogExcerpt[EgressEntry], checkpoints: VerifiedCheckpoints | None) -> Finding | None:
    """What is wrong with a file of an egress log, which may be a copy from before the run ended."""
    noted = noted_egress(member, checkpoints)
    if noted is None or excerpt.checkpoint.entries >= noted.entries:
        return since_the_end(member, excerpt, EGRESS, noted)
    return Finding(
        OLD_COPY,
        f"The copy of {member}'s egress log that was given has {excerpt.checkpoint.entries} entries, and {member} "
        f"signed for {noted.entries} when the run ended. Ask {member} for a new copy: if that is as short, an older "
        "log was put back there, or the log was cut off.",
        member,
        _USE_THE_NEW_COPY,
    )


def of_ledger(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None) -> Finding | None:
    """The same of what a site shows of its ledger."""
    own = own_checkpoint(site.member, checkpoints)
    if own is None or site.ledger is None:
        return None
    if is_old_export(site, checkpoints) and site.ledger.checkpoint.entries < own.ledger.entries:
        return _old_export(site)
    return since_the_end(site.member, site.ledger, LEDGER, own.ledger)


def of_egress(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None) -> Finding | None:
    """The same of what a site shows of its egress log."""
    if site.egress is None:
        return None
    if is_old_export(site, checkpoints):
        return _old_export(site)
    return since_the_end(site.member, site.egress, EGRESS, noted_egress(site.member, checkpoints))


def is_old_export(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None) -> bool:
    """Whether it may have been exported before the run ended, so that later rounds that it lacks tell nothing.

    So may all that was not read beside these checkpoints, whatever report it was read for: whoever has that report can
    use it once more. What a hospital attests is in its egress log, and its ledger is complete by then. So one whose
    egress log has come as far as its checkpoint is no older export, however short its ledger.
    """
    own = own_checkpoint(site.member, checkpoints)
    if checkpoints is None or own is None or site.egress is None or site.beside == checkpoints.digest:
        return False
    if site.ledger and site.ledger.checkpoint.entries >= own.ledger.entries and site.ledger.checkpoint != own.ledger:
        return False
    return site.egress.checkpoint.entries < own.egress.entries


def may_be_older(site: SiteEvidence, checkpoints: VerifiedCheckpoints | None, charter: Charter) -> bool:
    """The same of a site of whose logs no checkpoint is there: whether nothing in them shows that they are newer.

    Of an export from before the end, both logs are shown without a gap from the run's first entry to the last of all,
    and say of no finished model. A hash in the place of an entry is no word of what came later. What was read beside
    the checkpoints of the others is not from before them; a list that too few have signed may have been made earlier.
    """
    own = own_checkpoint(site.member, checkpoints)
    if own or site.ledger is None or site.egress is None:
        return False
    if checkpoints and site.beside == checkpoints.digest and is_vouched_for(checkpoints, charter):
        return False
    over = any(entry.charter == site.charter and entry.stage == Stage.ATTEST.name for entry in site.egress.entries)
    return not over and _is_shown_to_its_end(site.ledger) and _is_shown_to_its_end(site.egress)


def _is_shown_to_its_end(excerpt: LogExcerpt[Any]) -> bool:
    first = excerpt.shown[0].entry.sequence if excerpt.shown else 1
    return len(excerpt.shown) == excerpt.checkpoint.entries - first + 1


def goes_on_after(member: str, exported: SiteEvidence | None) -> Finding:
    """What is shown of a member's logs lacks the last that others show of it.

    Args:
        exported: what it was shown in; None of a copy of its egress log.
    """
    if exported:
        what, again = f"What {member} shows was read from its logs on {printable(exported.made)}, and", "export"
        reason, remedy = OLD_EXPORT, "Use the new export."
    else:
        what, again = f"The copy of {member}'s egress log that was given", "copy"
        reason, remedy = OLD_COPY, _USE_THE_NEW_COPY
    return Finding(
        reason,
        f"{what} lacks the last that the transcript or the release has of {member}: that came later, or was left out. "
        f"Ask {member} for a new {again}: if that lacks it too, it was left out, or an older log was put back there.",
        member,
        remedy,
    )


def _old_export(site: SiteEvidence) -> Finding:
    member = site.member
    return Finding(
        OLD_EXPORT,
        f"What {member} shows was read from its logs on {printable(site.made)}, and is shorter than what it signed for "
        f"when the run ended. Ask {member} for a new export: if that is as short, an older log was put back there, or "
        "the log was cut off.",
        member,
        "Use the new export.",
    )
