"""What a charter promises patients is never told as less than it costs."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from dp.stated import no_less, odds
from secagg.charter import Charter, Member, Metrics, Privacy, Statistics, Training
from tests.support.consortium import make_charter, make_identities
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter
from training.privacy_plan import privacy_plan
from training.reporting.guarantee import guarantee_of
from training.reporting.plain_language import paragraph
from training.reporting.privacy_loss import InAll, InLedger, privacy_loss

IDENTITIES = make_identities(4)
UNIFORM = Training(rounds=3, weighting="uniform")
LOCAL = make_charter(IDENTITIES, training=UNIFORM, privacy=Privacy(mode="local", noise_multiplier=1.0, budget=8.0))


@pytest.mark.parametrize("epsilon", [0.004, 0.04, 0.3, 2.174490, 5.3, 12.0])
def test_epsilon_and_the_change_of_odds_are_at_least_the_true_ones(epsilon):
    loss = replace(privacy_loss(LOCAL, 3, 3, "charged", None), epsilon=epsilon, of_exchange=2.5 * epsilon)
    told = re.search(
        r"here ([0-9.]+), .* a factor of at most ([0-9.,]*[0-9]), except .* at most ([0-9.,]+) \(epsilon ([0-9.]+)\)",
        paragraph(LOCAL, loss),
    )
    for true, stated, factor in ((epsilon, told[1], told[2]), (2.5 * epsilon, told[4], told[3])):
        assert true <= float(stated) < true + 0.01001
        assert math.exp(true) <= float(factor.replace(",", "")) <= 1.01 * math.exp(true)


def with_target() -> Charter:
    privacy = Privacy(mode="local", noise_multiplier=1.0, budget=8.0, metric_noise_multiplier=30.0)
    metrics = Metrics(release="noisy", cells=2, target=0.8)
    return make_charter(IDENTITIES, training=UNIFORM, privacy=privacy, metrics=metrics)


def term(charter, name: str, rounds: int = 3, sums: int = 3) -> str:
    (told,) = (term.value for term in guarantee_of(charter, rounds, sums).terms if term.name == name)
    return told


def test_a_run_that_its_target_may_end_costs_what_it_would_had_it_gone_on():
    charter = with_target()
    plan = privacy_plan(charter)
    assert guarantee_of(charter, 1, 1).epsilon == plan.epsilon_after(3) > plan.epsilon_after(1)
    # A round without a sum was paid for, and the three sums were still to come.
    assert guarantee_of(charter, 2, 1).epsilon == plan.epsilon_after(4, 3)
    assert guarantee_of(charter, 4, 3).epsilon == plan.epsilon_after(4, 3)
    assert "for 3 rounds, all that there may be" in term(charter, "Epsilon", 1, 1)


def test_without_a_target_it_costs_the_rounds_that_were_paid_for_unless_whoever_ended_it_chose_by_the_sums():
    plan = privacy_plan(LOCAL)
    guarantee = guarantee_of(LOCAL, 2, 1)
    assert guarantee.epsilon == plan.epsilon_after(2, 1)
    # A round without a sum was paid for, and the plan has three sums.
    assert guarantee.epsilon_of_plan == plan.epsilon_after(4, 3) > guarantee.epsilon
    told = no_less(guarantee.epsilon_of_plan, 4)
    chosen = "if whoever ended the training chose the moment by what the sums showed, at most"
    assert f"for the 2 rounds that were charged; {chosen} {told}, the plan's; " in term(LOCAL, "Epsilon", 2, 1)
    assert "has made 1 of the 3 sums" in guarantee.plain
    assert f"epsilon is {no_less(guarantee.epsilon_of_plan, 2)} at most" in guarantee.plain


@pytest.mark.parametrize("run", [(3, 3), (4, 3), (0, 0)], ids=["all sums", "a round repeated", "nothing charged"])
def test_control_of_a_run_that_nobody_ended_early_there_is_one_figure_only(run):
    guarantee = guarantee_of(LOCAL, *run)
    assert guarantee.epsilon_of_plan is None
    assert "ended" not in guarantee.plain
    assert "ended" not in term(LOCAL, "Epsilon", *run)


def test_control_where_a_target_may_end_it_the_plans_is_the_one_figure():
    assert guarantee_of(with_target(), 1, 1).epsilon_of_plan is None


def test_it_is_said_whether_what_is_released_decides_how_many_rounds_there_are():
    assert term(LOCAL, "Interactivity").startswith("3 sums, by the charter. ")
    assert "it ends once the noisy validation counts come to 0.8" in term(with_target(), "Interactivity")


def shared_noise() -> Charter:
    choices = choices_of(training_of(), privacy="distributed", epsilon=3.0, sampling_rate=0.5, expected_batch=20)
    members = [Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(IDENTITIES, 1)]
    return draft_charter(choices, members, tabular_spec(**BOUNDED))


@pytest.mark.parametrize("charter", [LOCAL, shared_noise()], ids=["local", "distributed"])
def test_it_is_said_what_an_exchange_of_one_patient_for_another_costs_and_no_less(charter):
    told = float(re.search(r"of ([0-9.]+) at most", term(charter, "Exchange of one patient for another"))[1])
    exact = privacy_plan(charter).epsilon_of_exchange(3)
    assert 2 * guarantee_of(charter, 3, 3).epsilon < exact <= told < exact + 0.0001001


def with_local_noise() -> Charter:
    choices = choices_of(training_of(), privacy="local", epsilon=3.0, sampling_rate=0.5)
    members = [Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(IDENTITIES, 1)]
    return draft_charter(choices, members, tabular_spec(test_fraction=0.25, **BOUNDED))


def test_with_local_noise_an_exchange_is_promised_only_of_two_on_the_same_side():
    charter = with_local_noise()
    told = term(charter, "Exchange of one patient for another")
    assert "where both would be trained on or both held back for validation" in told
    assert "Of one who would be trained on and one who would be held back nothing is promised" in told
    plain = guarantee_of(charter, 3, 3).plain
    assert "if both would be trained on or both held back for validation. If one" in plain
    assert "no number limits that" in plain


def test_with_shared_noise_it_is_promised_of_any_two():
    told = term(shared_noise(), "Exchange of one patient for another")
    assert "also where one of the two would be trained on and the other held back for validation, unless" in told
    assert "held back" not in guarantee_of(shared_noise(), 3, 3).plain


def test_with_shared_noise_it_is_said_that_the_batch_size_is_public_and_tells_about_how_many_train():
    charter = shared_noise()
    assert term(charter, "Neighbouring data sets").endswith("the batch size, which is public, is the same for both")
    exact = "was computed from the exact number"
    assert exact in term(charter, "Exchange of one patient for another")
    assert any(
        "how many patients train" in text and exact in text for text in guarantee_of(charter, 3, 3).not_protected
    )


@pytest.mark.parametrize("charter", [LOCAL, make_charter(IDENTITIES)], ids=["local", "none"])
def test_control_where_sums_are_not_divided_by_it_nothing_is_said_of_a_batch_size(charter):
    assert "batch size" not in str(guarantee_of(charter, 3, 3))


@pytest.mark.parametrize("charter", [LOCAL, shared_noise()], ids=["local", "distributed"])
def test_a_factor_of_thousands_is_not_called_near(charter):
    told = guarantee_of(charter, 3, 3).plain
    assert "nearly" not in told
    assert "It limits how much more or less likely the finished model would be to come out" in told


@pytest.mark.parametrize("charter", [LOCAL, shared_noise()], ids=["local", "distributed"])
def test_what_is_promised_is_of_this_training_and_others_come_on_top(charter):
    guarantee = guarantee_of(charter, 3, 3)
    assert "all that left the hospitals in this training" in guarantee.plain
    assert any("other trainings comes on top" in text for text in guarantee.assumptions)
    assert "trainings at this hospital" not in guarantee.plain
    told = guarantee_of(charter, 3, 3, in_all=InAll(42.972, 1e-4)).plain
    assert (
        "For the patients of this training, over all trainings at this hospital that they were or may have been" in told
    )
    assert f"epsilon is 42.98, a factor of {odds(42.972)}, except with a probability of about 0.0001." in told
    assert "whoever ended" not in told


def test_what_all_come_to_is_told_of_the_whole_plan_too_where_whoever_ended_this_one_may_have_chosen():
    told = guarantee_of(LOCAL, 2, 1, in_all=InAll(5.0, 1e-4, 7.0)).plain
    assert told.endswith(f"chose the moment by what the sums showed, it is 7.00, and the factor {odds(7.0)}.")


def test_where_one_of_them_has_no_differential_privacy_no_epsilon_is_told_of_all():
    told = guarantee_of(LOCAL, 3, 3, in_all=InAll(None, 1e-5)).plain
    assert "This hospital has also trained without differential privacy" in told
    assert told.endswith("no epsilon covers all of their trainings together.")
    assert "over all trainings at this hospital" not in told
    told = guarantee_of(LOCAL, 4, 3, "stated", InAll(None, 1e-5, ledger=InLedger(3, 2.5))).plain
    assert "in all their trainings here" not in told


NO_NOISE = make_charter(IDENTITIES)


@pytest.mark.parametrize("charter", [LOCAL, shared_noise(), NO_NOISE], ids=["local", "distributed", "none"])
def test_it_is_said_that_nothing_hides_how_long_a_hospital_takes(charter):
    assert any("How long a hospital takes" in text for text in guarantee_of(charter, 3, 3).not_protected)


def test_where_the_number_of_patients_is_public_the_promise_is_about_their_records():
    assert "replaced by nothing" in term(LOCAL, "Neighbouring data sets")
    assert "had been blank" in guarantee_of(LOCAL, 3, 3).plain
    assert "add or remove" in term(shared_noise(), "Neighbouring data sets")
    assert "had not been there" in guarantee_of(shared_noise(), 3, 3).plain


def test_of_shared_noise_it_is_said_what_a_patient_of_two_hospitals_costs():
    charter = shared_noise()
    guarantee = guarantee_of(charter, 3, 3)
    (told,) = (text for text in guarantee.assumptions if "two hospitals" in text)
    both = float(re.search(r"up to ([0-9.]+) for a patient known to exactly two hospitals, which", told)[1])
    assert privacy_plan(charter).epsilon_at_two_hospitals(3) <= both
    assert both > 2 * guarantee.epsilon
    assert told.endswith("For one known to more it is higher, and grows faster than their number.")
    assert "any one row at the hospital had not been there" in guarantee.plain


def drafted(privacy: str, **data: object) -> Charter:
    batch = {"expected_batch": 20} if privacy == "distributed" else {}
    choices = choices_of(training_of(), privacy=privacy, epsilon=3.0, sampling_rate=0.5, **batch)
    members = [Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(IDENTITIES, 1)]
    return draft_charter(choices, members, tabular_spec(**BOUNDED, **data))


@pytest.mark.parametrize(("privacy", "gone"), [("local", "had been blank"), ("distributed", "had not been there")])
def test_where_the_task_names_no_patient_column_a_row_is_promised_and_no_patient(privacy, gone):
    charter = drafted(privacy)
    guarantee = guarantee_of(charter, 3, 3)
    assert term(charter, "Unit of privacy") == "one row at the hospital"
    assert term(charter, "A patient is") == "each row: the task names no patient column"
    assert f"if any one row at the hospital {gone}" in guarantee.plain
    assert "A patient here is each row: the task names no patient column." in guarantee.plain
    assert any(text.startswith("Each row is another person's") for text in guarantee.assumptions)
    assert "of the patient's" not in str(guarantee)


@pytest.mark.parametrize(("privacy", "gone"), [("local", "had been blank"), ("distributed", "had not been there")])
def test_where_it_names_one_a_patient_is_promised_with_all_rows(privacy, gone):
    charter = drafted(privacy, patient="who")
    guarantee = guarantee_of(charter, 3, 3)
    assert term(charter, "A patient is") == "all rows at a hospital with one 'who'"
    assert f"if any one patient with all of the patient's rows at the hospital {gone}" in guarantee.plain
    assert "The column 'who' really tells patients apart." in guarantee.assumptions
    assert "each row" not in str(guarantee)


def test_of_noise_that_each_adds_by_itself_that_it_is_at_most_the_sum():
    assert any("at most the sum of all" in text for text in guarantee_of(LOCAL, 3, 3).assumptions)


@pytest.mark.parametrize("charter", [LOCAL, shared_noise(), NO_NOISE], ids=["local", "distributed", "none"])
def test_it_is_said_that_one_hospital_which_helps_to_forge_a_sum_is_enough_for_an_update(charter):
    beyond, forged = (text for text in guarantee_of(charter, 3, 3).not_protected if "single hospital's update" in text)
    assert "against more than 1 hospital colluding" in beyond
    assert "over several rounds, against one hospital that helps the coordinator to forge a sum" in forged
    # A difference of sums has the noise of both.
    assert forged.endswith("as promised." if charter is not NO_NOISE else "no noise hides its patients then.")


def test_with_one_key_for_all_a_single_hospital_needs_no_forged_sum():
    told = guarantee_of(make_charter(IDENTITIES, scheme="bfv"), 3, 3).not_protected
    assert any("with a single hospital: all have one key" in text for text in told)
    assert not any("forge" in text for text in told)


COUNTS = {
    "weights": (
        {"training": Training(rounds=3, weighting="records")},
        "how many patients were trained on, counting 10,000 of a hospital at most",
    ),
    "metrics": (
        {"training": UNIFORM, "metrics": Metrics(release="exact", cells=2)},
        "how many were held back for validation, and for how many of these the model was right, or, with AUC, how "
        "many of them have each class and score",
    ),
    "statistics": (
        {"training": UNIFORM, "statistics": Statistics(features=2)},
        "how many rows there are, in the sum of statistics",
    ),
}


@pytest.mark.parametrize(("settings", "totals"), COUNTS.values(), ids=COUNTS)
def test_of_what_sums_show_of_numbers_of_patients_it_is_said_that_nothing_hides_it(settings, totals):
    told = guarantee_of(make_charter(IDENTITIES, **settings), 3, 3).not_protected
    (line,) = (text for text in told if "Numbers of patients" in text)
    assert f"over all hospitals in it: {totals}." in line


@pytest.mark.parametrize("charter", [LOCAL, shared_noise(), make_charter(IDENTITIES, training=UNIFORM)])
def test_where_sums_show_no_numbers_of_patients_it_is_not_said(charter):
    assert not any("Numbers of patients" in text for text in guarantee_of(charter, 3, 3).not_protected)
