"""A charter whose rounds cost more than it says is neither signed nor trained under."""

from __future__ import annotations

from contextlib import nullcontext

import msgspec
import pytest

from dp.ledger import Budget, Cost, Ledger, PatientList
from secagg.charter import Member, Metrics
from secagg.errors import InputError, SecaggError
from tests.support.consortium import make_identities
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter
from training.privacy_plan import privacy_plan, require_budget, rounds_stated

IDENTITIES = make_identities(5)
MEMBERS = [Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(IDENTITIES, 1)]


def charter(mode: str, **changes: object):
    choices = choices_of(training_of(local_steps=1), privacy=mode, epsilon=3.0, sampling_rate=0.5, expected_batch=20)
    drafted = draft_charter(choices, MEMBERS, tabular_spec(**BOUNDED))
    return msgspec.structs.replace(drafted, privacy=msgspec.structs.replace(drafted.privacy, **changes))


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_what_was_drafted_costs_what_it_says(mode):
    require_budget(charter(mode))
    plan = privacy_plan(charter(mode))
    assert 2.9 < plan.epsilon_after(plan.rounds) <= 3.0


@pytest.mark.parametrize(
    ("target", "rounds", "sums", "stated"),
    [(None, 4, 2, (4, 2)), (0.9, 4, 2, (5, 3)), (0.9, 5, 3, (5, 3)), (0.9, 2, 0, (5, 3)), (0.9, 6, 4, (6, 4))],
)
def test_where_a_target_can_end_a_run_what_is_stated_is_for_all_sums_of_the_plan(target, rounds, sums, stated):
    drafted = charter("local", metric_noise_multiplier=20.0)
    made = msgspec.structs.replace(drafted, metrics=Metrics(release="noisy", cells=2, target=target))
    assert rounds_stated(made, rounds, sums) == stated


@pytest.mark.parametrize("mode", ["local", "distributed"])
@pytest.mark.parametrize("changes", [{"budget": 2.9}, {"noise_multiplier": 0.5}, {"sampling_rate": 0.9}])
def test_a_budget_below_what_the_rounds_cost_is_refused(mode, changes):
    with pytest.raises(InputError) as caught:
        require_budget(charter(mode, **changes))
    assert caught.value.reason == "budget-understated"
    assert caught.value.culprit == "privacy.budget"


# Steps and counts of which neither costs more at every order: 1.694 and 1.681 apart, and 1.749 towards any patient.
CROSSING = {"noise_multiplier": 1.0, "sampling_rate": 0.01, "delta": 1e-5, "metric_noise_multiplier": 5.0}


@pytest.mark.parametrize(("budget", "suffices"), [(1.70, False), (1.75, True)])
def test_a_charter_is_signed_for_a_budget_if_and_only_if_a_ledger_reserves_its_run_from_that_budget(
    budget, suffices, tmp_path
):
    drafted = charter("local", budget=budget, **CROSSING)
    training = msgspec.structs.replace(drafted.training, rounds=20, local_steps=10)
    made = msgspec.structs.replace(drafted, training=training, metrics=Metrics(release="noisy", cells=2, every=5))
    plan, patients = privacy_plan(made), PatientList.of([[bytes(16)]])
    cost = Cost(plan.training_events(20), plan.metric_events(plan.releases(20)))
    refuses = nullcontext() if suffices else pytest.raises(SecaggError, match=r"1\.749")
    with Ledger(tmp_path / "ledger.sqlite", IDENTITIES[0]) as ledger, refuses:
        ledger.reserve(ledger.enrol(patients), "1" * 64, cost, Budget(budget, plan.delta), "")
    refuses = nullcontext() if suffices else pytest.raises(InputError, match=r"1\.749")
    with refuses:
        require_budget(made)
