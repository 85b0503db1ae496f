"""Whether a site's ledger charged each round with what the charter says that it costs: its number alone says nothing.

Knows ledger, charter and release. A round that gave no sum, or that the site dropped out of, costs the same. Which
rounds there should be is the business of `training.reporting.charges`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dp.ledger import Cost, Entry, Kind
from dp.ledger.spending import covers
from dp.plan import PrivacyPlan
from secagg.charter import VerifiedCharter
from secagg.release import Release
from secagg.release.checkpoints import VerifiedCheckpoints
from training.privacy_plan import privacy_plan
from training.reporting.budget import without_limit
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Finding
from training.reporting.integrity import Integrity
from training.reporting.since_the_end import is_old_export, may_be_older

_MOST_NAMED: Final = 20
_COUNTS_TOO_LITTLE: Final = (
    "By that ledger its patients have spent less than they have. Rely on what is promised, and ask what software wrote "
    "the entry."
)


def check_costs(
    site: SiteEvidence,
    charter: VerifiedCharter,
    checkpoints: VerifiedCheckpoints | None,
    release: Release | None,
    integrity: Integrity,
) -> None:
    """Hold what a site's ledger spends, as far as it is shown, against what a round costs by the charter.

    An export that may be from before the run's end may lack rounds with counts that came later.
    """
    run, plan = charter.digest.hex(), privacy_plan(charter.charter)
    own = [entry for entry in (site.ledger.entries if site.ledger else ()) if entry.run == run]
    charges = [entry for entry in own if entry.kind in (Kind.CHARGE, Kind.UNPROTECTED)]
    older = is_old_export(site, checkpoints) or may_be_older(site, checkpoints, charter.charter)
    beside = None if older else release
    wrong = [
        *_limitless(site),
        *(_undercharged(site.member, charges, plan) or _fewer_counts(site.member, charges, plan, beside)),
        *_reserved_at_more(site.member, own, plan),
    ]
    if not charges and not wrong:
        return
    told = "with no less than a round costs" if plan.mode != "none" else "as without differential privacy"
    integrity.found(
        f"{site.member}: ledger, compared with what a round costs", f"{len(charges)} rounds entered {told}", wrong
    )


def _limitless(site: SiteEvidence) -> list[Finding]:
    """Of all that is shown, under whatever charter."""
    names = without_limit(site)
    if not names:
        return []
    told = ", ".join(name[:16] for name in names[:_MOST_NAMED])
    return [
        Finding(
            "no-finite-epsilon",
            f"By {site.member}'s ledger there was next to no noise: no finite epsilon covers what was spent or "
            f"reserved from data set {told}.",
            site.member,
            "It is in no figure. Ask what software wrote the entry.",
        )
    ]


def _undercharged(member: str, charges: Sequence[Entry], plan: PrivacyPlan) -> list[Finding]:
    rounds = sorted({entry.round for entry in charges if not _is_paid_by(entry, plan)})
    if not rounds:
        return []
    listed = ", ".join(map(str, rounds[:_MOST_NAMED]))
    how = (
        "as if they had differential privacy"
        if plan.mode == "none"
        else "with less than the charter says that one costs, or at a larger delta"
    )
    return [_too_little(member, f"{member}'s ledger has rounds that were charged {how}: {listed}.")]


def _is_paid_by(entry: Entry, plan: PrivacyPlan) -> bool:
    """Whether an entry counts as much as any round costs: counts that are not released with each are not asked for."""
    if plan.mode == "none":
        return entry.kind is Kind.UNPROTECTED
    due = Cost(plan.training_events(1), plan.metric_events(int(plan.metric_every == 1)))
    return entry.kind is Kind.CHARGE and entry.delta <= plan.delta and covers(entry.cost, due)


def _reserved_at_more(member: str, entries: Sequence[Entry], plan: PrivacyPlan) -> list[Finding]:
    """A data set's epsilon is told at the largest delta that anything of it was spent, or is held, at."""
    most = max((entry.delta for entry in entries if entry.kind is Kind.RESERVE), default=0.0)
    if plan.mode == "none" or most <= plan.delta:
        return []
    told = f"{member}'s ledger reserves this training at a delta of {most:g}, and the charter's is {plan.delta:g}."
    return [_too_little(member, told)]


def _fewer_counts(member: str, charges: Sequence[Entry], plan: PrivacyPlan, release: Release | None) -> list[Finding]:
    """Whether rounds with counts are missing, of a ledger that shows as many rounds as its site is in sums of."""
    if release is None or plan.mode == "none" or not plan.metric_events(1):
        return []
    sums = {contributor.name: contributor.sums for contributor in release.contributors}.get(member, 0)
    if len({entry.round for entry in charges}) < sums:
        return []
    # It may have missed sums with counts, and no more sums than all that it is not in.
    due = plan.releases(release.sums) - (release.sums - sums)
    charged = len({entry.round for entry in charges if covers(entry.cost, Cost(metrics=plan.metric_events(1)))})
    if charged >= due:
        return []
    told = f"{member} is in at least {due} sums with validation counts, and was charged for them in {charged} rounds."
    return [_too_little(member, told)]


def _too_little(member: str, told: str) -> Finding:
    return Finding("undercharged-round", told, member, _COUNTS_TOO_LITTLE)
