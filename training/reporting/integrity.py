"""Whether the records are whole and fit one another: each check, what it found, and what there was nothing to check by.

Knows what each record vouches for. A log is held against the checkpoints that enough hospitals have signed; the release
against the transcript; the transcript against the logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from dp.ledger.entries import LEDGER
from dp.stated import is_covered, no_less, no_more
from secagg.charter import Charter, VerifiedCharter
from secagg.egress import EGRESS
from secagg.log_excerpt import LogCheckpoint, LogExcerpt
from secagg.release import Release
from secagg.release.checkpoints import VerifiedCheckpoints, is_vouched_for, signed_transcript
from secagg.signed_log import LogKind
from training.auditing.record import PrivacyRecord, cannot_refute
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Finding
from training.reporting.guarantee import Guarantee
from training.reporting.misstated import misstated
from training.reporting.own_word import problems_of
from training.reporting.records import Records
from training.reporting.rounds import TranscriptFacts
from training.reporting.since_the_end import goes_on_after, of_egress, of_ledger, own_checkpoint, taken_after_the_end


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that was looked at.

    Attributes:
        state: ``whole``; ``wrong``: a finding says why; ``absent``: there was nothing to check, or to check it by.
    """

    what: str
    state: Literal["whole", "wrong", "absent"]
    detail: str


@dataclass
class Integrity:
    """What all checks together found."""

    checks: list[Check] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def found(self, what: str, detail: str, wrong: Iterable[Finding] = ()) -> None:
        """Note a check that was made."""
        findings = list(wrong)
        self.findings += [finding for finding in findings if finding not in self.findings]
        if findings:
            self.checks.append(Check(what, "wrong", " ".join(finding.message for finding in findings)))
        else:
            self.checks.append(Check(what, "whole", detail))

    def absent(self, what: str, detail: str) -> None:
        """Note a check that could not be made."""
        self.checks.append(Check(what, "absent", detail))


@dataclass(frozen=True)
class _Noted:
    """A log's checkpoint, how many hospitals beside its own have signed for it, and what is wrong beside it."""

    place: LogCheckpoint
    others: int
    enough: bool
    wrong: Finding | None


def check_site(
    site: SiteEvidence, charter: VerifiedCharter, checkpoints: VerifiedCheckpoints | None, integrity: Integrity
) -> None:
    """Whether a site's logs are whole, and go on from what they were when the run ended."""
    own = own_checkpoint(site.member, checkpoints)
    others = len(set(checkpoints.cosigned_by) - {site.member}) if checkpoints else 0
    enough = others > charter.charter.max_colluding
    egress_wrong = of_egress(site, checkpoints)
    if site.egress and own and egress_wrong is None:
        egress_wrong = taken_after_the_end(site.member, site.egress, charter, own.egress)
    ledger = _Noted(own.ledger, others, enough, of_ledger(site, checkpoints)) if own else None
    egress = _Noted(own.egress, others, enough, egress_wrong) if own else None
    problems = problems_of(site)
    with_ledger, with_egress = _with(LEDGER, problems), _with(EGRESS, problems)
    _check_log(site.member, site.ledger, LEDGER, ledger, with_ledger, integrity)
    _check_log(site.member, site.egress, EGRESS, egress, with_egress, integrity)
    for problem in problems:
        if problem not in (*with_ledger, *with_egress):
            integrity.found(f"{site.member}: {problem.reason}", "", [problem])


def check_goes_on(site: SiteEvidence, transcript: TranscriptFacts | None, integrity: Integrity) -> None:
    """Whether a site's egress log has the last of its messages in the transcript; nothing is noted where it has."""
    if transcript and site.member in transcript.goes_on_after:
        what = f"{site.member}: egress log, compared with the transcript"
        integrity.found(what, "", [goes_on_after(site.member, site)])


def _with(kind: LogKind[Any], problems: Sequence[Finding]) -> list[Finding]:
    return [problem for problem in problems if problem.reason.startswith(f"{kind.reason}-")]


def _check_log(
    member: str,
    excerpt: LogExcerpt[Any] | None,
    kind: LogKind[Any],
    noted: _Noted | None,
    problems: Sequence[Finding],
    integrity: Integrity,
) -> None:
    what = f"{member}: {kind.name}"
    if excerpt is None:
        integrity.found(what, "", problems or [_not_shown(member, kind)])
        return
    told = f"{excerpt.checkpoint.entries} entries, chained and signed"
    if excerpt.hidden:
        told += f"; {len(excerpt.shown)} of them shown, of the others only a hash"
    integrity.found(what, told, problems)
    against = f"{member}: {kind.name}, since the run ended"
    if noted is None:
        integrity.absent(against, "no checkpoint of it was given: whoever has the site's key could have rewritten it")
        return
    if noted.wrong:
        integrity.found(against, "", [noted.wrong])
    elif noted.enough:
        told = f"its first {noted.place.entries} entries are those that {noted.others} other hospitals have signed for"
        integrity.found(against, told)
    else:
        integrity.absent(against, f"{noted.others} other hospitals have signed for its checkpoint: too few")


def _not_shown(member: str, kind: LogKind[Any]) -> Finding:
    return Finding(
        f"{kind.reason}-not-shown",
        f"{member} shows no {kind.name}, and does not say why.",
        member,
        f"Ask {member} for it: `secagg audit export` shows it, or says what is wrong with it.",
    )


def check_checkpoints(charter: VerifiedCharter, checkpoints: VerifiedCheckpoints | None, integrity: Integrity) -> None:
    """Who has signed for everybody's logs."""
    if checkpoints is None:
        integrity.absent("Checkpoints of all logs", "none was given")
        return
    members = len(charter.charter.members)
    told = f"of {len(checkpoints.by_name)} hospitals, signed by {len(checkpoints.cosigned_by)} of {members}"
    if is_vouched_for(checkpoints, charter.charter):
        integrity.found("Checkpoints of all logs", told)
    else:
        integrity.absent("Checkpoints of all logs", f"{told}: too few")


def check_release(release: Release | None, records: Records, guarantee: Guarantee, integrity: Integrity) -> None:
    """Whether the release is what its contributors signed, and says what the charter and the transcript show."""
    if release is None:
        if records.problems:
            integrity.found("Release", "", records.problems)
        else:
            integrity.absent("Release", "none was given")
        return
    told = f"the model and its statement are what all {len(release.contributors)} contributors signed"
    integrity.found("Release", told, (*records.problems, *_understated(release, guarantee)))
    if records.transcript is None:
        integrity.absent("Release, compared with the transcript", "no transcript was given")
        return
    what, cut = "Release, compared with the transcript", records.transcript.broken_off
    wrong = misstated(release, records.transcript)
    if cut and not wrong:
        integrity.absent(what, f"the transcript cannot be read to its end: epoch {cut[0]} breaks off")
    else:
        integrity.found(what, "it names exactly those whose updates are in the sums", wrong)


def check_transcript(
    transcript: TranscriptFacts | None, checkpoints: VerifiedCheckpoints | None, charter: Charter, integrity: Integrity
) -> None:
    """Whether every sum is what the hospitals' messages add up to, and the transcript the one that they signed for."""
    if transcript is None:
        integrity.absent("Transcript", "none was given: sums were not recomputed")
        return
    sums = sum(found.sum_sha256 is not None for found in transcript.rounds)
    logs = len(transcript.compared_with)
    beside = "; no hospital's log was there that shows one of them"
    if logs:
        says = "the log of 1 hospital says" if logs == 1 else f"one or more of {logs} logs say"
        beside = f"; of {transcript.compared_sums} of them {says} the same"
    signed = signed_transcript(checkpoints, charter)
    if signed:
        covered = sum(checkpoint.bytes for checkpoint in signed)
        beside += f"; {covered:,} of the {transcript.file_bytes:,} bytes of its files are what the hospitals signed for"
    integrity.found("Transcript", f"all {sums} sums recomputed{beside}", transcript.findings)
    if not signed:
        integrity.absent(
            "Transcript, since the run ended", "too few hospitals have signed for it, or none was asked to"
        )


def check_audit(
    audit: PrivacyRecord | None, charter: VerifiedCharter, guarantee: Guarantee, integrity: Integrity
) -> None:
    """Whether canaries speak against the claim. An audit of other terms can speak against the software only."""
    if audit is None:
        return
    what, found, wrong = "Empirical audit", audit.audit, []
    if audit.speaks_against:
        wrong = [
            Finding(
                "audit-failed",
                f"By the audit, epsilon is at least {no_more(found.together.epsilon, 2)}, where "
                f"{no_less(found.claim, 2)} is claimed, or a weakened build that must be caught was not.",
                "the software",
                "Train nothing more with it until it is known why.",
            )
        ]
    elif not audit.is_of(charter.digest.hex(), guarantee.mode, guarantee.delta):
        whose = f"the charter {audit.charter[:16]}" if audit.charter else "no charter that it names"
        told = f"an audit of the terms of {whose}: claim {no_less(found.claim, 2)}, {audit.mode}, delta {found.delta:g}"
        integrity.absent(what, told)
        return
    elif not audit.claims_as(charter.charter):
        wrong = [
            Finding(
                "other-claim",
                f"The audit is said to be of this charter, and tests a claim of {no_less(found.claim, 2)}, "
                "which no audit of it has.",
                "the audit",
                "Make one: `secagg audit privacy --charter CHARTER --json > audit.json`.",
            )
        ]
    elif not found.can_refute:
        integrity.absent(what, cannot_refute(found))
        return
    integrity.found(what, "nothing contradicts the claim; that does not prove it", wrong)


def _understated(release: Release, guarantee: Guarantee) -> list[Finding]:
    stated, computed = release.privacy, guarantee.epsilon
    if computed is None:
        return _unfounded(stated.epsilon)
    if stated.epsilon is not None and is_covered(computed, stated.epsilon) and stated.delta == guarantee.delta:
        return []
    return [
        Finding(
            "understated-epsilon",
            f"The release states an epsilon of {stated.epsilon} at a delta of {stated.delta}, but by charter and "
            f"rounds it is {no_less(computed, 4)} at {guarantee.delta}.",
            "the release",
            "Do not rely on what it states.",
        )
    ]


def _unfounded(stated: float | None) -> list[Finding]:
    if stated is None:
        return []
    return [
        Finding(
            "unfounded-epsilon",
            f"The release states an epsilon of {stated}, and its charter has no differential privacy.",
            "the release",
            "Do not rely on what it states.",
        )
    ]
