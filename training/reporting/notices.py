"""What the officer must know even if no record was altered: budgets that run out, what nobody has checked.

Knows a report and the charter. Of rounds without a sum it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dp.stated import exact, no_less, no_more
from secagg.charter import Charter
from secagg.charter.cautions import cautions
from secagg.release.checkpoints import enough_to_vouch
from training.auditing.record import cannot_refute
from training.reporting.budget import DataSetFacts, RunFacts
from training.reporting.findings import Notice
from training.reporting.guarantee import Guarantee
from training.reporting.report import Report, SiteFacts

_TELLS_NOTHING = 0.5
_WHEN_USED_UP = "No further run fits: only the site's policy can raise the budget, and what is spent never comes back."
_WHEN_SOME_IS_LEFT = "Decide what the rest is to be used for: what is spent never comes back."


def notices_of(report: Report, charter: Charter, without_sum: Iterable[Notice]) -> tuple[Notice, ...]:
    """All that is to be told, budgets first."""
    return (
        *(notice for site in report.sites for data_set in site.data_sets for notice in _data_set(site, data_set)),
        *(Notice(caution.code, caution.message, caution.remedy) for caution in cautions(charter)),
        *_run(report),
        *without_sum,
        *_missing(report),
    )


def _data_set(site: SiteFacts, data_set: DataSetFacts) -> Iterator[Notice]:
    whose = f"The data set {data_set.data_set[:16]} of {site.name}"
    if data_set.alert and data_set.limit and data_set.left is not None:
        yield Notice(
            "budget-alert",
            f"{whose} has spent or reserved {no_less(data_set.spent, 2)} of its budget of {exact(data_set.limit)}; "
            f"{no_more(data_set.left, 2)} is left.",
            _WHEN_USED_UP if data_set.alert == 1 else _WHEN_SOME_IS_LEFT,
        )
    if data_set.patients and data_set.delta * data_set.patients > _TELLS_NOTHING:
        yield Notice(
            "delta-too-large",
            f"{whose} has {data_set.patients} patients, and delta is {data_set.delta:g}: nothing is promised to one of "
            "them.",
            "Agree on a delta well below one over the number of patients.",
        )
    for run in data_set.runs:
        yield from _unusual(whose, run)


def _unusual(whose: str, run: RunFacts) -> Iterator[Notice]:
    if run.epsilon is None:
        yield Notice(
            "unprotected",
            f"{whose} was used without differential privacy under the charter {run.charter[:16]}, in {run.rounds} "
            "rounds.",
            "No epsilon covers that: whoever has the model must be trusted with what it reveals.",
        )
    if run.state == "open":
        yield _open(whose, run)


def _open(whose: str, run: RunFacts) -> Notice:
    if run.imported:
        return Notice(
            "run-open",
            f"{whose} holds what another ledger had reserved for the charter {run.charter[:16]} when it was exported.",
            "It counts for good, and nothing here frees it: what was charged there since is not known.",
        )
    return Notice(
        "run-open",
        f"{whose} still holds what the charter {run.charter[:16]} has reserved: that run has not ended.",
        "Go on with it, or give it up with `secagg budget release`.",
    )


def _run(report: Report) -> Iterator[Notice]:
    yield from _fewer_sums(report.guarantee, report.charter.rounds)
    if report.transcript is None:
        return
    for epoch in report.transcript.unfinished:
        yield Notice(
            "unfinished-epoch",
            f"Epoch {epoch} of the transcript is incomplete.",
            "The coordinator was interrupted there, or the end was removed: ask it which.",
        )
    for epoch in report.transcript.broken_off:
        yield Notice(
            "broken-off-epoch",
            f"Of epoch {epoch} of the transcript, nothing after the first thing that does not fit was checked.",
            "Ask the coordinator for that file once more.",
        )
    if report.transcript.around_damaged:
        yield Notice(
            "broken-off-epoch",
            "The file epoch-000000 of the transcript, of what was exchanged around the epochs, cannot be read to its "
            "end: snapshots were not compared with logs, and who claimed rounds that are missing may not be named.",
            "Ask the coordinator for that file once more.",
        )


def _fewer_sums(guarantee: Guarantee, planned: int) -> Iterator[Notice]:
    if guarantee.epsilon is not None and guarantee.epsilon_of_plan is not None:
        yield Notice(
            "fewer-sums",
            f"{guarantee.sums} of the {planned} sums that were planned were made, at an epsilon of "
            f"{no_less(guarantee.epsilon, 2)}. If whoever ended the training chose the moment by what the sums showed, "
            f"it is at most {no_less(guarantee.epsilon_of_plan, 2)}, that of the whole plan.",
            "If it is over, ask who ended it and why. Count on the larger figure where nobody can say.",
        )


def _missing(report: Report) -> Iterator[Notice]:
    shown = {site.name for site in report.sites}
    absent = [member.name for member in report.charter.members if member.name not in shown]
    # A hospital's own copy is of its own records alone.
    if absent and report.about == "consortium":
        yield Notice(
            "no-records",
            f"No records of {', '.join(absent)} were given: nothing of theirs was checked.",
            "Ask each for what `secagg audit export` writes there, and give those files too.",
        )
    if report.release is None:
        # Where one was given, a finding says what is wrong with it.
        if any(check.what == "Release" and check.state == "absent" for check in report.checks):
            yield Notice("no-release", "No release was given.", "Give its folder with --release.")
    elif not enough_to_vouch(len(report.release.cosigned_by), report.charter.max_colluding):
        yield Notice(
            "not-cosigned",
            f"{len(report.release.cosigned_by)} hospitals have signed for one another's logs: too few to rule out that "
            "one of those was rewritten since.",
            "Keep copies of this report elsewhere; later ones can be compared with it.",
        )
    if report.transcript is None:
        yield Notice(
            "no-transcript",
            "No transcript was given: sums were not recomputed, and it is not known who took part, or whether a sum "
            "was forged.",
            "Ask the coordinator for it, and give its folder with --transcript.",
        )
    if not report.is_audited and report.guarantee.mode != "none":
        yield Notice(
            "no-audit",
            "No empirical audit of this charter was given: nobody has tested here whether the software adds as much "
            "noise as it says.",
            "Run `secagg audit privacy --charter CHARTER --json > audit.json`, and give the file with --audit.",
        )
    elif report.audit and not report.audit.audit.can_refute:
        yield Notice(
            "weak-audit",
            f"The empirical audit is too small to test anything: {cannot_refute(report.audit.audit)}.",
            "Make one with more --canaries or --runs: `secagg audit privacy --help` says how many are usual.",
        )
