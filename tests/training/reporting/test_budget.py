"""A report counts a budget as the site itself does."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dp.ledger import BudgetUse
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
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


def test_a_budget_that_is_not_shown_gives_no_alert(evidence):
    (told,) = data_sets_of(replace(evidence, limit=None))
    assert told.alert is None
