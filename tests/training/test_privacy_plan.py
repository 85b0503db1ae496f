"""A charter whose rounds cost more than it says is neither signed nor trained under."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import Member
from secagg.errors import InputError
from tests.support.consortium import make_identities
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter
from training.privacy_plan import privacy_plan, require_budget

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


@pytest.mark.parametrize("mode", ["local", "distributed"])
@pytest.mark.parametrize("changes", [{"budget": 2.9}, {"noise_multiplier": 0.5}, {"sampling_rate": 0.9}])
def test_a_budget_below_what_the_rounds_cost_is_refused(mode, changes):
    with pytest.raises(InputError) as caught:
        require_budget(charter(mode, **changes))
    assert caught.value.reason == "budget-understated"
    assert caught.value.culprit == "privacy.budget"
