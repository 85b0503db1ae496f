"""What is recommended to consortia of several kinds, and that a charter takes it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from dp.integer_noise import integer_noise
from secagg.charter.contradictions import MOST_OPENINGS
from secagg.encoding import Layout, Ring, Section
from secagg.errors import InputError
from secagg.masking.sizes import round_traffic
from secagg.policy import Policy
from training.choices import USUAL_FIELD_BITS, USUAL_WEIGHT
from training.costs.links import Link, Network, transfer_time
from training.dropout import count_dropped
from training.recommending import recommendation
from training.recommending.drafting import drafted, fitting_width
from training.recommending.recommendation import recommend
from training.recommending.wishes import Budget, Wishes, delta_of

DSL = Network(Link(16e6, 2e6), Link(1e9, 1e9), 0.04)
FAST = Network(Link(1e9, 1e9), Link(10e9, 10e9), 0.01)
FOUR = Wishes(4, 10_000, 1, 0.0, 20, DSL)
FORTY = Wishes(40, 15_000, 1, 0.1, 300, FAST, budget=Budget(3.0, None, 4708, 0.1))


def options_of(wishes: Wishes) -> dict[str, str]:
    options = recommend(wishes).options
    return dict(zip(options[::2], options[1::2], strict=True))


def test_four_hospitals_on_slow_lines_mask_and_share_a_key_set_up_over_several_rounds():
    options = options_of(FOUR)
    assert (options["--scheme"], options["--threshold"], options["--field-bits"]) == ("mask", "3", "24")
    assert int(options["--epoch-rounds"]) > 1
    assert options["--dp"] == "none"


def test_where_no_noise_is_recommended_it_is_told_that_no_default_policy_signs():
    assert "under a site's default policy such a charter cannot be signed" in recommend(FOUR).choices[-1].why
    assert options_of(FOUR)["--dp"] not in Policy().allowed_privacy_modes
    assert "policy" not in recommend(FORTY).choices[-1].why


def test_a_coordinator_that_is_to_see_nothing_gets_double_lock():
    assert options_of(replace(FOUR, coordinator_sees="nothing"))["--scheme"] == "double-lock"


def test_forty_hospitals_with_a_budget_share_the_noise_of_one_curator():
    found = recommend(FORTY)
    options = options_of(FORTY)
    assert (options["--dp"], options["--batch-size"], options["--threshold"]) == ("distributed", "470", "21")
    # Surplus noise is removed again, and that costs shares: the plan says so.
    assert found.plan.shape.noise_levels == (36,)
    assert "5.9 times the noise" in found.choices[-1].instead


@pytest.mark.parametrize("seen", ["sum", "nothing"])
def test_the_noise_that_is_told_is_that_which_survivors_draw(seen):
    """36 of 40 hospitals: under double-lock all that they draw stays in the sum, under mask what 36 need."""
    wishes = replace(FORTY, coordinator_sees=seen)
    found = recommend(wishes)
    shares = drafted(wishes, found.plan.shape.scheme).shares
    random = np.random.default_rng(1)
    total = sum(integer_noise(random, shares.noise, shares.dimension, shares.variances[0]) for _ in range(36))
    told = float(re.search(r"When 36 hospitals answer, .* deviation of ([0-9.e-]+) of", found.choices[-1].why)[1])
    # It is told to two digits.
    assert told == pytest.approx(total.std() / shares.steps_per_clip / 470, rel=0.04)


def test_what_noise_costs_under_the_other_scheme_is_told_where_it_is_another():
    mask, hidden = (recommend(replace(FORTY, coordinator_sees=seen)).choices for seen in ("sum", "nothing"))
    assert "down, 1.3 times the noise" in mask[0].instead
    assert "down, 0.76 times the noise" in hidden[0].instead
    assert "noise" not in recommend(FOUR).choices[0].instead
    assert "4.5 times the noise" in hidden[-1].instead


def test_two_hundred_hospitals_mask_with_neighbours():
    found = recommend(Wishes(200, 15_000, 10, 0.1, 20, FAST))
    assert found.plan.shape.graph is not None
    assert f"Each masks with {found.plan.shape.peers:.0f} neighbours" in found.choices[1].why


def test_a_higher_threshold_is_an_alternative_only_where_there_is_one():
    assert "a higher one: sums over larger crowds, and no sum where 1 is missing" in recommend(FOUR).choices[1].instead
    for wishes in (replace(FOUR, members=3), replace(FOUR, members=5, colluding=3)):
        choice = recommend(wishes).choices[1]
        assert choice.value == f"{wishes.members} of {wishes.members}"
        assert choice.instead.startswith("more hospitals, or fewer that may collude")


def test_large_factors_are_told_in_full():
    scheme = recommend(Wishes(1000, 1, 1, 0.1, 20, FAST)).choices[0]
    assert re.search(r" and [1-9]\d0 times down,", scheme.instead), scheme.instead
    drowned = recommend(replace(FORTY, parameters=10_000_000, budget=Budget(1.0, None, 600, 0.1))).choices[-1]
    assert not re.search(r"e\+\d", drowned.why)


def test_less_epsilon_takes_more_noise():
    noise = []
    for epsilon in (8.0, 1.0):
        choice = recommend(replace(FORTY, budget=Budget(epsilon, None, 4708, 0.1))).choices[-1]
        noise.append(float(choice.value.split()[-1]))
    assert noise[1] > 2 * noise[0]


def test_the_delta_of_the_reason_is_that_of_the_command():
    budget = Budget(3.0, None, 67_200, 0.01)
    noise = recommend(replace(FORTY, budget=budget)).choices[-1]
    told = float(re.search(r"at delta ([0-9.e-]+)\.", noise.why)[1])
    assert told == float(noise.options[noise.options.index("--delta") + 1]) == pytest.approx(delta_of(budget), rel=1e-5)


def test_noise_that_training_would_drown_in_is_told():
    few = replace(FORTY, parameters=10_000_000, budget=Budget(1.0, None, 600, 0.1))
    assert "drown" in recommend(few).choices[-1].why
    assert "drown" not in recommend(FORTY).choices[-1].why


def test_secrets_of_encryption_open_no_more_sums_than_a_charter_allows():
    options = options_of(Wishes(400, 10, 1, 0.0, 1000, FAST, coordinator_sees="nothing"))
    assert 400 * int(options["--epoch-rounds"]) <= MOST_OPENINGS


def test_an_epoch_that_saves_no_time_is_said_to_take_the_same():
    large = recommend(replace(FOUR, parameters=10_000_000)).choices[3]
    assert large.instead.startswith("2: the same time per round")
    assert " times the time per round" in recommend(FOUR).choices[3].instead


@pytest.mark.parametrize(
    "wishes",
    [
        replace(FORTY, parameters=200_000, network=DSL, budget=Budget(3.0, None, 100_000, 0.1)),
        replace(FORTY, parameters=1_000_000, network=DSL, budget=None),
        Wishes(5, 1_000_000, 1, 0.0, 20, DSL, coordinator_sees="nothing"),
    ],
    ids=["private", "wider", "encrypted"],
)
def test_of_a_round_that_is_too_long_it_is_said_how_many_parameters_fit_and_they_do(wishes):
    """On lines so slow that it is they who decide, whatever this machine is doing."""
    wished = replace(wishes, round_seconds=recommend(wishes).round_time.total / 3)
    found = recommend(wished)
    assert found.fits is False
    assert recommend(replace(wished, parameters=found.shortest)).fits
    # And not many more.
    assert not recommend(replace(wished, parameters=round(1.5 * found.shortest))).fits


def test_where_the_set_up_alone_takes_too_long_no_parameters_fit():
    assert recommend(replace(FOUR, network=DSL, round_seconds=0.01)).shortest == 0


def test_a_machine_that_is_slower_the_second_time_is_not_asked_for_ever(monkeypatch):
    """One parameter was within the limit when it was measured first, and is not when it is measured again."""
    again = iter([1.0, 2.0, 1.1, 1.1])
    monkeypatch.setattr(recommendation, "_seconds", lambda *_: next(again))
    assert recommendation._fitting(replace(FOUR, parameters=2), 1.05, 3.0) == 1


@pytest.mark.parametrize(("rounds", "epoch", "set_ups"), [(3, 1000, 1), (21, 20, 2), (40, 20, 2)])
def test_a_round_bears_its_part_of_all_key_set_ups_of_the_run(rounds, epoch, set_ups):
    """Keys are set up for a whole epoch, however many rounds of it the run still has."""
    found = recommend(replace(FOUR, rounds=rounds, epoch_rounds=epoch))
    times, plan = found.plan.times, found.plan
    each = times.set_up + times.coordinator_set_up + transfer_time(plan.set_up, 4, DSL)
    assert found.round_time.set_up == pytest.approx(each * set_ups / rounds)


def test_numbers_that_were_given_are_those_of_the_command_to_the_last_digit():
    budget = Budget(2.9999999, 1.23456789e-6, 5000, 0.054375531)
    wishes = replace(FORTY, members=30, dropout=0.33333333333, budget=budget)
    options = options_of(wishes)
    told = [float(options[name]) for name in ("--dropout", "--epsilon", "--delta", "--sampling-rate")]
    assert told == [wishes.dropout, budget.epsilon, budget.delta, budget.sampling_rate]
    # With a digit less, one fewer would drop out, and noise would be removed for another number of survivors.
    assert count_dropped(30, 1, told[0]) == 10


def test_a_delta_that_nobody_gave_is_drafted_with_as_it_is_told():
    budget = Budget(3.0, None, 67_200, 0.01)
    options = options_of(replace(FORTY, budget=budget))
    assert float(options["--delta"]) == delta_of(budget) == drafted(replace(FORTY, budget=budget), "mask").privacy.delta
    assert len(options["--delta"]) <= len("1.23456e-06")


def test_what_was_given_is_kept():
    options = options_of(replace(FOUR, field_bits=32, epoch_rounds=3))
    assert (options["--field-bits"], options["--epoch-rounds"]) == ("32", "3")


LARGE = Wishes(4, 10**8, 1, 0.1, 20, FAST, budget=Budget(3.0, None, 5000, 0.1))


@pytest.mark.parametrize("parameters", [10**8, 3 * 10**8])
def test_where_rounding_costs_noise_in_every_width_the_one_is_taken_in_which_it_costs_least(parameters):
    """In 24 bits it costs more than half of the noise again, or there is no room at all."""
    found = drafted(replace(LARGE, parameters=parameters), "mask")
    assert (found.encoding.field_bits, found.shares.field_bits) == (32, 32)
    wider = replace(found.shares, field_bits=40)
    assert 1.01 < found.shares.inflation <= wider.inflation < 1.1


@pytest.mark.parametrize("epsilon", [0.1, 0.11])
def test_of_a_scheme_whose_noise_no_field_has_room_for_it_is_said_that_it_is_not_possible(epsilon):
    """Under mask there is room: with levels, no share of a hospital's noise is as large as under double-lock."""
    wishes = replace(LARGE, members=40, budget=Budget(epsilon, None, 5000, 0.1), epoch_rounds=10)
    scheme = recommend(wishes).choices[0]
    assert scheme.value == "mask"
    assert "double-lock is not possible: A field of 32 bits has no room" in scheme.instead
    with pytest.raises(InputError, match="no room") as caught:
        recommend(replace(wishes, coordinator_sees="nothing"))
    assert caught.value.reason == "field-too-narrow"


def test_how_much_rounding_raises_the_noise_is_told_where_it_does():
    width = recommend(replace(LARGE, parameters=10**7, budget=Budget(0.3, None, 500, 0.1))).choices[2]
    assert width.value == "24 bits"
    assert width.why.startswith("Rounding raises the noise by 6 %")
    assert "do not make rounding finer" in width.instead
    given = recommend(replace(LARGE, field_bits=28)).choices[2]
    assert "Rounding raises the noise by 2.3 %" in given.why
    assert "at most 1 %" in recommend(FORTY).choices[2].why


def test_a_grid_that_is_hardly_finer_is_not_said_to_be_one_time_as_fine():
    """What limits it is reached in the first of eight bits more."""
    few = Wishes(8, 100, 1, 0.1, 20, FAST, budget=Budget(3.0, 0.009, 100, 1.0))
    assert "do not make rounding finer" in recommend(few).choices[2].instead


@pytest.mark.parametrize(
    ("seen", "bits", "more"),
    [("sum", 24, 8), ("nothing", 24, 8), ("nothing", 32, 8), ("sum", 60, 4), ("sum", 63, 1)],
)
def test_what_a_wider_number_costs_is_what_is_sent_then(seen, bits, more):
    """Two numbers of 24 bits go into a coefficient, and one of 32 or of 40."""
    found = recommend(replace(FOUR, coordinator_sees=seen, field_bits=bits, parameters=1_000_000))
    sent = [round_traffic(replace(found.plan.shape, bits=width)).bytes_up for width in (bits, bits + more)]
    told = re.match(
        r"(\d) bits? more adds? (\d+) % to what is sent, and make rounding (\d+) times", found.choices[2].instead
    )
    assert [int(number) for number in told.groups()] == [more, round(100 * (sent[1] / sent[0] - 1)), 2**more]


def test_where_noise_takes_wider_numbers_than_a_message_holds_no_narrower_ones_are_advised():
    for given in (None, 32):
        with pytest.raises(InputError, match="1000000001 numbers of 40 bits are too many") as caught:
            recommend(Wishes(40, 10**9, 1, 0.1, 20, FAST, field_bits=given, budget=Budget(3.0, None, 100_000, 0.1)))
        assert caught.value.remedy.startswith("Train fewer parameters: noise on so many takes 40 bits a number")


def test_the_widest_numbers_have_no_wider_ones_beside_them():
    for budget in (None, FORTY.budget):
        assert recommend(replace(FORTY, field_bits=64, budget=budget)).choices[2].instead == ""


def test_a_width_that_goes_into_no_message_is_not_offered():
    largest = recommend(replace(FORTY, budget=None, parameters=10**9)).choices[2]
    assert largest.value == "32 bits"
    assert "40 bits are not possible: 1000000001 numbers of 40 bits are too many" in largest.instead


def test_a_width_that_was_given_comes_with_the_largest_weight_that_it_has_room_for():
    narrow = replace(FORTY, budget=None, field_bits=16)
    assert options_of(narrow)["--max-weight"] == "819"
    assert "with more patients counts as if it had 819" in recommend(narrow).choices[2].why
    assert "--max-weight" not in options_of(replace(narrow, field_bits=24))


def test_what_was_given_and_a_charter_refuses_is_refused():
    with pytest.raises(InputError) as caught:
        recommend(Wishes(400, 10, 1, 0.0, 1000, FAST, coordinator_sees="nothing", epoch_rounds=100))
    assert caught.value.reason == "secret-used-too-often"


@pytest.mark.parametrize(("members", "parameters", "bits"), [(3, 10, 24), (40, 15_000, 24), (1000, 10**9, 32)])
def test_the_width_grows_with_hospitals_and_parameters(members, parameters, bits):
    assert fitting_width(members, parameters) == bits


@pytest.mark.parametrize(("members", "parameters"), [(30, 31), (40, 15_000), (100, 100_000)])
def test_what_is_said_of_rounding_is_what_small_hospitals_get_from_the_command(members, parameters):
    """Updates as long as the bound, of hospitals with 32 patients, encoded as the charter of the command has it."""
    wishes = Wishes(members, parameters, 1, 0.0, 20, FAST)
    width = recommend(wishes).choices[2]
    told = float(re.search(r"changes the mean update by ([0-9.e-]+) of", width.why)[1])
    bits = int(dict(zip(width.options[::2], width.options[1::2], strict=True))["--field-bits"])
    assert bits >= USUAL_FIELD_BITS
    # It is said to one digit.
    assert told == pytest.approx(rounded_away(members, parameters, bits, patients=32), rel=0.35)
    assert told < 1e-2
    assert "coarse" not in width.why


def test_of_a_width_on_which_small_hospitals_are_lost_it_is_said_how_many_patients_are_enough():
    narrow = recommend(replace(FORTY, budget=None, field_bits=16)).choices[2].why
    assert "As you gave it. With 32 patients at each hospital" in narrow
    assert "40 hospitals, 16 bits and a max_weight of 819 are a coarse grid" in narrow
    assert "an update of any hospital is lost" in narrow


def rounded_away(members: int, parameters: int, bits: int, patients: int) -> float:
    """How far the decoded mean is from that of the updates, in parts of their length, the longest."""
    sections = (Section("parameters", parameters, 1.0), Section("weight", 1, USUAL_WEIGHT, "whole"))
    layout, random = Layout(Ring(bits), members, sections), np.random.default_rng(1)
    updates = random.standard_normal((members, parameters))
    updates /= np.linalg.norm(updates, axis=1, keepdims=True)
    total = layout.ring.zeros(layout.length)
    for update in updates:
        total += layout.encode([update * (patients / USUAL_WEIGHT), np.array([patients])])
    decoded, weight = layout.decode(total)
    return float(np.linalg.norm(decoded / (weight[0] / USUAL_WEIGHT) - updates.mean(axis=0)))


def test_a_delta_is_well_below_one_over_the_patients():
    assert delta_of(Budget(3, None, 700, 0.1)) == 1e-5
    assert delta_of(Budget(3, None, 1_000_000, 0.1)) == pytest.approx(1e-7)
    assert delta_of(Budget(3, 1e-6, 700, 0.1)) == 1e-6
