"""Whose records a report is about: one hospital's own folder, or what several show.

Knows paths. Of one folder alone its officer is told everything; of several, each shows what it would show the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp.ledger.entries import LEDGER
from secagg.charter import VerifiedCharter
from secagg.errors import TamperingError
from secagg.identity import Identity
from secagg.release.checkpoints import VerifiedCheckpoints, holds_checkpoints, read_checkpoints
from training.hospital_folder import HospitalFolder
from training.hospital_logs import require_hospital
from training.reporting.evidence import (
    SignedEvidence,
    gather_for_others,
    gather_site,
    read_evidence,
    require_for_others,
)


def read_sites(
    places: Sequence[Path], charter: VerifiedCharter, release: Path | None, passphrase: bytes | None = None
) -> tuple[SignedEvidence, ...]:
    """Read and verify what is in ``places``: folders of hospitals, or files that they have exported.

    Args:
        release: folder of the release that they are reported beside, if there is one.
        passphrase: of the identities in the folders.

    Raises:
        InputError: ``duplicate-site``, ``own-copy``; if a place cannot be read.
        TamperingError: if an exported file was altered. What is wrong in a folder is among its problems.
    """
    # Before the logs: a run may end while these are read.
    checkpoints = _checkpoints(release, charter)
    if len(places) == 1 and not places[0].is_file():
        folder = HospitalFolder(places[0])
        require_hospital(folder, folder.ledger, LEDGER)
        return (gather_site(folder, charter, Identity.load(folder.identity, passphrase), checkpoints),)
    sites = tuple(_shown(place, charter, checkpoints, passphrase) for place in places)
    require_for_others(sites)
    return sites


def _checkpoints(release: Path | None, charter: VerifiedCharter) -> VerifiedCheckpoints | None:
    if release is None or not holds_checkpoints(release):
        return None
    try:
        return read_checkpoints(release, charter)
    except TamperingError:
        # Told by whoever reads the release.
        return None


def _shown(
    place: Path, charter: VerifiedCharter, checkpoints: VerifiedCheckpoints | None, passphrase: bytes | None
) -> SignedEvidence:
    if place.is_file():
        return read_evidence(place, charter)
    folder = HospitalFolder(place)
    require_hospital(folder, folder.ledger, LEDGER)
    return gather_for_others(folder, charter, Identity.load(folder.identity, passphrase), checkpoints)
