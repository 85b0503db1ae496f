"""Integer noise is drawn from the distribution that the accountant accounts for."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy import special, stats

from dp.alias_table import AliasTable
from dp.integer_noise import _skellam_weights, _tabulated, integer_noise
from dp.randomness import secure_generator
from secagg.errors import InputError

KEY = bytes(range(16))
DRAWS = 200_000
KINDS = ("skellam", "discrete-gaussian")
VARIANCES = (0.7, 4.0, 90.0, 3000.0)
# What `dp.integer_noise` promises of a draw.
WORST_FACTOR = 2.0**-45
WORST_TAILS = 2.0**-69


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


def places(table) -> list[int]:
    """Of 2^127, how many draw each magnitude: counted in the table as it stands."""
    height = 1 << (127 - table.column_bits)
    found = [0] * (1 << table.column_bits)
    for column, (high, low, other) in enumerate(
        zip(table.own.tolist(), table.rest.tolist(), table.other.tolist(), strict=True)
    ):
        own = (high << 64) + low
        found[column] += own
        found[other] += height - own
    assert sum(found) == 1 << 127
    return found


def exactly(noise, variance) -> list[Decimal]:
    """The probability of each magnitude, in 40 decimal places and far beyond what a table holds."""
    reach = int(13 * variance**0.5) + 120
    mu, weights = Decimal(variance), [Decimal(0)] * (reach + 1)
    if noise == "skellam":
        above, value = Decimal(0), Decimal(1)
        for order in range(reach + reach // 3, 0, -1):
            if order <= reach:
                weights[order] = value
            above, value = value, above + 2 * order / mu * value
        weights[0] = value
    else:
        ratio = (-1 / (2 * mu)).exp()
        weight, step = Decimal(1), ratio
        for order in range(reach + 1):
            weights[order] = weight
            weight, step = weight * step, step * ratio**2
    total = weights[0] + 2 * sum(weights[1:])
    return [weights[0] / total, *(2 * weight / total for weight in weights[1:])]


def worst_factor_and_tails(found, exact) -> tuple[float, float]:
    """By how much a probability of 2^-80 or more is off, relatively, and what all others add up to, found or exact."""
    inside = [k for k, weight in enumerate(exact) if weight >= Decimal(2) ** -80]
    wrong = max(abs(Decimal(found[k]) / (1 << 127) / exact[k] - 1) for k in inside)
    tails = 1 - sum(exact[k] for k in inside), 1 - Decimal(sum(found[k] for k in inside)) / (1 << 127)
    return float(wrong), float(max(tails))


@pytest.mark.parametrize("noise", KINDS)
@pytest.mark.parametrize("variance", [0.3, 1.0, 90.0, 3000.0, 3.6e4, 1e6, 2.0**28])
def test_each_probability_is_exact_but_for_a_factor_or_in_tails_that_add_up_to_nothing(noise, variance):
    with localcontext(prec=40):
        found, exact = places(_tabulated(noise, variance)), exactly(noise, variance)
        wrong, tails = worst_factor_and_tails(found, exact)
        assert wrong < WORST_FACTOR
        assert tails < WORST_TAILS
        # Control: of one word, whose places are 2^-63, no such thing can be said.
        coarse, _ = worst_factor_and_tails([count >> 64 << 64 for count in found], exact)
        assert coarse > 1e-6


def added_to_epsilon_and_delta(draws, epsilon) -> tuple[float, float]:
    """What is told in `docs/accounting.md` of so many draws, each of them off by as much as one can be."""
    more = 2 * draws * WORST_FACTOR
    return more, math.exp(more) * (1 + math.exp(epsilon)) * 2 * draws * WORST_TAILS


def test_draws_from_tables_cost_what_the_documents_say():
    assert added_to_epsilon_and_delta(15_000 * 300 * 20, 3.0) == pytest.approx((5.1e-6, 6.4e-12), rel=0.02)
    assert added_to_epsilon_and_delta(11_000_000 * 300 * 3, 3.0) == pytest.approx((5.6e-4, 7.1e-10), rel=0.02)


def test_a_table_gives_each_magnitude_its_probability_to_the_last_place():
    weights = np.random.default_rng(5).dirichlet(np.ones(37))
    found = places(AliasTable.of(weights))
    assert not any(found[37:])
    whole = [Fraction(weight / weights.max()) for weight in weights.tolist()]
    exact = [weight / sum(whole) * 2**127 for weight in whole]
    assert sum(not 0 <= weight - count < 1 for count, weight in zip(found[:37], exact, strict=True)) <= 1
    assert max(abs(weight - count) for count, weight in zip(found[:37], exact, strict=True)) < 37


class WordsGiven:
    """A generator that gives these words, one after the other."""

    def __init__(self, *words) -> None:
        self._words = list(words)

    def integers(self, low, high, size, dtype, endpoint):
        assert (low, high, endpoint) == (0, 2**64 - 1, True)
        given, self._words = self._words[:size], self._words[size:]
        return np.array(given, dtype)


def test_what_one_word_leaves_open_a_second_decides():
    # So small a weight has fewer than 2^64 places: in 1's column, a first word of nothing leaves open whose it is.
    table = AliasTable.of(np.array([1.0, math.ldexp(1 + 2.0**-50, -65)]))
    high, low = int(table.own[1]), int(table.rest[1])
    assert (high, low > 0, int(table.other[1])) == (0, True, 0)
    one = 1
    assert table.draw(WordsGiven(one, low - 1), 1).tolist() == [1]
    assert table.draw(WordsGiven(one, low), 1).tolist() == [0]
    # The second bit is the sign; where the first word decides, no second is drawn.
    assert table.draw(WordsGiven(one | 2, one | 4, one, low - 1, low), 3).tolist() == [-1, 0, 0]
