"""A coordinator's transcript as a whole: each epoch's file run again, and what does not fit between the files.

Knows a folder. How an epoch is judged is `secagg.transcript.audit`'s business, how rounds are counted across epochs
`secagg.transcript.numbering`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.charter import VerifiedCharter
from secagg.charter.state_size import largest_snapshot
from secagg.errors import InputError
from secagg.masking import Purpose, Session
from secagg.masking.limits import payload_limit
from secagg.masking.noise import NoiseExpansion, refuse_noise
from secagg.transcript.audit import OTHER_CHARTER, EpochAudit, Finding, audit_epoch
from secagg.transcript.files import AROUND, epoch_of, read_events, stray_files, transcript_files
from secagg.transcript.numbering import check_numbering
from secagg.wire import Stage

# Attestations and events' own framing.
_LARGEST_AROUND: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class TranscriptAudit:
    """What a whole transcript shows, epoch by epoch, and what does not fit between its files."""

    epochs: tuple[EpochAudit, ...]
    misfits: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that does not fit."""
        return (*(finding for audit in self.epochs for finding in audit.findings), *self.misfits)


def audit_folder(
    folder: Path, charter: VerifiedCharter, noise: NoiseExpansion = refuse_noise, heard: Collection[int] = ()
) -> TranscriptAudit:
    """Run every epoch of a transcript again.

    What cannot be read is a finding; what comes before it in a file is judged still, and so are the others.

    Args:
        noise: draws noise as hospitals do, for charters under which some is removed.
        heard: members whose logs it is to be compared with: of the messages of all others nothing is kept in mind.

    Raises:
        InputError: ``no-transcript``, ``unreadable``; ``other-charter``, if no epoch is of this one.
        LocalProtocolError: ``no-noise-expansion``, where ``noise`` is needed and not given; ``worker-lost``.
    """
    audits, misfits = [], [_stray(path) for path in stray_files(folder)]
    for path in transcript_files(folder):
        number = epoch_of(path)
        audit = audit_epoch(read_events(path, _largest_event(charter)), charter, noise, heard)
        audits.append(audit)
        if audit.damaged and audit.epoch == AROUND:
            # What it holds is not known, but which it is.
            audit.epoch = number
        if audit.epoch != number:
            what = f"{path.name} holds epoch {audit.epoch}."
            misfits.append(Finding(number, 0, "out-of-order", what))
    _require_any_of(charter, audits)
    return TranscriptAudit(tuple(audits), (*misfits, *check_numbering(audits, charter)))


def _require_any_of(charter: VerifiedCharter, audits: Iterable[EpochAudit]) -> None:
    """Where some are, the others are findings: a coordinator may have put them there so that nothing is judged."""
    # Of one that was only opened nobody knows whose it is.
    epochs = [audit for audit in audits if audit.epoch != AROUND and (audit.messages or audit.findings)]
    if epochs and all(audit.is_of_another_charter for audit in epochs):
        raise InputError(
            OTHER_CHARTER,
            "The transcript is that of another charter.",
            culprit=charter.charter.name,
            remedy="Give the charter under which the run was.",
        )


def _stray(path: Path) -> Finding:
    what = f"{path.name!r} lies beside the transcript but is not one of its files: it was not looked at."
    return Finding(0, 0, "stray-transcript", what)


def _largest_event(charter: VerifiedCharter) -> int:
    sessions = [Session(charter, 1, purpose, 1, charter.charter.epoch_rounds) for purpose in Purpose]
    within = max(payload_limit(session, stage) for session in sessions for stage in Stage)
    return _LARGEST_AROUND + max(within, largest_snapshot(charter.charter))
