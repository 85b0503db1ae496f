"""Who took part in each round, who was missing, and who refused: from a coordinator's transcript, run again.

Knows transcripts. What the coordinator says beyond the messages that it kept counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from secagg.charter import VerifiedCharter
from secagg.errors import TamperingError
from secagg.masking import Purpose
from secagg.printable import printable
from secagg.transcript import (
    AROUND,
    HospitalRecord,
    TranscriptAudit,
    audit_folder,
    compare_all,
    forged_sums,
    lacks_the_end,
    transcript_files,
)
from secagg.transcript import Finding as Misfit
from secagg.transcript.audit import RoundAudit
from secagg.transcript.files import FileCheckpoint, epoch_of, require_grown_from
from training.noise import noise_expansion
from training.reporting.findings import Finding


class RoundFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One round.

    Attributes:
        step: which sum it was to give.
        took_part: whose updates are in the sum, by name; empty if there was none.
        missing: all others.
        sum_sha256: of the message with the sum, as recomputed; None without one.
    """

    epoch: int
    round: int
    purpose: Purpose
    step: int
    took_part: tuple[str, ...]
    missing: tuple[str, ...]
    sum_sha256: str | None


class RefusalFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hospital that refused something, and what it said."""

    round: int
    member: str
    reason: str
    message: str


class TranscriptFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a whole transcript shows.

    Attributes:
        messages, bytes: of hospitals.
        refused: recorded messages that the protocol does not allow, and the coordinator did not take.
        unfinished: epochs that end in the middle.
        compared_with: whose own logs show a sum that is in it too.
        findings: what does not fit.
        broken_off: epochs that were checked only up to where they are damaged or do not fit.
        around_damaged: whether what was exchanged around the epochs cannot be read to its end.
        unread_rounds: how many rounds those that are broken off may have beyond.
        compared_sums: how many of its sums those logs show.
        goes_on_after: whose logs lack the last of their own messages in it.
        file_bytes: of its files, all together. Earlier reports have none of the last six.
    """

    rounds: tuple[RoundFacts, ...]
    refusals: tuple[RefusalFacts, ...]
    messages: int
    bytes: int
    refused: int
    unfinished: tuple[int, ...]
    compared_with: tuple[str, ...]
    findings: tuple[Finding, ...]
    broken_off: tuple[int, ...] = ()
    around_damaged: bool = False
    compared_sums: int = 0
    unread_rounds: int = 0
    goes_on_after: tuple[str, ...] = ()
    file_bytes: int = 0

    @property
    def cut(self) -> bool:
        """Whether some of it was not checked."""
        return bool(self.broken_off) or self.around_damaged


def read_transcript(
    folder: Path, charter: VerifiedCharter, records: Sequence[HospitalRecord], noted: Iterable[FileCheckpoint]
) -> TranscriptFacts:
    """Run every epoch again, and hold it against the logs of the hospitals that show theirs.

    Args:
        records: what those logs say.
        noted: how far its files had come when the hospitals signed for them.

    Raises:
        InputError: ``no-transcript``, ``unreadable``, ``other-charter``.
    """
    heard = {record.number for record in records}
    audit = audit_folder(folder, charter, noise_expansion(charter.charter), heard)
    alone = facts_of(audit, charter)
    beside = _findings([*forged_sums(audit.epochs), *compare_all(audit.epochs, records)])
    compared = compared_sums(alone, records)
    return replace(
        alone,
        compared_with=tuple(compared),
        compared_sums=len(frozenset[int]().union(*compared.values())),
        findings=(*altered_files(folder, noted), *alone.findings, *beside),
        goes_on_after=tuple(record.name for record in records if lacks_the_end(audit.epochs, record)),
        file_bytes=file_bytes(folder),
    )


def facts_of(audit: TranscriptAudit, charter: VerifiedCharter) -> TranscriptFacts:
    """What a transcript shows by itself."""
    epochs = audit.epochs
    return TranscriptFacts(
        rounds=_rounds(audit, charter),
        refusals=tuple(
            RefusalFacts(told.round, told.member, printable(told.reason), printable(told.message))
            for epoch in epochs
            for told in epoch.refusals
        ),
        messages=sum(epoch.messages for epoch in epochs),
        bytes=sum(epoch.bytes for epoch in epochs),
        refused=sum(epoch.refused for epoch in epochs),
        unfinished=tuple(epoch.epoch for epoch in epochs if epoch.unfinished),
        compared_with=(),
        findings=_findings(audit.findings),
        broken_off=tuple(epoch.epoch for epoch in epochs if epoch.broken_off and epoch.epoch != AROUND),
        unread_rounds=sum(epoch.unread_rounds(charter.charter) for epoch in epochs if epoch.epoch != AROUND),
        around_damaged=any(epoch.damaged for epoch in epochs if epoch.epoch == AROUND),
    )


def compared_sums(transcript: TranscriptFacts, records: Iterable[HospitalRecord]) -> dict[str, frozenset[int]]:
    """Of which sums of a transcript, by round, hospitals' logs show that they took one; only of those that show any."""
    summed = {found.round for found in transcript.rounds if found.sum_sha256}
    return {record.name: shown for record in records if (shown := _rounds_taken(record) & summed)}


def _rounds_taken(record: HospitalRecord) -> frozenset[int]:
    """The rounds that a hospital's log shows that it took a sum of."""
    return frozenset(entry.round for entry in record.taken if entry.took_sum)


def alike(refusals: Iterable[RefusalFacts]) -> list[list[RefusalFacts]]:
    """Refusals by hospital and reason: one that has stopped refuses all that it is sent."""
    found: dict[tuple[str, str], list[RefusalFacts]] = {}
    for refusal in refusals:
        found.setdefault((refusal.member, refusal.reason), []).append(refusal)
    return list(found.values())


def _findings(odd: Iterable[Misfit]) -> tuple[Finding, ...]:
    remedy = "Compare it with the hospitals' own logs."
    return tuple(Finding(found.reason, found.message, f"epoch {found.epoch}", remedy) for found in odd)


def file_bytes(folder: Path) -> int:
    """How many bytes the files of a transcript have, all together."""
    return sum(path.stat().st_size for path in transcript_files(folder))


def altered_files(folder: Path, noted: Iterable[FileCheckpoint]) -> list[Finding]:
    """Which files of a transcript are not what the hospitals signed for, or were kept from them in part.

    Every epoch is over when they sign. Only what is exchanged around epochs goes on.

    Args:
        noted: what they signed for; empty where nothing is known of it.
    """
    findings, sizes = [], {}
    for checkpoint in noted:
        sizes[checkpoint.name] = checkpoint.bytes
        try:
            require_grown_from(checkpoint, folder)
        except TamperingError as error:
            findings.append(Finding.of(error))
    return [*findings, *_not_signed_for(folder, sizes)] if sizes else findings


def _not_signed_for(folder: Path, sizes: Mapping[str, int]) -> Iterator[Finding]:
    for path in transcript_files(folder):
        there, signed = path.stat().st_size, sizes.get(path.name)
        if signed is None:
            yield _kept_back(path, "is not among the files that hospitals signed for at the end of the run: it was")
        elif signed < there and epoch_of(path) != AROUND:
            first = f"the first {signed:,} of its {there:,} bytes"
            yield _kept_back(path, f"goes on: at the end of the run hospitals signed for {first}, and the rest was")


def _kept_back(path: Path, what: str) -> Finding:
    return Finding(
        "transcript-not-signed-for",
        f"{path.name} {what} kept from them, or came later.",
        path.name,
        "Ask the coordinator how that came about, and compare the file with the hospitals' own logs.",
    )


def _rounds(audit: TranscriptAudit, charter: VerifiedCharter) -> tuple[RoundFacts, ...]:
    names = [member.name for member in charter.charter.members]
    return tuple(_round(epoch.epoch, found, names) for epoch in audit.epochs for found in epoch.rounds)


def _round(epoch: int, found: RoundAudit, names: Sequence[str]) -> RoundFacts:
    survivors = frozenset(found.survivors)
    missing = tuple(name for name in names if name not in survivors)
    return RoundFacts(epoch, found.round, found.purpose, found.step, found.survivors, missing, found.payload_sha256)
