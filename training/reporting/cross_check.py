"""A transcript run again, and held against the release and against hospitals' own logs, as far as they are given.

Knows what each of them vouches for. What is found is told apart by what does not fit what: a transcript that fits
together may fit neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.release.checkpoints import CHECKPOINTS_FILE, VerifiedCheckpoints, signed_transcript
from secagg.release.folder import STATEMENT_FILE
from secagg.transcript import Finding as Misfit
from secagg.transcript import HospitalRecord, TranscriptAudit, audit_folder, compare_all, forged_sums, lacks_the_end
from secagg.transcript.refusals import FORGED_SUM
from training.noise import noise_expansion
from training.reporting.attested import Attested, read_attested
from training.reporting.findings import Finding
from training.reporting.misstated import misstated
from training.reporting.own_word import said_by
from training.reporting.rounds import (
    RefusalFacts,
    TranscriptFacts,
    altered_files,
    compared_sums,
    facts_of,
    file_bytes,
)
from training.reporting.shown_log import ShownLog
from training.reporting.since_the_end import (
    evidence_of_log,
    goes_on_after,
    noted_egress,
    of_copy,
    of_egress,
    taken_after_the_end,
)


@dataclass(frozen=True)
class CrossCheck:
    """What was found.

    Attributes:
        audit: of the transcript by itself.
        unvouched: that the release does not vouch for the transcript.
        not_as_signed: what is wrong with the release itself.
        beside_release: where the transcript is not what the hospitals signed for, or the statement says otherwise.
        rewritten: logs that are not what their hospitals signed for, and sums that were added to one later; they were
            compared with nothing.
        older: logs that lack the last of their hospitals' messages in the transcript.
        forged: hospitals that signed that they were given a forged sum, in the transcript or with what they exported.
        own_problems: what else hospitals signed as wrong with the records that they exported.
        beside_logs: where the transcript and the logs, or the logs of two hospitals, do not fit.
        unnoted: members whose logs the release has no checkpoint of.
        unstated: whether a release was given that has no statement, to compare sums and contributors with.
        compared: the rounds whose sums are in the logs too, by the name of each member whose log shows one.
        refusals: what hospitals refused.
        signed_bytes: how many of ``file_bytes``, those of the transcript's files, enough hospitals have signed for.
    """

    audit: TranscriptAudit
    unvouched: tuple[Finding, ...]
    not_as_signed: tuple[Finding, ...]
    beside_release: tuple[Finding, ...]
    rewritten: tuple[Finding, ...]
    older: tuple[Finding, ...]
    forged: tuple[Misfit | Finding, ...]
    own_problems: tuple[Finding, ...]
    beside_logs: tuple[Misfit, ...]
    unnoted: tuple[str, ...]
    unstated: bool
    compared: Mapping[str, frozenset[int]]
    refusals: tuple[RefusalFacts, ...]
    signed_bytes: int
    file_bytes: int

    @property
    def findings(self) -> tuple[Misfit | Finding, ...]:
        """All of it."""
        of_release = (*self.unvouched, *self.not_as_signed, *self.beside_release)
        of_logs = (*self.rewritten, *self.older)
        own_words = (*self.forged, *self.own_problems)
        return (*of_release, *self.audit.findings, *own_words, *of_logs, *self.beside_logs)


def cross_check(folder: Path, charter: VerifiedCharter, release: Path | None, logs: Sequence[ShownLog]) -> CrossCheck:
    """Run a transcript again, and hold it against all that is given.

    Args:
        logs: one of each member at most.

    Raises:
        InputError: what cannot be read, or belongs to another charter.
        TamperingError: ``other-charter``, of the release.
    """
    attested = read_attested(release, charter) if release else None
    checkpoints = attested.checkpoints if attested else None
    noted = signed_transcript(checkpoints, charter.charter)
    ends = {log.member: noted_egress(log.member, checkpoints) for log in logs}
    wrong = {log.member: found for log in logs if (found := _since_the_end(log, checkpoints))}
    standing = [log for log in logs if log.member not in wrong]
    records = [
        HospitalRecord.read(log.member, charter, evidence_of_log(log.excerpt, ends[log.member])) for log in standing
    ]
    added = [
        found for log in standing if (found := taken_after_the_end(log.member, log.excerpt, charter, ends[log.member]))
    ]
    heard = {record.number for record in records}
    audit = audit_folder(folder, charter, noise_expansion(charter.charter), heard)
    older = [
        goes_on_after(log.member, log.exported)
        for log, record in zip(standing, records, strict=True)
        if lacks_the_end(audit.epochs, record)
    ]
    facts = facts_of(audit, charter)
    problems = [problem for log in logs if log.exported for problem in said_by(log.exported)]
    return CrossCheck(
        audit,
        unvouched=_not_vouched_for(attested) if attested and not noted else (),
        not_as_signed=attested.problems if attested else (),
        beside_release=(*altered_files(folder, noted), *_beside(attested, facts)),
        rewritten=(*wrong.values(), *added),
        older=tuple(older),
        forged=(*forged_sums(audit.epochs), *(problem for problem in problems if problem.reason == FORGED_SUM)),
        own_problems=tuple(problem for problem in problems if problem.reason != FORGED_SUM),
        beside_logs=tuple(compare_all(audit.epochs, records)),
        unnoted=tuple(log.member for log in logs if attested and not ends[log.member]),
        compared=compared_sums(facts, records),
        unstated=bool(attested and STATEMENT_FILE in attested.lacking),
        refusals=facts.refusals,
        signed_bytes=sum(checkpoint.bytes for checkpoint in noted),
        file_bytes=file_bytes(folder),
    )


def _since_the_end(log: ShownLog, checkpoints: VerifiedCheckpoints | None) -> Finding | None:
    if log.exported:
        return of_egress(log.exported, checkpoints)
    return of_copy(log.member, log.excerpt, checkpoints)


def _beside(attested: Attested | None, shown: TranscriptFacts) -> list[Finding]:
    """What the statement says otherwise than the transcript shows it."""
    return misstated(attested.release, shown) if attested and attested.release else []


def _not_vouched_for(attested: Attested) -> tuple[Finding, ...]:
    """Where checkpoints were tampered with, that is a problem of its own."""
    checkpoints = attested.checkpoints
    if CHECKPOINTS_FILE in attested.lacking:
        what = f"The release does not vouch for the transcript: it has no {CHECKPOINTS_FILE}."
        return (Finding("transcript-not-vouched-for", what, None, None),)
    if checkpoints is None:
        return ()
    signed = len(checkpoints.cosigned_by)
    what = f"The release does not vouch for the transcript: {signed} hospitals have signed for one, which are too few."
    if not checkpoints.transcript:
        what = "The release does not vouch for the transcript: what the hospitals have signed names no file of it."
    return (Finding("transcript-not-vouched-for", what, None, None),)
