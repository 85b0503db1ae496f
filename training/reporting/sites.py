"""Whose records a report is about: one hospital's own folder, or what several show.

Knows paths. Of one folder alone its officer is told everything; of several, each shows what it would show the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp.ledger.entries import LEDGER
from secagg.charter import VerifiedCharter
from secagg.errors import InputError
from secagg.identity import Identity
from training.hospital_folder import HospitalFolder
from training.hospital_logs import require_hospital
from training.reporting.evidence import SignedEvidence, gather_for_report, gather_site, read_evidence


def read_sites(
    places: Sequence[Path], charter: VerifiedCharter, passphrase: bytes | None = None
) -> tuple[SignedEvidence, ...]:
    """Read and verify what is in ``places``: folders of hospitals, or files that they have exported.

    Args:
        passphrase: of the identities in the folders.

    Raises:
        InputError: ``duplicate-site``; if a place cannot be read.
        TamperingError: if an exported file was altered. What is wrong in a folder is among its problems.
    """
    if len(places) == 1 and not places[0].is_file():
        folder = HospitalFolder(places[0])
        require_hospital(folder, folder.ledger, LEDGER)
        return (gather_site(folder, charter, Identity.load(folder.identity, passphrase)),)
    sites = tuple(_shown(place, charter, passphrase) for place in places)
    names = [site.evidence.member for site in sites]
    if len(set(names)) != len(names):
        twice = max(names, key=names.count)
        raise InputError(
            "duplicate-site",
            f"Two of the places are of {twice}.",
            culprit=twice,
            remedy="Give each hospital once.",
        )
    return sites


def _shown(place: Path, charter: VerifiedCharter, passphrase: bytes | None) -> SignedEvidence:
    if place.is_file():
        return read_evidence(place, charter)
    folder = HospitalFolder(place)
    require_hospital(folder, folder.ledger, LEDGER)
    return gather_for_report(folder, charter, Identity.load(folder.identity, passphrase))
