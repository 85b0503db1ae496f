"""When somebody is told that a data set's budget runs out."""

from __future__ import annotations

import math

import pytest

from dp.ledger import BudgetUse


@pytest.mark.parametrize(
    ("epsilon", "alert"),
    [(0, 0), (3.95, 0), (3.96, 50), (4, 50), (6.3, 50), (6.4, 80), (7.9, 80), (7.97, 100), (8, 100), (9.5, 100)],
)
def test_an_alert_is_the_highest_level_that_is_reached_in_whole_per_cent(epsilon, alert):
    assert BudgetUse(epsilon, 8.0).alert == alert


@pytest.mark.parametrize(
    ("epsilon", "budget", "told"),
    [
        (6.432, 8.0, "80.4 %"),
        (6.4321, 8.0, "80.5 %"),
        (0.07, 1.0, "7 %"),
        (7.9999, 8.0, "100 %"),
        (7.94, 8.0, "99.3 %"),
    ],
)
def test_no_less_is_told_than_is_spent(epsilon, budget, told):
    assert BudgetUse(epsilon, budget).told().startswith(f"{told} of the privacy budget")


@pytest.mark.parametrize(("epsilon", "percent"), [(math.inf, math.inf), (1e308, math.inf), (1e300, 1.25e301)])
def test_what_no_budget_covers_is_told_too(epsilon, percent):
    use = BudgetUse(epsilon, 8.0)
    assert (use.percent, use.alert, use.left) == (pytest.approx(percent), 100, 0)
    assert use.told().endswith("of 8; no further run fits")


def test_what_is_left_is_never_less_than_nothing():
    assert BudgetUse(9.5, 8.0).left == 0


def test_only_a_budget_that_is_used_up_is_told_as_such():
    assert "no further run fits" in BudgetUse(8.0, 8.0).told()
    assert BudgetUse(6.4, 8.0).told() == "80 % of the privacy budget is spent or reserved: epsilon 6.40 of 8"
