"""A hospital's egress log as others are given it: the log itself, or what the hospital has exported of it.

Knows both files, and whose key each must be signed with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.egress import EGRESS, EgressEntry
from secagg.errors import InputError, TamperingError
from secagg.files import unreadable
from secagg.log_excerpt import LogExcerpt, take_excerpt
from secagg.signed_log import read_signed, signer_of
from training.reporting.evidence import SiteEvidence, read_evidence

_JSON: Final = b"{"


@dataclass(frozen=True)
class ShownLog:
    """What is shown of a member's egress log, verified.

    Attributes:
        exported: what it was exported in; None where it is the log itself.
    """

    member: str
    excerpt: LogExcerpt[EgressEntry]
    exported: SiteEvidence | None


def read_shown_log(path: Path, member: str, charter: VerifiedCharter) -> ShownLog:
    """Read and verify what a member shows.

    Raises:
        InputError: ``unknown-member``, ``unreadable``, ``log-of-another``, ``not-evidence``, ``file-too-large``.
        TamperingError: ``egress-damaged``, ``egress-altered``; what is wrong with an exported file.
    """
    key = charter.charter.member(charter.charter.number_of(member)).public_key
    if _begins_with(path, len(_JSON)) == _JSON:
        evidence = read_evidence(path, charter).evidence
        _require_own(path, member, evidence.member)
        return ShownLog(member, shown_egress(evidence), evidence)
    names = {other.public_key: other.name for other in charter.charter.members}
    signer = signer_of(path, names, EGRESS)
    _require_own(path, member, names[signer] if signer else member)
    return ShownLog(member, take_excerpt(read_signed(path, key, EGRESS), lambda _entry: True), None)


def shown_egress(evidence: SiteEvidence) -> LogExcerpt[EgressEntry]:
    """What a site has exported of its egress log.

    Raises:
        TamperingError: ``egress-damaged``, where it could export nothing of it.
    """
    if evidence.egress is None:
        raise TamperingError(
            "egress-damaged",
            f"{evidence.member} could not show its egress log: it had been tampered with.",
            culprit=evidence.member,
            remedy="Ask its privacy officer what was found.",
        )
    return evidence.egress


def _require_own(path: Path, member: str, owner: str) -> None:
    if owner != member:
        raise InputError(
            "log-of-another",
            f"{path} is the log of {owner}, and was given as that of {member}.",
            culprit=str(path),
            remedy="Give each log with the name of its own hospital.",
        )


def _begins_with(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise unreadable(path, error) from error
