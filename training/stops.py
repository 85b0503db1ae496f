"""Whether a hospital has stopped for good under a charter, as its folder says, for whoever starts it again.

Knows where a stop is kept. Knows nothing of how it comes about.
"""

from __future__ import annotations

from pathlib import Path

from secagg.latch import read_is_stopped
from secagg.masking.verification import ForgedSumError
from training.hospital_folder import HospitalFolder


def has_stopped(folder: HospitalFolder, charter: bytes) -> bool:
    """Whether a hospital was given a forged sum under ``charter``; the latch may be another process's.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``latch-damaged``.
    """
    # Either is enough: on a full disk one of both may not have found room.
    return folder.evidence(charter).exists() or read_is_stopped(folder.latch, charter)


def require_not_stopped(folder: HospitalFolder, charter: bytes) -> None:
    """Refuse a hospital that has stopped.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``forged-sum``, ``latch-damaged``.
    """
    if has_stopped(folder, charter):
        raise stopped_before(folder.evidence(charter))


def stopped_before(evidence: Path) -> ForgedSumError:
    """Why a hospital does not start again that has stopped."""
    return ForgedSumError(
        "forged-sum",
        f"This hospital was given a forged sum under this charter, kept as {evidence}, and does not go on.",
        culprit="the coordinator",
        remedy="Compare it with the other hospitals, and agree on a new charter.",
    )
