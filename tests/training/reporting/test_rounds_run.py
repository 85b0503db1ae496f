"""A report promises no smaller epsilon than the ledgers that it shows, with a release beside them or without one."""

from __future__ import annotations

import re

import msgspec
import pytest
from msgspec.structs import replace

from cli.report_words import figures_of
from dp.ledger import Budget, Cost, Ledger, PatientList
from dp.ledger.spending import cost_epsilon, costs_epsilon
from dp.stated import no_less
from secagg.identity import Identity
from secagg.release import attest, verify_release
from secagg.release.dsse import assemble
from secagg.release.folder import STATEMENT_FILE
from secagg.release.statement import MODEL_FILE, statement_bytes
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK, training_of
from training.engines.base import Phase
from training.engines.embedded import DropOut
from training.privacy_plan import privacy_plan
from training.reporting.computing import report_of
from training.reporting.evidence import SignedEvidence, _signed_bytes, account_of, gather_for_others, gather_site
from training.reporting.findings import Finding
from training.reporting.records import Sources, gather_records

NOW = "2026-01-01T00:00:00+00:00"
OTHER_RUN = "a" * 64
OF_ALL = "For the patients of this training, over all trainings at this hospital that they were or may have been in"
# Of four sums the second and the fourth carry counts, which cost as much as all four steps do.
COUNTED = replace(
    PRIVATE_CHOICES, training=training_of(rounds=4, local_steps=1), metrics="noisy", metrics_every=2, epoch_rounds=2
)


def ample(policy):
    return msgspec.structs.replace(policy, maximum_epsilon=100.0)


def shown_by(ward):
    return [
        gather_for_others(ward.home(number), ward.charter, hospital._identity)
        for number, hospital in sorted(ward.hospitals.items())
    ]


def report(ward, sites=None, release=None):
    sites = tuple(shown_by(ward) if sites is None else sites)
    return report_of(ward.charter, gather_records(ward.charter, sites, Sources(release)))


def paid(ward, number=1):
    """What a hospital's ledger has charged the patient who has paid most, by itself."""
    account = account_of(shown_by(ward)[number - 1].evidence)
    run = ward.charter.digest.hex()
    return max(
        costs_epsilon(costs, account.delta(name))
        for name in account.data_sets
        for costs in account.spending(name).charged(run)
    )


@pytest.fixture
def given_up(open_ward):
    """A run that was given up after its second sum, which carries counts, had come out at the third try."""
    ward = open_ward(choices=COUNTED, spec=PRIVATE_TASK, policy=ample)
    failing = [DropOut(number, round_number, Phase.REVEAL) for number in (1, 2) for round_number in (2, 3)]
    coordinator = ward.coordinator(*failing)
    while min(ward.sums) < 2:
        coordinator.run_epoch()
    return ward


def test_a_round_that_was_repeated_for_its_counts_is_in_what_is_promised(given_up):
    plan = privacy_plan(given_up.charter.charter)
    told = report(given_up).guarantee
    assert (told.rounds, told.sums) == (4, 2)
    assert told.epsilon == pytest.approx(paid(given_up))
    # Four sums would have had counts with two of them; here three rounds had.
    assert paid(given_up) > 1.2 * plan.epsilon_after(4, 4)


def test_a_sum_with_counts_that_was_made_twice_and_taken_twice_is_paid_for_twice(given_up):
    charter, plan = given_up.charter, privacy_plan(given_up.charter.charter)
    sites = shown_by(given_up)[1:]
    given_up.close()
    run, cost = charter.digest.hex(), Cost(plan.training_events(1), plan.metric_events(1))
    with Ledger(given_up.home(1).ledger, Identity.load(given_up.home(1).identity)) as ledger:
        (data_set,) = ledger.account.data_sets
        for number in (5, 6):
            ledger.charge(data_set, run, number, cost, Budget(100.0, plan.delta), NOW)
            ledger.commit(data_set, run, number, plan.delta, NOW)
        ((spent,),) = ledger.spending(data_set).charged(run)
    sites = [gather_for_others(given_up.home(1), charter, Identity.load(given_up.home(1).identity)), *sites]
    told = report(given_up, sites).guarantee
    assert told.rounds == 6
    assert told.epsilon >= cost_epsilon(spent, plan.delta) > plan.epsilon_after(6, 4)


@pytest.fixture
def on_two_states(open_ward, tmp_path):
    """A run that was given up after three rounds, the third of which a hospital paid for with a patient more."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    with (tmp_path / "data" / "h1.csv").open("a") as file:
        file.write("0.5,0.5,1\n")
    ward = open_ward()
    ward.stop_before(Phase.CONCLUDE, 0)
    return ward


def test_rounds_that_were_paid_for_with_two_states_of_a_file_are_all_in_what_is_promised(on_two_states):
    plan = privacy_plan(on_two_states.charter.charter)
    only_one = [shown_by(on_two_states)[0]]
    for told in (report(on_two_states).guarantee, report(on_two_states, only_one).guarantee):
        assert (told.rounds, told.sums) == (3, 3)
        assert told.epsilon == pytest.approx(paid(on_two_states)) == pytest.approx(plan.epsilon_after(3))


def test_the_first_figure_of_a_consortiums_report_is_what_both_states_have_cost(on_two_states):
    ward = on_two_states
    ward.close()
    identity = Identity.load(ward.home(1).identity)
    with Ledger(ward.home(1).ledger, identity) as ledger:
        for name in ledger.account.data_sets:
            ledger.release_run(name, ward.charter.digest.hex(), NOW)
    told = report(ward, [gather_for_others(ward.home(1), ward.charter, identity)])
    name, value, _ = figures_of(told)[0]
    plan = privacy_plan(ward.charter.charter)
    assert (name, value) == ("Spent or reserved in this training", no_less(plan.epsilon_after(3), 2))
    assert float(value) > max(run.epsilon for data_set in told.sites[0].data_sets for run in data_set.runs)


def unreadable(ward, number):
    """What all show, of whom one has a ledger that it cannot read, and says so."""
    sites = shown_by(ward)
    problem = Finding("ledger-altered", "Entry 1 was altered.", "ledger.sqlite", None)
    evidence = replace(sites[number - 1].evidence, ledger=None, problems=(problem,))
    sites[number - 1] = SignedEvidence(evidence, ward.hospitals[number]._identity.sign(_signed_bytes(evidence)))
    return sites


@pytest.mark.parametrize("shown", [slice(0, 4), slice(0, 1)], ids=["among readable ones", "alone"])
def test_a_ledger_that_cannot_be_read_has_paid_for_no_fewer_rounds_than_were_planned(open_ward, shown):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 2)
    told = report(ward, unreadable(ward, 1)[shown]).guarantee
    assert told.epsilon == privacy_plan(ward.charter.charter).epsilon_after(3)
    (epsilon,) = [term.value for term in told.terms if term.name == "Epsilon"]
    assert "3 rounds, as the charter plans it" in epsilon


def test_without_differential_privacy_each_round_that_was_begun_may_have_had_its_sum(open_ward):
    ward = open_ward()
    ward.coordinator().run_epoch()
    told = report(ward).guarantee
    assert told.sums == told.rounds == ward.sums[0]


def test_where_every_ledger_can_be_read_what_was_charged_is_promised_and_the_plans_figure_told_beside_it(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 1)
    told = report(ward)
    assert (told.guarantee.epsilon, told.guarantee.epsilon_of_plan) == (0, None)
    assert "fewer-sums" not in codes(told)
    ward.coordinator().run_epoch()
    told, plan = report(ward), privacy_plan(ward.charter.charter)
    assert told.guarantee.epsilon == pytest.approx(paid(ward)) == plan.epsilon_after(2)
    assert told.guarantee.epsilon_of_plan == plan.epsilon_after(3)
    assert "fewer-sums" in codes(told)


def codes(told):
    return {notice.code for notice in told.notices}


def test_control_of_a_run_that_made_all_its_sums_nothing_is_told_of_whoever_ended_it(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.coordinator().run()
    told = report(ward, release=ward.hospitals[1].release_folder)
    assert told.guarantee.epsilon_of_plan is None
    assert "fewer-sums" not in codes(told)


def own_report(ward):
    return report(ward, [gather_site(ward.home(1), ward.charter, Identity.load(ward.home(1).identity))])


def test_a_hospitals_own_report_tells_what_all_its_trainings_come_to_and_one_for_others_does_not(on_two_states):
    told = own_report(on_two_states)
    spent = max(data_set.spent for data_set in told.sites[0].data_sets)
    assert OF_ALL in told.guarantee.plain
    assert f"epsilon is {no_less(spent, 2)}, a factor of" in told.guarantee.plain
    assert OF_ALL not in report(on_two_states).guarantee.plain


@pytest.fixture
def other_training(open_ward):
    """A run that a hospital has paid for; whoever gets it may enter more into that hospital's ledger, given a run."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    ward.coordinator().run()
    ward.close()
    with Ledger(ward.home(1).ledger, Identity.load(ward.home(1).identity)) as ledger:
        yield ward, ledger


def test_what_all_come_to_is_told_at_the_largest_delta_that_any_was_charged_at(other_training):
    ward, ledger = other_training
    (data_set,) = ledger.account.data_sets
    plan = privacy_plan(ward.charter.charter)
    cost = Cost(plan.training_events(3), ())
    ledger.charge(data_set, OTHER_RUN, 1, cost, Budget(100.0, 10 * plan.delta), NOW)
    plain = own_report(ward).guarantee.plain
    spent = ledger.spending(data_set).epsilon(10 * plan.delta)
    assert spent > plan.epsilon_after(3)
    assert f"epsilon is {no_less(spent, 2)}, a factor of" in plain
    assert f", except with a probability of about {10 * plan.delta:g}. That is this training" in plain


def in_all(plain):
    """The figures that are told of all trainings: of what was run, and of the whole plan if that is told too."""
    found = re.search(OF_ALL + r", epsilon is ([0-9.]+), .*?(?:showed, it is ([0-9.]+),.*)?$", plain)
    return [float(figure) for figure in found.groups() if figure]


def test_of_all_trainings_of_which_this_one_ended_early_no_less_is_told_than_this_one_may_have_cost(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    ward.coordinator().run_epoch()
    ward.close()
    run, plan = ward.charter.digest.hex(), privacy_plan(ward.charter.charter)
    with Ledger(ward.home(1).ledger, Identity.load(ward.home(1).identity)) as ledger:
        (data_set,) = ledger.account.data_sets
        ledger.release_run(data_set, run, NOW)
        assert in_all(own_report(ward).guarantee.plain) == [
            float(no_less(plan.epsilon_after(rounds), 2)) for rounds in (2, 3)
        ]
        ledger.charge(data_set, OTHER_RUN, 1, Cost(plan.training_events(4), ()), Budget(100.0, plan.delta), NOW)
    assert in_all(own_report(ward).guarantee.plain) == [
        float(no_less(plan.epsilon_after(rounds), 2)) for rounds in (6, 7)
    ]


@pytest.mark.parametrize("protected", [True, False])
def test_trainings_of_other_patients_are_none_of_theirs(other_training, protected):
    """A hospital may have several lists without a patient in common, and one ledger."""
    ward, ledger = other_training
    plan, strangers = privacy_plan(ward.charter.charter), PatientList.of([[bytes(16)]])
    name = ledger.enrol(strangers)
    if protected:
        ledger.charge(name, OTHER_RUN, 1, Cost(plan.training_events(9), ()), Budget(100.0, plan.delta), NOW)
    else:
        ledger.note_unprotected(name, OTHER_RUN, 1, 1e-5, NOW)
    plain = own_report(ward).guarantee.plain
    assert in_all(plain) == [float(no_less(plan.epsilon_after(3), 2))]
    assert "For all trainings at this hospital" not in plain


@pytest.mark.parametrize("other", [None, "d" * 64], ids=["same records", "records of nobody knows whom"])
def test_a_training_without_differential_privacy_leaves_no_epsilon_for_all_together(other_training, other):
    ward, ledger = other_training
    (data_set,) = ledger.account.data_sets
    assert OF_ALL in own_report(ward).guarantee.plain
    ledger.note_unprotected(other or data_set, OTHER_RUN, 1, 1e-5, NOW)
    plain = own_report(ward).guarantee.plain
    assert OF_ALL not in plain
    assert plain.endswith("no epsilon covers all of their trainings together.")


def test_a_release_that_states_fewer_rounds_than_a_ledger_has_makes_no_promise_smaller(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.coordinator().run()
    folder = ward.hospitals[1].release_folder
    stated = replace(verify_release(folder).statement.predicate, rounds=1, sums=1)
    payload = statement_bytes((folder / MODEL_FILE).read_bytes(), stated)
    signed = assemble(payload, [attest(payload, hospital._identity) for hospital in ward.hospitals.values()])
    (folder / STATEMENT_FILE).write_bytes(signed.to_json())
    told = report(ward, release=folder)
    assert "understated-rounds" in {finding.reason for finding in told.findings}
    assert told.guarantee.epsilon >= paid(ward)
