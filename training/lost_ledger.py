"""Whether a hospital whose ledger has no entries has had others: its other files show that it trained.

A hospital's latch notes its ledger before anything is trained, and from then on tells by itself. Where the latch is
gone too, as in a folder that was restored from a backup, what is left in the folder has to tell. Knows which files an
open hospital leaves; whoever removes them all leaves nothing to tell by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dp.ledger import Entry
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER
from secagg.charter.folder import read_verified
from secagg.egress import read_egress
from secagg.errors import SecaggError
from secagg.release.folder import read_release
from secagg.signed_log import LogPlace
from training.hospital_folder import HospitalFolder


def require_ledger_kept(
    folder: HospitalFolder, public_key: bytes, noted: Mapping[str, LogPlace], entries: Sequence[Entry]
) -> None:
    """Refuse a ledger without entries, or none, where other files of the hospital show that it was opened for a job.

    Args:
        public_key: the hospital's, 32 bytes.
        noted: how far the latch says that each log has come, by name.
        entries: the ledger's.

    Raises:
        TamperingError: ``ledger-restored``; ``egress-damaged``, ``egress-altered``.
    """
    if entries or LEDGER.reason in noted:
        return
    trace = next(_traces(folder, public_key), None)
    if trace:
        raise LEDGER.restored(
            folder.ledger, f"has no entries, and {trace} shows that this hospital was opened for a job before"
        )


def _traces(folder: HospitalFolder, public_key: bytes) -> Iterator[Path]:
    """The files that only a hospital leaves whose latch has noted its ledger."""
    yield from sorted(patients_folder(folder.ledger).glob("*.bin"))
    yield from folder.left_by_runs()
    yield from (release for release in folder.releases() if _contributed(release, public_key))
    if folder.egress.exists() and read_egress(folder.egress, public_key):
        yield folder.egress


def _contributed(release: Path, public_key: bytes) -> bool:
    """Whether the hospital is in the sums of a release; one that was always away may have been given a copy."""
    try:
        members = read_verified(release).charter.members
        _, statement = read_release(release)
    except SecaggError:
        # Damaged, it shows nothing.
        return False
    names = {contributor.name for contributor in statement.predicate.contributors}
    return any(member.public_key == public_key and member.name in names for member in members)
