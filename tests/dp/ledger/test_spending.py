"""From entries to what was spent."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dp.accounting import epsilon_rdp
from dp.events import GaussianEvent
from dp.ledger import Account, Cost, Entry, Kind, PatientList
from dp.ledger.entries import NOTHING
from dp.ledger.spending import RunSpending, Spending, cost_epsilon, costs_epsilon, covers
from secagg.signed_log import FIRST_PREVIOUS

DELTA = 1e-5
DATA = "a" * 64
RUN, OTHER = "1" * 64, "2" * 64
STRANGERS = {name * 64: PatientList.of([[name.encode() * 16]]) for name in "ab"}


def training(steps: int, noise: float = 1.0) -> Cost:
    return Cost(training=(GaussianEvent(noise, 0.1, steps),))


def metrics(steps: int, noise: float = 20.0) -> Cost:
    return Cost(metrics=(GaussianEvent(noise, 1.0, steps),))


def spending(*lines: tuple[Kind, Cost] | tuple[Kind, Cost, str] | tuple[Kind, Cost, str, str]):
    entries = []
    for sequence, (kind, cost, *rest) in enumerate(lines, start=1):
        run, data_set = [*rest, *(RUN, DATA)[len(rest) :]]
        common = {"delta": DELTA, "time": "", "previous": FIRST_PREVIOUS, "salt": "0" * 32}
        entries.append(Entry(sequence=sequence, kind=kind, data_set=data_set, run=run, cost=cost, **common))
    return Account(entries, STRANGERS).spending(DATA)


def test_nothing_was_spent_where_nothing_is_written():
    assert spending().epsilon(DELTA) == 0
    assert spending().run(RUN).counted == NOTHING


def test_an_open_run_counts_with_its_reservation():
    assert spending((Kind.RESERVE, training(100))).epsilon(DELTA) == cost_epsilon(training(100), DELTA)


def test_charges_within_a_reservation_add_nothing_to_it():
    found = spending((Kind.RESERVE, training(100)), (Kind.CHARGE, training(40)), (Kind.CHARGE, training(60)))
    assert found.epsilon(DELTA) == cost_epsilon(training(100), DELTA)
    assert found.run(RUN).rounds == 2


def test_charges_beyond_a_reservation_count_all_the_same():
    found = spending((Kind.RESERVE, training(100)), (Kind.CHARGE, training(130)))
    assert found.epsilon(DELTA) == cost_epsilon(training(130), DELTA)


def test_a_charge_unlike_its_reservation_counts_beside_it():
    found = spending((Kind.RESERVE, training(100)), (Kind.CHARGE, training(10, noise=0.7)))
    assert found.epsilon(DELTA) == cost_epsilon(training(100).plus(training(10, noise=0.7)), DELTA)


def test_closing_frees_what_was_not_charged_and_nothing_else():
    lines = (Kind.RESERVE, training(100)), (Kind.CHARGE, training(40)), (Kind.CLOSE, NOTHING)
    assert spending(*lines).epsilon(DELTA) == cost_epsilon(training(40), DELTA)
    late = spending(*lines, (Kind.CHARGE, training(5)))
    assert late.epsilon(DELTA) == cost_epsilon(training(45), DELTA)


def test_a_run_holds_what_it_has_reserved_and_neither_charged_nor_given_up():
    lines = (Kind.RESERVE, training(100)), (Kind.CHARGE, training(40))
    assert spending(*lines).run(RUN).holds
    assert not spending(*lines, (Kind.CHARGE, training(60))).run(RUN).holds
    assert not spending(*lines, (Kind.CLOSE, NOTHING)).run(RUN).holds
    assert not spending((Kind.CHARGE, training(40))).run(RUN).holds


def test_a_commit_is_no_second_charge_and_no_discount():
    lines = (Kind.RESERVE, training(100)), (Kind.CHARGE, training(40))
    assert spending(*lines, (Kind.COMMIT, NOTHING)).epsilon(DELTA) == spending(*lines).epsilon(DELTA)


def test_runs_on_one_data_set_compose():
    found = spending((Kind.RESERVE, training(100)), (Kind.RESERVE, training(50), OTHER))
    assert found.epsilon(DELTA) == cost_epsilon(training(150), DELTA)
    assert found.epsilon(DELTA) < cost_epsilon(training(100), DELTA) + cost_epsilon(training(50), DELTA)


def test_another_data_set_is_another_account():
    found = spending((Kind.RESERVE, training(100)), (Kind.RESERVE, training(900), OTHER, "b" * 64))
    assert found.epsilon(DELTA) == cost_epsilon(training(100), DELTA)


@pytest.mark.parametrize(("count", "dearer"), [(1, "training"), (900, "metrics")])
def test_training_and_validation_patients_are_different_and_the_dearer_counts(count, dearer):
    found = spending((Kind.RESERVE, Cost(training(20).training, metrics(count).metrics)))
    tracks = {
        "training": epsilon_rdp(training(20).training, DELTA),
        "metrics": epsilon_rdp(metrics(count).metrics, DELTA),
    }
    assert max(tracks, key=tracks.get) == dearer
    assert found.epsilon(DELTA) == tracks[dearer]


def test_a_run_that_cost_more_than_it_was_charged_counts_with_that_beside_the_others():
    found = spending(
        (Kind.RESERVE, training(100)),
        (Kind.CHARGE, training(20)),
        (Kind.CLOSE, NOTHING),
        (Kind.CHARGE, training(50), OTHER),
    )
    assert found.epsilon_at_least(RUN, training(30), DELTA) == cost_epsilon(training(80), DELTA)
    assert found.epsilon_at_least(RUN, training(10), DELTA) == found.epsilon(DELTA) == cost_epsilon(training(70), DELTA)


def test_a_run_that_may_have_cost_more_than_it_was_charged_counts_with_no_less_than_its_reservation():
    found = spending((Kind.RESERVE, training(100)), (Kind.CHARGE, training(20)))
    assert found.epsilon_at_least(RUN, training(30), DELTA) == cost_epsilon(training(100), DELTA)


def test_it_counts_beside_the_other_runs_of_those_patients_who_have_spent_most():
    own = RunSpending(RUN, charged=training(20))
    others = [(RunSpending(OTHER, charged=training(steps)),) for steps in (10, 90, 40)]
    found = Spending(DATA, (own,), tuple(others))
    assert found.epsilon_at_least(RUN, training(30), DELTA) == cost_epsilon(training(30 + 90), DELTA)


def test_on_two_data_sets_it_counts_on_each_with_its_dearer_side_since_patients_may_have_changed_sides():
    trained, counted = training(20), metrics(300)
    found = Spending(DATA, (RunSpending(RUN, charged=trained),), ((RunSpending(RUN, charged=counted),),))
    apart = costs_epsilon((trained, counted), DELTA)
    assert found.epsilon_at_least(RUN, NOTHING, DELTA) == apart > cost_epsilon(trained.plus(counted), DELTA)


def test_a_run_is_weighed_in_place_of_itself_and_beside_the_others():
    found = spending((Kind.RESERVE, training(100)), (Kind.RESERVE, training(50), OTHER))
    assert found.epsilon_with(found.run(RUN), DELTA) == found.epsilon(DELTA)
    assert found.epsilon_with(spending().run(RUN), DELTA) == cost_epsilon(training(50), DELTA)


def test_a_charge_that_is_dearer_by_itself_and_cheaper_with_others_is_too_little():
    due = Cost((GaussianEvent(4.0, 1.0, 1),))
    # Rare and without much noise: its divergence is large at high orders, and what many come to goes by low ones.
    rare = Cost((GaussianEvent(0.3, 1e-6, 1),))
    many = 200

    def times(cost):
        return Cost(tuple(replace(event, steps=many) for event in cost.training))

    assert cost_epsilon(rare, DELTA) > cost_epsilon(due, DELTA)
    assert cost_epsilon(times(rare), DELTA) < cost_epsilon(times(due), DELTA)
    assert not covers(rare, due)


def test_a_cost_covers_itself_and_what_is_less_and_nothing_in_the_other_group():
    event = GaussianEvent(1.0, 0.5, 3)
    cost = Cost((event,), (replace(event, steps=1),))
    assert covers(cost, cost)
    assert covers(cost.plus(cost), cost)
    assert covers(Cost((replace(event, noise_multiplier=0.9),), cost.metrics), cost)
    assert covers(cost, Cost())
    assert not covers(Cost((event,), ()), cost)
    assert not covers(Cost((), cost.training), Cost(cost.training))
    assert not covers(Cost((replace(event, steps=2),), cost.metrics), cost)
