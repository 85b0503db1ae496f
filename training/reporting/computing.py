"""From records to the report. The same records give the same report to anybody, so that it can be repeated.

Knows which record answers what.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from dp.ledger.entries import Cost, Kind
from secagg.charter import VerifiedCharter
from secagg.identity import fingerprint
from secagg.release import read_envelope
from secagg.release.checkpoints import VerifiedCheckpoints, verify_checkpoints
from secagg.release.folder import verify_statement
from secagg.release.statement import Statement, read_statement
from training.privacy_plan import privacy_plan, rounds_of_plan, rounds_stated
from training.reporting.budget import DataSetFacts, data_sets_of
from training.reporting.charges import Beside, check_charges, rounds_of
from training.reporting.costs import check_costs
from training.reporting.egress import egress_of
from training.reporting.evidence import SiteEvidence, account_of
from training.reporting.guarantee import guarantee_of
from training.reporting.integrity import (
    Integrity,
    check_audit,
    check_checkpoints,
    check_goes_on,
    check_release,
    check_site,
    check_transcript,
)
from training.reporting.notices import notices_of
from training.reporting.privacy_loss import InAll, InLedger
from training.reporting.records import Records
from training.reporting.report import CharterFacts, MemberFacts, ReleaseFacts, Report, SiteFacts
from training.reporting.rounds_run import RoundsRun, rounds_run
from training.reporting.without_sum import without_sum


def report_of(charter: VerifiedCharter, records: Records) -> Report:
    """Compute a report.

    Args:
        records: of which the sites' are verified.

    Raises:
        TamperingError: if the statement or the checkpoints in them are not what was signed.
    """
    statement = _statement(charter, records.statement)
    checkpoints = verify_checkpoints(read_envelope(records.checkpoints), charter) if records.checkpoints else None
    evidence = [signed.evidence for signed in records.sites]
    sites = tuple(_site(site) for site in evidence)
    run = rounds_run(statement.predicate if statement else None, evidence, charter)
    about: Literal["site", "consortium"] = "site" if [site.scope for site in sites] == ["site"] else "consortium"
    integrity = Integrity()
    integrity.found("Charter", f"signed by all {len(charter.charter.members)} members")
    beside = Beside(records.transcript, statement.predicate if statement else None)
    for site in evidence:
        check_site(site, charter, checkpoints, integrity)
        check_goes_on(site, records.transcript, integrity)
        check_charges(site, charter, checkpoints, beside, integrity)
        check_costs(site, charter, checkpoints, beside.release, integrity)
    in_all = _spent_in_all(evidence[0], sites[0], charter, run) if about == "site" else None
    if in_all and not integrity.findings:
        in_all = replace(in_all, ledger=_in_ledger(evidence[0], sites[0], charter))
    guarantee = guarantee_of(charter.charter, run.rounds, run.sums, run.counted, in_all)
    check_checkpoints(charter, checkpoints, integrity)
    check_release(statement.predicate if statement else None, records, guarantee, integrity)
    check_transcript(records.transcript, checkpoints, charter.charter, integrity)
    check_audit(records.audit, charter, guarantee, integrity)
    report = Report(
        about=about,
        charter=_charter(charter),
        findings=tuple(integrity.findings),
        notices=(),
        sites=sites,
        guarantee=guarantee,
        audit=records.audit,
        transcript=records.transcript,
        release=_release(statement, checkpoints) if statement else None,
        checks=tuple(integrity.checks),
        made=records.made,
        versions=records.versions,
    )
    told = without_sum(records.transcript, evidence, charter)
    return replace(report, notices=notices_of(report, charter.charter, told))


def _spent_in_all(evidence: SiteEvidence, site: SiteFacts, charter: VerifiedCharter, run: RoundsRun) -> InAll | None:
    """What patients of this training have spent in all of theirs, those who have spent most; None if nobody was."""
    name, trained = charter.digest.hex(), _trained(site, charter)
    if not trained:
        return None
    delta = max(data_set.delta for data_set in trained)
    names = {name for one in trained for name in (one.data_set, *(other.data_set for other in one.overlaps))}
    runs = (entry for data_set in site.data_sets if data_set.data_set in names for entry in data_set.runs)
    if any(entry.epsilon is None for entry in runs):
        return InAll(None, delta)
    plan, account = privacy_plan(charter.charter), account_of(evidence)

    def spent(rounds: int, sums: int) -> float:
        # A ledger counts the rounds that its own hospital has paid for: of this training there may have been more.
        cost = Cost(plan.training_events(rounds), plan.metric_events(plan.most_releases(rounds, sums)))
        return max(account.spending(one.data_set).epsilon_at_least(name, cost, one.delta) for one in trained)

    stated = rounds_stated(charter.charter, run.rounds, run.sums)
    whole = rounds_of_plan(charter.charter, *stated)
    return InAll(spent(*stated), delta, spent(*whole) if run.rounds and whole != stated else None)


def _in_ledger(evidence: SiteEvidence, site: SiteFacts, charter: VerifiedCharter) -> InLedger | None:
    """What the ledger comes to by itself; None where it is not shown whole."""
    if evidence.ledger is None or evidence.ledger.hidden:
        return None
    charged = len(rounds_of(evidence, charter, Kind.CHARGE))
    return InLedger(charged, max(data_set.spent for data_set in _trained(site, charter)))


def _trained(site: SiteFacts, charter: VerifiedCharter) -> list[DataSetFacts]:
    """The data sets that this training was on."""
    name = charter.digest.hex()
    return [data_set for data_set in site.data_sets if any(entry.charter == name for entry in data_set.runs)]


def _statement(charter: VerifiedCharter, file: bytes | None) -> Statement | None:
    if file is None:
        return None
    signed = read_envelope(file)
    statement = read_statement(signed.payload)
    verify_statement(charter, signed, statement, "The release's statement")
    return statement


def _charter(charter: VerifiedCharter) -> CharterFacts:
    content = charter.charter
    return CharterFacts(
        name=content.name,
        digest=charter.digest.hex(),
        members=tuple(MemberFacts(member.name, fingerprint(member.public_key)) for member in content.members),
        surely_summed=content.surely_summed,
        max_colluding=content.max_colluding,
        scheme=content.scheme,
        task=content.task.kind,
        parameters=content.model.parameters,
        rounds=content.training.rounds,
        privacy=content.privacy.mode,
        noise_levels=content.privacy.noise_levels,
        budget=content.privacy.budget,
    )


def _site(site: SiteEvidence) -> SiteFacts:
    return SiteFacts(
        name=site.member,
        scope=site.scope,
        made=site.made,
        data_sets=data_sets_of(site),
        egress=egress_of(site.egress.entries) if site.egress else None,
        versions=site.versions,
    )


def _release(statement: Statement, checkpoints: VerifiedCheckpoints | None) -> ReleaseFacts:
    release = statement.predicate
    return ReleaseFacts(
        model_sha256=statement.model_sha256,
        model_digest=release.model_digest,
        sums=release.sums,
        rounds=release.rounds,
        epsilon=release.privacy.epsilon,
        delta=release.privacy.delta,
        contributors={contributor.name: contributor.sums for contributor in release.contributors},
        checkpoints=len(checkpoints.by_name) if checkpoints else 0,
        cosigned_by=checkpoints.cosigned_by if checkpoints else (),
    )
