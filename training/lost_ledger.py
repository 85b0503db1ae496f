"""Whether a hospital has had more entries than its ledger has: its other files show that it trained.

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
from secagg.egress import Direction, read_egress
from secagg.errors import SecaggError
from secagg.release.folder import read_release
from secagg.signed_log import LogPlace
from secagg.wire import Stage
from training.hospital_folder import HospitalFolder


def require_ledger_kept(
    folder: HospitalFolder, public_key: bytes, noted: Mapping[str, LogPlace], entries: Sequence[Entry]
) -> None:
    """Refuse a ledger that lacks what other files of the hospital show, where the latch does not tell how far it came.

    One without entries, or none, where any shows that the hospital was opened for a job. Any other, where the egress
    log has a masked vector later than all that was charged for that run.

    Args:
        public_key: the hospital's, 32 bytes.
        noted: how far the latch says that each log has come, by name.
        entries: the ledger's.

    Raises:
        TamperingError: ``ledger-restored``; ``egress-damaged``, ``egress-altered``.
    """
    if LEDGER.reason in noted:
        return
    if entries:
        _require_charged(folder, public_key, entries)
        return
    trace = next(_traces(folder, public_key), None)
    if trace:
        raise LEDGER.restored(
            folder.ledger, f"has no entries, and {trace} shows that this hospital was opened for a job before"
        )


def _require_charged(folder: HospitalFolder, public_key: bytes, entries: Sequence[Entry]) -> None:
    charged: dict[str, int] = {}
    for entry in entries:
        charged[entry.run] = max(charged.get(entry.run, 0), entry.round)
    for run, newest in _trained_in(folder, public_key).items():
        if newest > charged.get(run, 0):
            raise LEDGER.restored(
                folder.ledger,
                f"has charged no round after {charged.get(run, 0)} of the charter {run[:16]}, and {folder.egress} "
                f"shows a masked vector of round {newest}",
            )


def _trained_in(folder: HospitalFolder, public_key: bytes) -> Mapping[str, int]:
    """The newest round of each charter that the egress log shows a vector of which is surely one of training.

    What is masked before any sum was taken may be for statistics, which are summed first and which nobody pays for.
    """
    have_sums: set[str] = set()
    newest: dict[str, int] = {}
    for entry in read_egress(folder.egress, public_key) if folder.egress.exists() else ():
        if entry.direction is Direction.TOOK:
            have_sums.add(entry.charter)
        elif entry.stage == Stage.MASKED.name and entry.charter in have_sums:
            newest[entry.charter] = max(newest.get(entry.charter, 0), entry.round)
    return newest


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
