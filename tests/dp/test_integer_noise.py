"""Integer noise is drawn from the distribution that the accountant accounts for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from dp.alias_table import AliasTable
from dp.integer_noise import _skellam_weights, integer_noise
from dp.randomness import secure_generator
from secagg.errors import InputError

KEY = bytes(range(16))
DRAWS = 200_000
KINDS = ("skellam", "discrete-gaussian")
VARIANCES = (0.7, 4.0, 90.0, 3000.0)


def drawn(noise, variance, draws=DRAWS):
    return integer_noise(secure_generator(KEY), noise, draws, variance)


def probabilities(noise, variance, values):
    """Exact: from the Poisson law's difference (scipy), or from the definition, summed far into the tails."""
    if noise == "skellam":
        return stats.skellam.pmf(values, variance / 2, variance / 2)
    reach = np.arange(-int(40 * variance**0.5) - 40, int(40 * variance**0.5) + 41)
    return (
        np.exp(-(values.astype(float) ** 2) / (2 * variance))
        / np.exp(-(reach.astype(float) ** 2) / (2 * variance)).sum()
    )


def p_value(sample, noise, variance):
    """Of Pearson's chi-square test against the exact distribution, in cells that expect five draws or more."""
    most = int(np.abs(sample).max()) + 1
    values = np.arange(-most, most + 1)
    expected = probabilities(noise, variance, values) * len(sample)
    inside = expected >= 5
    found = np.array([np.bincount(sample + most, minlength=len(values))]).reshape(-1)
    observed = np.append(found[inside], found[~inside].sum())
    wanted = np.append(expected[inside], len(sample) - expected[inside].sum())
    return stats.chi2.sf(((observed - wanted) ** 2 / wanted).sum(), len(observed) - 1)


@pytest.mark.parametrize("noise", KINDS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_the_draws_fit_the_exact_distribution(noise, variance):
    assert p_value(drawn(noise, variance), noise, variance) > 1e-3


@pytest.mark.parametrize("noise", KINDS)
def test_control_draws_of_a_slightly_larger_variance_do_not_fit(noise):
    assert p_value(drawn(noise, 92.0), noise, 90.0) < 1e-3


@pytest.mark.parametrize("noise", KINDS)
@pytest.mark.parametrize("variance", [*VARIANCES, 2.0**28])
def test_the_moments_are_those_of_the_distribution(noise, variance):
    sample = drawn(noise, variance).astype(float)
    error = 5 / DRAWS**0.5
    assert abs(sample.mean()) < error * variance**0.5
    if noise == "skellam" or variance > 1:
        assert abs(sample.var() / variance - 1) < error * (2 + 1 / variance) ** 0.5
    excess = 1 / variance if noise == "skellam" else 0.0
    if variance > 1:
        assert abs(stats.kurtosis(sample) - excess) < 5 * (24 / DRAWS) ** 0.5 + 0.1 / variance


@pytest.mark.parametrize("noise", KINDS)
def test_the_same_key_draws_the_same_noise_and_a_longer_vector_is_drawn_in_pieces(noise):
    assert (drawn(noise, 50.0) == drawn(noise, 50.0)).all()
    assert len(drawn(noise, 50.0, (1 << 16) + 3)) == (1 << 16) + 3


@pytest.mark.parametrize("noise", KINDS)
def test_no_variance_is_no_noise(noise):
    assert not drawn(noise, 0.0, 10).any()


@pytest.mark.parametrize("variance", [-1.0, float("nan"), float("inf"), 2.0**28 + 1])
def test_noise_that_cannot_be_drawn_is_refused(variance):
    with pytest.raises(InputError) as caught:
        drawn("skellam", variance, 1)
    assert caught.value.reason == "bad-variance"


@pytest.mark.parametrize("variance", [0.3, 20.0, 3000.0])
def test_the_tables_weights_are_the_exact_probabilities(variance):
    reach = int(10 * variance**0.5) + 60
    right = _skellam_weights(variance, reach)
    exact = special.ive(np.arange(reach + 1), variance)
    assert np.abs(right / (right[0] + 2 * right[1:].sum()) - exact).sum() < 1e-13


@pytest.mark.parametrize("noise", KINDS)
def test_at_the_largest_variance_the_low_bits_are_as_likely_as_each_other(noise):
    low = np.bincount(drawn(noise, 2.0**28) & 7, minlength=8)
    assert stats.chisquare(low).pvalue > 1e-3


def test_a_table_draws_what_its_probabilities_say_and_either_sign_alike():
    wanted = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    found = AliasTable.of(wanted).draw(secure_generator(KEY), DRAWS)
    counts = np.bincount(np.abs(found), minlength=5)
    assert counts[1] == 0
    assert stats.chisquare(counts[wanted > 0], wanted[wanted > 0] * DRAWS).pvalue > 1e-3
    assert stats.binomtest(int((found > 0).sum()), int((found != 0).sum())).pvalue > 1e-3


def test_a_table_gives_each_magnitude_its_probability_to_the_last_place():
    wanted = np.random.default_rng(5).dirichlet(np.ones(37))
    table = AliasTable.of(wanted)
    places = 1 << (63 - table.column_bits)
    found = [0] * (1 << table.column_bits)
    for column, (own, other) in enumerate(zip(table.own.tolist(), table.other.tolist(), strict=True)):
        found[column] += own
        found[other] += places - own
    assert sum(found) == 1 << 63
    exact = [int(weight * 2.0**63) for weight in wanted]
    assert sum(count != weight for count, weight in zip(found[:37], exact, strict=True)) <= 1
    assert np.abs(np.array(found[:37]) / 2.0**63 - wanted).max() < 2**-50
