"""What a site shows of its own records: its logs with their signatures, whole or of one charter, signed by the site.

Knows how it is gathered at the site and how anybody verifies it with the charter alone. What no log says (the budget
that its policy allows, how many patients there are) is in the officer's own copy only, and is the site's word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from dp.ledger import Account, Entry
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER
from secagg.charter import VerifiedCharter
from secagg.charter.names import Name
from secagg.egress import EGRESS, EgressEntry
from secagg.errors import InputError, TamperingError
from secagg.files import read_bounded
from secagg.identity import Signature, is_valid_signature
from secagg.json_documents import MALFORMED, json_for_people
from secagg.labels import label
from secagg.log_excerpt import LogExcerpt, take_excerpt, verify_excerpt
from secagg.policy import load_policy
from secagg.release.checkpoints import VerifiedCheckpoints
from secagg.signed_log import EntryT, LogKind, Sha256, Signer
from training.clock import write_time
from training.hospital_folder import HospitalFolder
from training.hospital_logs import read_signed_log
from training.reporting.findings import Finding
from training.reporting.versions import Versions, versions
from training.stops import has_stopped

_LARGEST_FILE: Final = 1 << 28


class SharedPatients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Patients who are in just these data sets; ``patients``: how many, where the site says so."""

    data_sets: tuple[Sha256, ...]
    patients: Annotated[int, msgspec.Meta(ge=1)] | None


Scope = Literal["site", "charter"]


class SiteEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one site shows.

    Attributes:
        member: its name in the charter.
        scope: ``site``: all of its logs; ``charter``: what belongs to the charter, and hashes of the rest.
        made: when, as the site's clock had it.
        beside: SHA-256 of the list of checkpoints that was at hand when it was read, for a report: it is not from
            before them. What a site exports has no such field, for whatever it is used.
        ledger, egress: None where the log could not be read as what it was: a problem says why.
        groups: who is in which data sets.
        limit: the epsilon that this site's policy allows each data set; None where it is not shown.
        problems: what was wrong when the site read its own records.
    """

    format: Literal["secagg evidence 1"] = "secagg evidence 1"
    charter: Sha256
    member: Name
    scope: Scope
    made: Annotated[str, msgspec.Meta(max_length=40)]
    beside: Sha256 | msgspec.UnsetType = msgspec.UNSET
    ledger: LogExcerpt[Entry] | None
    egress: LogExcerpt[EgressEntry] | None
    groups: tuple[SharedPatients, ...]
    limit: float | None
    problems: tuple[Finding, ...]
    versions: Versions


class SignedEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document: what the site shows, and its signature of it."""

    evidence: SiteEvidence
    signature: Signature

    def to_json(self) -> bytes:
        """The file's bytes, indented for people."""
        return json_for_people(self, "sorted")


def gather_site(
    folder: HospitalFolder,
    charter: VerifiedCharter,
    identity: Signer,
    checkpoints: VerifiedCheckpoints | None = None,
) -> SignedEvidence:
    """All that this site's officer is told.

    Args:
        checkpoints: those of the release that it is reported beside.

    Raises:
        InputError: ``unknown-member``, ``no-ledger``, ``no-egress-log``, ``unreadable``, ``malformed-policy``.
    """
    return _gather(folder, charter, identity, "site", checkpoints)


def gather_for_others(
    folder: HospitalFolder,
    charter: VerifiedCharter,
    identity: Signer,
    checkpoints: VerifiedCheckpoints | None = None,
) -> SignedEvidence:
    """What the consortium is shown: the entries of this charter, and hashes in the place of all others.

    Args:
        checkpoints: those of the release that it is reported beside; None for what is exported.

    Raises:
        InputError: ``unknown-member``, ``no-ledger``, ``no-egress-log``, ``unreadable``.
    """
    return _gather(folder, charter, identity, "charter", checkpoints)


def _gather(
    folder: HospitalFolder,
    charter: VerifiedCharter,
    identity: Signer,
    scope: Scope,
    checkpoints: VerifiedCheckpoints | None,
) -> SignedEvidence:
    run = charter.digest.hex()
    whole = scope == "site"
    problems = _stopped(folder, charter)
    # The egress log first: a round is charged before anything of it leaves, also while this is read.
    egress = _excerpt(folder.egress, folder, identity, EGRESS, lambda entry: whole or entry.charter == run, problems)
    ledger = _excerpt(folder.ledger, folder, identity, LEDGER, lambda entry: whole or entry.run == run, problems)
    evidence = SiteEvidence(
        charter=run,
        member=_member(charter, identity.public_key),
        scope=scope,
        made=write_time(),
        beside=checkpoints.digest if checkpoints else msgspec.UNSET,
        ledger=ledger,
        egress=egress,
        groups=_groups(ledger, folder.ledger, whole, problems) if ledger else (),
        limit=load_policy(folder.policy).maximum_epsilon if whole else None,
        # What is wrong with the latch is met more than once.
        problems=tuple(dict.fromkeys(problems)),
        versions=versions(),
    )
    return SignedEvidence(evidence, identity.sign(_signed_bytes(evidence)))


def _stopped(folder: HospitalFolder, charter: VerifiedCharter) -> list[Finding]:
    try:
        if not has_stopped(folder, charter.digest):
            return []
    except TamperingError as error:
        return [Finding.of(error)]
    kept = folder.evidence(charter.digest).exists()
    lost = "" if kept else " By its latch, that is: the sum itself, which it keeps as evidence, is not in its folder."
    return [
        Finding(
            "forged-sum",
            f"This hospital was given a forged sum under the charter, and stopped.{lost}",
            "the coordinator",
            "Compare it with the other hospitals, and agree on a new charter.",
        )
    ]


def _excerpt(
    path: Path,
    folder: HospitalFolder,
    identity: Signer,
    kind: LogKind[EntryT],
    is_shown: Callable[[EntryT], bool],
    problems: list[Finding],
) -> LogExcerpt[EntryT] | None:
    try:
        return take_excerpt(read_signed_log(path, folder.latch, identity.public_key, kind), is_shown)
    except TamperingError as error:
        problems.append(Finding.of(error))
        return None


def _groups(ledger: LogExcerpt[Entry], path: Path, whole: bool, problems: list[Finding]) -> tuple[SharedPatients, ...]:
    try:
        groups = Account.load(ledger.entries, patients_folder(path)).groups
    except TamperingError as error:
        problems.append(Finding.of(error))
        return ()
    # Data sets that are not shown may have made others' patients one, and are not told of.
    shown = {entry.data_set for entry in ledger.entries}
    counts: Counter[tuple[str, ...]] = Counter()
    for name in shown & groups.keys():
        for group, patients in groups[name].items():
            # Counted at one of its data sets, which it is in as often as at any other.
            if name == min(group & shown):
                counts[tuple(sorted(group & shown))] += patients
    return tuple(SharedPatients(names, counts[names] if whole else None) for names in sorted(counts))


def read_evidence(path: Path, charter: VerifiedCharter) -> SignedEvidence:
    """Parse and verify a document that a site has given out.

    Raises:
        InputError: ``unreadable``, ``file-too-large``, ``not-evidence``.
        TamperingError: see `verify_evidence`.
    """
    try:
        signed = msgspec.json.decode(read_bounded(path, _LARGEST_FILE), type=SignedEvidence)
    except MALFORMED as error:
        raise InputError(
            "not-evidence",
            f"{path} is not a file that a site has exported: {error}.",
            culprit=str(path),
            remedy="Make one with `secagg audit export`.",
        ) from error
    verify_evidence(signed, charter, path)
    return signed


def verify_evidence(signed: SignedEvidence, charter: VerifiedCharter, source: Path) -> None:
    """Check the site's signature of the whole and of each entry, and that entries and hashes give the logs' roots.

    What is for others must hold nothing that only the site's own officer is told.

    Raises:
        InputError: ``unknown-member``.
        TamperingError: ``evidence-altered``, ``other-charter``, ``no-export``, ``ledger-altered``, ``egress-altered``.
    """
    evidence = signed.evidence
    if evidence.charter != charter.digest.hex():
        raise TamperingError(
            "other-charter",
            f"What {evidence.member} shows in {source} belongs to the charter {evidence.charter[:16]}.",
            culprit=evidence.member,
            remedy="Give the charter under which it was exported.",
        )
    key = charter.charter.member(charter.charter.number_of(evidence.member)).public_key
    if not is_valid_signature(key, signed.signature, _signed_bytes(evidence)):
        raise TamperingError(
            "evidence-altered",
            f"What {evidence.member} shows in {source} was altered: its signature does not match it.",
            culprit=evidence.member,
            remedy=f"Ask {evidence.member} for it again.",
        )
    if evidence.scope == "charter" and (beyond := _beyond_the_charter(evidence)):
        raise TamperingError(
            "no-export",
            f"What {evidence.member} shows in {source} is of one charter, by its own word, and has {beyond}.",
            culprit=evidence.member,
            remedy=f"Ask {evidence.member} for what `secagg audit export` writes.",
        )
    if evidence.ledger:
        verify_excerpt(evidence.ledger, key, LEDGER, source)
    if evidence.egress:
        verify_excerpt(evidence.egress, key, EGRESS, source)


def _beyond_the_charter(evidence: SiteEvidence) -> str:
    """What only the site's own officer is told, by which one site would choose figures of a report on several."""
    ledger = evidence.ledger.entries if evidence.ledger else ()
    egress = evidence.egress.entries if evidence.egress else ()
    if evidence.limit is not None:
        return "a budget"
    if any(shared.patients is not None for shared in evidence.groups):
        return "numbers of patients"
    if {*(entry.run for entry in ledger), *(entry.charter for entry in egress)} - {evidence.charter}:
        return "entries of another charter"
    return ""


def require_for_others(sites: Sequence[SignedEvidence]) -> None:
    """Refuse a report on several sites that counts one of them twice, or shows what only its own officer is told.

    Raises:
        InputError: ``duplicate-site``, ``own-copy``.
    """
    names = [site.evidence.member for site in sites]
    if len(set(names)) != len(names):
        twice = max(names, key=names.count)
        raise InputError(
            "duplicate-site",
            f"What {twice} shows is given twice.",
            culprit=twice,
            remedy="Give each hospital once.",
        )
    own = [site.evidence.member for site in sites if site.evidence.scope == "site"]
    if own and len(sites) > 1:
        raise InputError(
            "own-copy",
            f"What is given of {own[0]} is its own officer's copy, with its budget and all of its trainings: a report "
            "on several hospitals has neither.",
            culprit=own[0],
            remedy=f"Ask {own[0]} for what `secagg audit export` writes.",
        )


def account_of(evidence: SiteEvidence) -> Account:
    """What the shown entries of the ledger come to."""
    groups: dict[str, Counter[frozenset[str]]] = {}
    for shared in evidence.groups:
        for name in shared.data_sets:
            groups.setdefault(name, Counter())[frozenset(shared.data_sets)] = shared.patients or 1
    return Account.of_groups(evidence.ledger.entries if evidence.ledger else (), groups)


def _member(charter: VerifiedCharter, public_key: bytes) -> str:
    names: Mapping[bytes, str] = {member.public_key: member.name for member in charter.charter.members}
    if public_key not in names:
        raise InputError(
            "unknown-member",
            f"The hospital in this folder is not a member of the charter {charter.charter.name}.",
            remedy="Give the charter under which it trained.",
        )
    return names[public_key]


def _signed_bytes(evidence: SiteEvidence) -> bytes:
    return label("site evidence") + msgspec.json.encode(evidence, order="sorted")
