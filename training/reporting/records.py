"""All that a report rests on: what sites show, the release's statement and checkpoints, the transcript run again.

Knows how records are gathered from folders and files, each verified as it is read. What was tampered with is kept as a
problem, so that the report can name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from secagg.charter import VerifiedCharter
from secagg.errors import TamperingError
from secagg.files import read_bounded
from secagg.release import read_envelope, verify_release
from secagg.release.checkpoints import (
    CHECKPOINTS_FILE,
    holds_checkpoints,
    read_checkpoints,
    signed_transcript,
    verify_checkpoints,
)
from secagg.release.dsse import LARGEST_STATEMENT
from secagg.release.folder import STATEMENT_FILE
from secagg.transcript import HospitalRecord
from training.auditing.record import PrivacyRecord, read_record
from training.clock import write_time
from training.reporting.evidence import SignedEvidence
from training.reporting.findings import Finding
from training.reporting.rounds import TranscriptFacts, read_transcript
from training.reporting.since_the_end import evidence_of_log, noted_egress, of_egress
from training.reporting.versions import Versions, versions

Read = TypeVar("Read")


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a report is computed from, and from nothing else but the charter.

    Attributes:
        statement, checkpoints: the files of the release, as they are there; None where none was given, or it was
            tampered with.
        transcript: as it was run again; who has it can run it once more.
        audit: of privacy, as somebody made it.
        problems: what was found altered while the release was read.
        made, versions: when and with what software.
    """

    sites: tuple[SignedEvidence, ...]
    statement: bytes | None
    checkpoints: bytes | None
    transcript: TranscriptFacts | None
    audit: PrivacyRecord | None
    problems: tuple[Finding, ...]
    made: str
    versions: Versions


@dataclass(frozen=True)
class Sources:
    """Where the records are that everybody may have; None: not given."""

    release: Path | None = None
    transcript: Path | None = None
    audit: Path | None = None


def gather_records(charter: VerifiedCharter, sites: tuple[SignedEvidence, ...], sources: Sources) -> Records:
    """Read and verify all that is given.

    Args:
        sites: verified.

    Raises:
        InputError: where something that is given cannot be read, or is no such thing.
    """
    problems: list[Finding] = []
    statement = _read(sources.release, problems, lambda folder: _statement(folder, charter))
    checkpoints = _read(sources.release, problems, lambda folder: _checkpoints(folder, charter))
    return Records(
        sites=sites,
        statement=statement,
        checkpoints=checkpoints,
        transcript=run_again(sources.transcript, charter, sites, checkpoints) if sources.transcript else None,
        audit=read_record(sources.audit) if sources.audit else None,
        problems=tuple(problems),
        made=write_time(),
        versions=versions(),
    )


def run_again(
    folder: Path, charter: VerifiedCharter, sites: Iterable[SignedEvidence], checkpoints: bytes | None
) -> TranscriptFacts:
    """Run a transcript again, and hold it against what sites show and what hospitals have signed for.

    A log that is not what its own hospital signed for says nothing of the transcript, nor does a sum in it from after
    the end.

    Raises:
        InputError: ``no-transcript``, ``unreadable``, ``other-charter``.
        TamperingError: if the checkpoints are not what was signed.
    """
    found = verify_checkpoints(read_envelope(checkpoints), charter) if checkpoints else None
    noted = signed_transcript(found, charter.charter)
    standing = [site.evidence for site in sites if of_egress(site.evidence, found) is None]
    records = [
        HospitalRecord.read(site.member, charter, evidence_of_log(site.egress, noted_egress(site.member, found)))
        for site in standing
        if site.egress
    ]
    return read_transcript(folder, charter, records, noted)


def _read(folder: Path | None, problems: list[Finding], read: Callable[[Path], Read | None]) -> Read | None:
    if folder is None:
        return None
    try:
        return read(folder)
    except TamperingError as error:
        problems.append(Finding.of(error).without(folder))
        return None


def _verify_release(folder: Path, charter: VerifiedCharter) -> None:
    """Verify a release, with the model and the charter beside it.

    Raises:
        InputError: what cannot be read of it.
        TamperingError: ``other-charter``; what is wrong with it.
    """
    found = verify_release(folder)
    if found.charter.digest != charter.digest:
        raise TamperingError(
            "other-charter",
            f"The release that was given is that of the charter {found.charter.digest.hex()[:16]}.",
            culprit="the release",
            remedy="Give the release of the run that the charter is of.",
        )


def _statement(folder: Path, charter: VerifiedCharter) -> bytes:
    _verify_release(folder, charter)
    return read_bounded(folder / STATEMENT_FILE, 2 * LARGEST_STATEMENT)


def _checkpoints(folder: Path, charter: VerifiedCharter) -> bytes | None:
    if not holds_checkpoints(folder):
        return None
    read_checkpoints(folder, charter)
    return read_bounded(folder / CHECKPOINTS_FILE, 2 * LARGEST_STATEMENT)
