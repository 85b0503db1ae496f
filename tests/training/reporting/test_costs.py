"""A ledger that charges a round with less than the charter says that it costs is found, and an honest one is not."""

from __future__ import annotations

import math
from dataclasses import replace as changed

import pytest
from msgspec.structs import replace

from cli.report_page import render_page
from cli.report_words import figures_of
from dp.ledger import Budget, Cost, Kind
from dp.ledger.entries import LEDGER
from dp.ledger.spending import cost_epsilon
from secagg.identity import Identity
from secagg.release.checkpoints import CHECKPOINTS_FILE
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK, choices_of, training_of
from tests.support.shown_records import evidence_of, found, report, showing, states, written_anew
from training.engines.base import Phase
from training.engines.embedded import DropOut
from training.privacy_plan import privacy_plan
from training.reporting import computing
from training.reporting.document import make_document, verify_document
from training.reporting.evidence import gather_site
from training.reporting.records import Sources, gather_records

OF_H2 = "h2: ledger, compared with what a round costs"
UNDERCHARGED = [("undercharged-round", "h2")]
DISTRIBUTED = choices_of(
    training_of(local_steps=1), privacy="distributed", epsilon=8.0, sampling_rate=0.5, expected_batch=30
)
COUNTED = replace(PRIVATE_CHOICES, metrics="noisy")
COUNTED_AT_TIMES = replace(PRIVATE_CHOICES, metrics="noisy", metrics_every=2)


@pytest.fixture
def ward_of(open_ward):
    """Four hospitals under some choices, before a run with differential privacy that their policies have room for."""

    def ample(policy):
        return replace(policy, maximum_epsilon=1000.0)

    return lambda choices=PRIVATE_CHOICES: open_ward(choices=choices, spec=PRIVATE_TASK, policy=ample)


# What an honest hospital charges


HONEST = {
    "local": PRIVATE_CHOICES,
    "distributed": DISTRIBUTED,
    "with counts in each sum": COUNTED,
    "with counts in some": COUNTED_AT_TIMES,
    "distributed, with counts": replace(DISTRIBUTED, metrics="noisy", metrics_every=2),
    "with a target": replace(COUNTED, target=0.01),
}


@pytest.mark.parametrize("choices", HONEST.values(), ids=HONEST)
def test_control_of_honest_hospitals_of_which_one_dropped_out_nothing_is_found(ward_of, choices):
    ward = ward_of(choices)
    failed = [DropOut(number, 2, Phase.REVEAL) for number in (1, 2)]
    ward.coordinator(DropOut(2, 1, Phase.MASK), *failed).run()
    for given in ({}, {"transcript": False}, {"release": False}):
        told = report(ward, **given)
        assert found(told) == []
        assert states(told)["h3: ledger, compared with what a round costs"] == "whole"
    own = gather_site(ward.home(2), ward.charter, ward.hospitals[2]._identity)
    assert found(report(ward, (own,))) == []


def test_control_without_differential_privacy_a_round_is_entered_as_one_without(finished):
    told = report(finished)
    assert (found(told), states(told)[OF_H2]) == ([], "whole")


def test_control_a_hospital_that_charges_more_than_it_has_to_is_none(private):
    def dearer(entry):
        if entry.kind is not Kind.CHARGE:
            return entry
        event = entry.cost.training[0]
        return replace(entry, cost=Cost((replace(event, noise_multiplier=0.9 * event.noise_multiplier),)))

    sites = rewritten(private, 2, dearer)
    assert found(report(private, sites, release=False)) == []


# What another charges


def charging_nothing(budget):
    budget._cost = lambda _rounds, _releases: Cost()


def charging_as_if_there_were_more_noise(budget):
    budget._plan = changed(budget._plan, noise_multiplier=1.01 * budget._plan.noise_multiplier)


def charging_at_another_delta(budget):
    budget._budget = Budget(budget._budget.epsilon, 0.9)


def noting_that_there_is_no_privacy(budget):
    budget._private = False


LIES = (
    charging_nothing,
    charging_as_if_there_were_more_noise,
    charging_at_another_delta,
    noting_that_there_is_no_privacy,
)


@pytest.mark.parametrize("lie", LIES)
def test_a_hospital_that_charges_its_rounds_with_less_than_they_cost_is_found_with_their_numbers(ward_of, lie):
    ward = ward_of()
    lie(ward.hospitals[2]._budget)
    ward.coordinator().run()
    for given in ({}, {"transcript": False}, {"release": False}):
        told = report(ward, **given)
        assert found(told) == UNDERCHARGED
        assert told.findings[0].message.endswith(": 1, 2, 3.")
        assert states(told)[OF_H2] == "wrong"


def test_control_where_only_numbers_of_rounds_are_looked_at_a_ledger_that_spent_nothing_is_intact(ward_of, monkeypatch):
    ward = ward_of()
    charging_nothing(ward.hospitals[2]._budget)
    ward.coordinator().run()
    monkeypatch.setattr(computing, "check_costs", lambda *_: None)
    told = report(ward)
    assert found(told) == []
    assert "intact" in render_page(make_document(ward.charter, records(ward)))
    (spent,) = (data_set.spent for site in told.sites if site.name == "h2" for data_set in site.data_sets)
    assert spent == 0.0


def records(ward, sites=None):
    shown = evidence_of(ward) if sites is None else sites
    return gather_records(ward.charter, shown, Sources(None, ward.folder / "coordinator/transcript"))


@pytest.mark.parametrize("choices", [COUNTED, COUNTED_AT_TIMES], ids=["in each sum", "in some sums"])
def test_a_hospital_that_does_not_charge_for_counts_is_found(ward_of, choices):
    ward = ward_of(choices)
    plan = privacy_plan(ward.charter.charter)
    ward.hospitals[2]._budget._cost = lambda rounds, _releases: Cost(plan.training_events(rounds))
    ward.coordinator().run()
    assert found(report(ward)) == UNDERCHARGED
    assert found(report(ward, transcript=False)) == UNDERCHARGED


def test_one_that_missed_a_sum_with_counts_is_asked_for_no_more_than_the_others(ward_of):
    ward = ward_of(COUNTED_AT_TIMES)
    ward.coordinator(DropOut(2, 2, Phase.MASK)).run()
    told = report(ward)
    assert found(told) == []


@pytest.fixture
def with_retried_rounds(ward_of):
    """A run of four sums, of which its first two rounds gave none; and what all exported after its fourth round."""
    ward = ward_of(replace(COUNTED_AT_TIMES, training=replace(COUNTED_AT_TIMES.training, rounds=4)))
    for number in (1, 2):
        ward.stop_before(Phase.REVEAL, number)
    ward.stop_before(Phase.MASK, 5)
    sites = evidence_of(ward)
    ward.coordinator().run()
    return ward, sites


@pytest.mark.parametrize("checkpoints", [True, False], ids=["beside checkpoints", "without"])
def test_one_whose_export_is_from_before_the_last_counts_is_not_said_to_have_left_them_out(
    with_retried_rounds, checkpoints
):
    ward, sites = with_retried_rounds
    charged = [entry for entry in sites[1].evidence.ledger.entries if entry.kind is Kind.CHARGE]
    assert (len(charged), sum(bool(entry.cost.metrics) for entry in charged)) == (4, 1)
    if not checkpoints:
        (ward.hospitals[1].release_folder / CHECKPOINTS_FILE).unlink()
    for given in ({}, {"transcript": False}):
        assert "undercharged-round" not in {reason for reason, _ in found(report(ward, sites, **given))}
    assert found(report(ward)) == []


def test_a_round_without_differential_privacy_that_is_charged_as_if_it_had_is_found(finished):
    def as_charge(entry):
        assert entry.kind is not Kind.CHARGE
        return replace(entry, kind=Kind.CHARGE) if entry.kind is Kind.UNPROTECTED else entry

    assert found(report(finished, rewritten(finished, 2, as_charge), release=False)) == UNDERCHARGED


def rewritten(ward, number, change):
    """What all show, of whom one wrote its ledger with other entries."""
    entries = map(change, evidence_of(ward)[number - 1].evidence.ledger.entries)
    identity = Identity.load(ward.home(number).identity)
    return showing(ward, number, ledger=written_anew(filter(None, entries), LEDGER, identity))


def test_a_reservation_at_another_delta_which_makes_all_that_is_spent_look_small_is_found(private):
    def at_another(entry):
        return replace(entry, delta=0.9) if entry.kind is Kind.RESERVE else entry

    told = report(private, rewritten(private, 2, at_another), release=False)
    assert found(told) == UNDERCHARGED
    spent = {site.name: site.data_sets[0].spent for site in told.sites}
    assert spent["h2"] < spent["h1"]


# A cost without limit


@pytest.mark.parametrize("noise", [0.0, 1e-60])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("kind", [Kind.RESERVE, Kind.CHARGE])
def test_a_hospital_that_says_that_there_was_no_noise_is_named_and_all_others_have_their_report(
    private, tmp_path, kind, closed, noise
):
    def without_noise(entry):
        if entry.kind is not kind:
            return None if entry.kind is Kind.CLOSE and not closed else entry
        return replace(entry, cost=Cost((replace(entry.cost.training[0], noise_multiplier=noise),)))

    honest = report(private, release=False)
    sites = rewritten(private, 2, without_noise)
    told = report(private, sites, release=False)
    assert found(told) == [("no-finite-epsilon", "h2")]
    assert {site.name: len(site.data_sets) for site in told.sites} == {"h1": 1, "h2": 0, "h3": 1, "h4": 1}
    assert figures_of(told)[0] == figures_of(honest)[0]
    document = make_document(private.charter, records(private, sites))
    assert "no-finite-epsilon" in render_page(document)
    path = tmp_path / "report.json"
    path.write_bytes(document.to_json())
    assert verify_document(path, private.charter, Sources()) == document


def test_control_what_it_spent_would_be_infinite(private):
    entry = next(entry for entry in evidence_of(private)[1].evidence.ledger.entries if entry.kind is Kind.CHARGE)
    cost = Cost((replace(entry.cost.training[0], noise_multiplier=0.0),))
    assert cost_epsilon(cost, entry.delta) == math.inf
