"""A report counts a budget as the site itself does."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dp.events import GaussianEvent
from dp.ledger import Budget, BudgetUse, Cost
from dp.ledger.export import export_ledger, read_export
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.support.shown_records import report
from training.reporting.budget import data_sets_of
from training.reporting.evidence import gather_site


@pytest.fixture
def evidence(open_ward):
    """What a hospital shows that has reserved what its first run may cost."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    return gather_site(ward.home(1), ward.charter, ward.hospitals[1]._identity).evidence


@pytest.mark.parametrize(
    ("share", "alert"),
    [(0.3, 0), (0.494, 0), (0.496, 50), (0.5, 50), (0.794, 50), (0.796, 80), (0.994, 80), (0.996, 100), (1.2, 100)],
)
def test_a_report_gives_the_alert_that_the_site_gives(evidence, share, alert):
    (data_set,) = data_sets_of(evidence)
    limit = data_set.spent / share
    (told,) = data_sets_of(replace(evidence, limit=limit))
    assert BudgetUse(told.spent, limit).alert == alert
    assert told.alert == (alert / 100 or None)


def test_another_run_has_room_only_where_the_ledger_would_not_refuse_it_at_its_own_smaller_delta(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ledger, own = ward.hospitals[1]._ledger, ward.hospitals[1]._identity
    (data_set,) = ledger.account.data_sets
    cost = ledger.entries[0].cost
    ledger.charge(data_set, "f" * 64, 1, Cost((GaussianEvent(2.0, 0.1, 50),)), Budget(30.0, 1e-2), "")
    evidence = gather_site(ward.home(1), ward.charter, own).evidence
    (told,) = data_sets_of(evidence)
    assert told.delta == 1e-2
    lacking = ledger.lacking(data_set, "e" * 64, cost, Budget(0.1, 1e-5))
    assert told.another.total == pytest.approx(lacking)
    for limit, allowed in ((0.99 * lacking, False), (1.01 * lacking, True)):
        (told,) = data_sets_of(replace(evidence, limit=limit))
        assert told.another.allowed is allowed


def test_of_a_run_that_was_open_in_another_ledger_nobody_is_told_to_free_it_here(open_ward, tmp_path):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    own, other = (ward.hospitals[number]._identity for number in (1, 2))
    (tmp_path / "other.json").write_bytes(export_ledger(ward.home(2).ledger, other))
    ward.hospitals[1]._ledger.take_over(read_export(tmp_path / "other.json", other.public_key))
    told = report(ward, (gather_site(ward.home(1), ward.charter, own),), transcript=False, release=False)
    remedies = {
        "another ledger" in notice.message: notice.remedy for notice in told.notices if notice.code == "run-open"
    }
    assert "secagg budget release" in remedies[False]
    assert "nothing here frees it" in remedies[True]


def test_a_budget_that_is_not_shown_gives_no_alert(evidence):
    (told,) = data_sets_of(replace(evidence, limit=None))
    assert told.alert is None
