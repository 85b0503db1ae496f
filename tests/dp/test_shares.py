"""Whoever survives, honest hospitals' shares of noise are one curator's noise together, and sums do not wrap around."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dp.accounting import epsilon_rdp
from dp.events import GaussianEvent
from dp.integer_noise import LARGEST_VARIANCE, integer_noise
from dp.randomness import secure_generator
from dp.shares import Cohort, NoiseShares, tail
from secagg.encoding import Ring
from secagg.errors import InputError
from secagg.masking.noise import kept_components

FORTY = Cohort(hospitals=40, threshold=21, colluding=1)
SHARES = NoiseShares(
    cohort=FORTY,
    noise="skellam",
    field_bits=24,
    noise_multiplier=1.2,
    clip_norm=0.5,
    most_patients=256,
    dimension=14_913,
    cells=128,
    metric_noise_multiplier=30.0,
)
COHORTS = [
    Cohort(hospitals=hospitals, threshold=threshold, colluding=colluding, levels=levels)
    for hospitals, colluding in ((3, 0), (5, 1), (9, 2), (12, 0))
    for threshold in range((hospitals + colluding) // 2 + 1, hospitals + 1)
    for levels in ((), (hospitals,), (hospitals, hospitals - 1), (hospitals - 1,))
    if not levels or levels[-1] > threshold
]


def staying(cohort, survivors):
    """The variance in a sum over ``survivors``, over the curator's, of all and of the honest among them."""
    share = sum(cohort.shares[: kept_components(cohort.levels, survivors) + 1])
    return survivors * share, (survivors - cohort.colluding) * share


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_honest_survivors_noise_is_never_less_than_the_curators(cohort):
    for survivors in range(cohort.threshold, cohort.hospitals + 1):
        everybody, honest = staying(cohort, survivors)
        assert honest >= 1 - 1e-12
        assert everybody <= cohort.most_variance(cohort.shares) + 1e-12


@pytest.mark.parametrize("cohort", [cohort for cohort in COHORTS if cohort.levels])
def test_control_one_component_less_would_be_too_little(cohort):
    """Of many survivors the first component is all that stays: of that there is none less."""
    kept = {
        survivors: kept_components(cohort.levels, survivors)
        for survivors in range(cohort.threshold, cohort.hospitals + 1)
    }
    assert any(kept.values())
    for survivors, components in kept.items():
        assert not components or (survivors - cohort.colluding) * sum(cohort.shares[:components]) < 1


def test_at_a_level_nothing_is_too_much_where_nobody_colludes():
    cohort = Cohort(hospitals=40, threshold=21, colluding=0, levels=(40, 36))
    assert staying(cohort, 40) == pytest.approx((1, 1))
    assert staying(cohort, 36) == pytest.approx((1, 1))
    assert staying(cohort, 39)[0] == pytest.approx(39 / 36)


def test_shares_drawn_by_all_have_the_variance_that_was_sized():
    generator = secure_generator(bytes(16))
    drawn = sum(integer_noise(generator, "skellam", 50_000, SHARES.variances[0]) for _ in range(20))
    curator = (SHARES.noise_multiplier * SHARES.sensitivity) ** 2
    assert np.var(drawn) == pytest.approx(curator, rel=0.05)


@pytest.mark.parametrize("cohort", COHORTS)
def test_what_honest_survivors_draw_in_whole_steps_is_no_less_than_what_is_accounted_for(cohort):
    shares = replace(SHARES, cohort=cohort, field_bits=17, most_patients=4)
    assert shares.inflation > 1
    events = shares.training_event(0.1, 1), shares.metric_event(1)
    assert {event.shares for event in events} == {cohort.threshold - cohort.colluding}
    accounted = [event.variance for event in events]
    for survivors in range(cohort.threshold, cohort.hospitals + 1):
        kept = 1 + kept_components(cohort.levels, survivors)
        for variances, needed in zip((shares.variances, shares.metric_variances), accounted, strict=True):
            assert (survivors - cohort.colluding) * sum(variances[:kept]) >= needed * (1 - 1e-12)


@pytest.mark.parametrize("variance", [2.0, 50.0, 500.0])
def test_the_tail_is_above_the_exact_one_and_not_far_above(variance):
    coordinates = 1000
    bound = tail("skellam", variance, coordinates)
    exact = 2 * coordinates * stats.skellam.sf(bound - 1, variance / 2, variance / 2)
    assert exact < 2**-40
    nearer = int(0.9 * bound)
    assert 2 * coordinates * stats.skellam.sf(nearer - 1, variance / 2, variance / 2) > 2**-40


@pytest.mark.parametrize("coordinates", [1, 1000])
def test_the_tail_of_discrete_gaussians_is_where_the_bounds_of_both_signs_together_are_small_enough(coordinates):
    bound = tail("discrete-gaussian", 10_000.0, coordinates)
    reached = [2 * coordinates * math.exp(-(distance**2) / 20_000) for distance in (bound, bound - 1)]
    assert reached[0] <= 2**-40 < reached[1]


def test_the_largest_signal_and_the_tail_of_the_noise_fit_the_ring_and_one_step_more_does_not():
    room = (1 << 23) - 1

    def taken(steps):
        variance = FORTY.most_variance(replace_steps(steps).variances)
        return 40 * 256 * steps + tail("skellam", variance, SHARES.dimension)

    class Fixed(NoiseShares):
        steps_per_clip = 0

    def replace_steps(steps):
        fixed = Fixed(**{name: getattr(SHARES, name) for name in SHARES.__dataclass_fields__})
        object.__setattr__(fixed, "steps_per_clip", steps)
        return fixed

    assert taken(SHARES.steps_per_clip) <= room < taken(SHARES.steps_per_clip + 1)


@pytest.mark.parametrize(
    ("cohort", "field_bits", "multiplier"),
    [
        pytest.param(Cohort(hospitals=100, threshold=51, colluding=1), 16, 1.0, id="many hospitals"),
        pytest.param(Cohort(hospitals=100, threshold=51, colluding=1, levels=(80,)), 16, 2.3, id="with a level"),
        pytest.param(Cohort(hospitals=8, threshold=5, colluding=1, levels=(7,)), 16, 0.7, id="little noise"),
    ],
)
def test_full_counts_and_the_noise_that_hospitals_draw_fit_the_ring_also_where_shares_are_less_than_one(
    cohort, field_bits, multiplier
):
    shares = replace(SHARES, cohort=cohort, field_bits=field_bits, metric_noise_multiplier=multiplier, most_patients=4)
    room = (1 << (field_bits - 1)) - 1
    for survivors in range(cohort.threshold, cohort.hospitals + 1):
        staying = shares.metric_variances[: kept_components(cohort.levels, survivors) + 1]
        noise = tail("skellam", survivors * sum(staying), shares.cells)
        assert cohort.hospitals * shares.most_counts + noise <= room


@pytest.mark.parametrize("field_bits", [16, 24, 32, 33])
def test_the_largest_count_with_the_largest_noise_is_the_largest_number_that_the_ring_tells_from_a_negative_one(
    field_bits,
):
    alone = Cohort(hospitals=1, threshold=1, colluding=0)
    shares = replace(SHARES, cohort=alone, field_bits=field_bits, most_patients=1)
    ring, full = Ring(field_bits), shares.most_counts + tail("skellam", shares.metric_variances[0], shares.cells)
    assert ring.to_signed(ring.from_signed(np.array([full]))) == full
    assert ring.to_signed(ring.from_signed(np.array([full + 1]))) < 0


def test_no_component_has_more_noise_than_can_be_drawn_however_wide_the_ring_is():
    cohort = Cohort(hospitals=40, threshold=3, colluding=1, levels=(40,))
    shares = replace(SHARES, cohort=cohort, field_bits=60)
    assert shares.variances[1] > 10 * shares.variances[0]
    assert 0.9 * LARGEST_VARIANCE < max(shares.variances) <= LARGEST_VARIANCE


def test_a_finer_grid_inflates_the_noise_less():
    assert SHARES.inflation == pytest.approx(1.0055, abs=1e-3)
    assert replace(SHARES, field_bits=32).inflation == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("changes", [{"field_bits": 16}, {"noise_multiplier": 0.005}, {"metric_noise_multiplier": 1e7}])
def test_a_ring_without_room_for_a_grid_is_refused(changes):
    SHARES.require_room()
    with pytest.raises(InputError) as caught:
        replace(SHARES, **changes).require_room()
    assert caught.value.reason == "field-too-narrow"


def test_the_cost_is_close_to_that_of_one_curators_gaussian_noise_and_never_below_it():
    ours = epsilon_rdp([SHARES.training_event(0.05, 300)], 1e-5)
    curators = epsilon_rdp([GaussianEvent(1.2, 0.05, 300)], 1e-5)
    assert curators <= ours < 1.02 * curators


def test_released_counts_cost_what_their_noise_is_worth():
    assert epsilon_rdp([SHARES.metric_event(10)], 1e-5) == pytest.approx(
        epsilon_rdp([GaussianEvent(30.0, 1.0, 10)], 1e-5), rel=0.02
    )
