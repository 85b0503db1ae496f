"""What hospitals' answers to false sums can tell a coordinator of the secret, counted, and held to the documents.

A coordinator asks each hospital one question a round, by a sum that it chose. A hospital says "yes" and goes on, or
"no" and stops for good. The outcomes that a strategy can tell apart are the leaves of its tree of questions.
"""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from secagg.charter.contradictions import FEWEST_MEMBERS, MOST_OPENINGS
from secagg.charter.sections import MOST_MEMBERS
from secagg.charter.thresholds import smallest_threshold
from secagg.homomorphic.parameters import ALLOWED, DEFAULT_PARAMETERS, SECURE_MODULUS_BITS, fitting_parameters
from tests.support.ciphers import SMALL

REPOSITORY = Path(__file__).parents[3]
TEXT = (REPOSITORY / "docs" / "encryption.md").read_text(encoding="utf-8")
FALSE_SUMS = TEXT[TEXT.index("**False sums.**") : TEXT.index("**Digests.**")]
ROWS = [
    tuple(map(int, row)) for row in re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", FALSE_SUMS, re.M)
]
LARGEST = range(FEWEST_MEMBERS, MOST_MEMBERS + 1)


def most_bits(members: int, rounds: int) -> float:
    """log2 of what n hospitals' answers can be: each says "yes" up to E times, and "no" once or never."""
    return members * math.log2(rounds + 1)


def allowed_rounds(members: int) -> int:
    return MOST_OPENINGS // members


def reached_bits(members: int, threshold: int, rounds: int) -> float:
    """log2 of the leaves, where all that are left are asked in each round, and a round takes t that are left."""
    leaves = np.zeros(members + 1)
    for _ in range(rounds):
        after = np.zeros(members + 1)
        for alive in range(threshold, members + 1):
            after[alive] = np.logaddexp2.reduce(log_choices(alive) + leaves[alive::-1])
        leaves = after
    return float(leaves[members])


@cache
def log_choices(alive: int) -> np.ndarray:
    """log2 of in how many ways k of so many stop, k from 0."""
    each = np.array([math.lgamma(number + 1) for number in range(alive + 1)])
    return (each[-1] - each - each[::-1]) / math.log(2)


def leaves_of(answers: list[str], threshold: int, rounds: int) -> set[tuple[str, ...]]:
    """The leaves of that strategy one by one, as what each hospital has answered in all."""
    alive = [place for place, one in enumerate(answers) if not one.endswith("n")]
    if not rounds or len(alive) < threshold:
        return {tuple(answers)}
    found = set()
    for pattern in range(1 << len(alive)):
        said = list(answers)
        for bit, place in enumerate(alive):
            said[place] += "n" if pattern >> bit & 1 else "y"
        found |= leaves_of(said, threshold, rounds - 1)
    return found


@pytest.mark.parametrize(("members", "threshold", "rounds"), [(3, 3, 3), (4, 3, 2), (5, 4, 2)])
def test_the_leaves_are_counted_as_they_are_when_listed(members, threshold, rounds):
    listed = leaves_of([""] * members, threshold, rounds)
    assert math.log2(len(listed)) == pytest.approx(reached_bits(members, threshold, rounds))
    assert len(listed) <= (rounds + 1) ** members
    # More hospitals say "no" than there have to be for no further round.
    assert max(sum(one.endswith("n") for one in leaf) for leaf in listed) == members > members - threshold + 1


def test_the_document_has_the_bound_and_what_one_strategy_reaches():
    assert len(ROWS) == 3
    for members, threshold, rounds, bound, reached in ROWS:
        assert threshold == smallest_threshold(members, 1)
        assert bound == math.ceil(most_bits(members, rounds))
        assert reached == math.ceil(reached_bits(members, threshold, rounds))
        assert reached < bound


def test_no_charter_allows_more_than_the_documents_last_row_which_is_half_of_the_smallest_secret():
    members, _, rounds, bound, _ = ROWS[-1]
    assert rounds == allowed_rounds(members)
    assert max(most_bits(number, allowed_rounds(number)) for number in LARGEST) == most_bits(members, rounds)
    secret = min(parameters.degree for parameters in ALLOWED.values()) * math.log2(3)
    assert f"{secret:.0f} under `{SMALL.name}`: of these, {secret - bound:.0f} at least" in " ".join(FALSE_SUMS.split())


def coefficients_needed() -> float:
    """How many must stay unknown: on a line through the rows of the standard's table."""
    fewer, more = SECURE_MODULUS_BITS[2048], SECURE_MODULUS_BITS[4096]
    return 2048 + (SMALL.modulus_bits - fewer) / (more - fewer) * 2048


def coefficients_left(members: int, degree: int) -> float:
    """How many stay unknown whatever the coordinator does, in the longest epoch that a charter allows."""
    return degree - most_bits(members, allowed_rounds(members)) / math.log2(3)


@pytest.mark.parametrize("model", [1, 1_000_000])
def test_of_the_parameters_that_a_new_charter_takes_enough_stays_unknown_however_many_hospitals_there_are(model):
    for members in LARGEST:
        chosen = ALLOWED[fitting_parameters(model, members)]
        assert coefficients_left(members, chosen.degree) > coefficients_needed()


def test_control_of_the_smallest_parameters_too_little_would():
    assert coefficients_left(MOST_MEMBERS, ALLOWED[DEFAULT_PARAMETERS].degree) < coefficients_needed()


def test_up_to_which_size_of_a_consortium_enough_coefficients_stay_unknown_the_document_says():
    needed = coefficients_needed()
    spare = (SMALL.degree - needed) * math.log2(3)
    too_many = next(number for number in LARGEST if most_bits(number, allowed_rounds(number)) > spare)
    assert fitting_parameters(1, too_many - 1) == DEFAULT_PARAMETERS != fitting_parameters(1, too_many)
    left = SMALL.degree - ROWS[-1][3] / math.log2(3)
    flat = " ".join(FALSE_SUMS.split())
    assert f"every charter of up to {too_many - 1} hospitals" in flat
    assert f"about {round(needed, -1):.0f} that stay unknown" in flat
    assert f"up to {spare // 10 * 10:.0f} bits" in flat
    assert f"down to {left:.0f} under `{SMALL.name}`" in flat
    assert 8192 - ROWS[-1][3] / math.log2(3) > needed


def test_where_half_of_the_largest_consortium_stops_enough_stays_unknown():
    members, _, rounds, _, _ = ROWS[-1]
    half = log_choices(members)[: members // 2 + 1] + np.arange(members // 2 + 1) * math.log2(rounds)
    assert np.logaddexp2.reduce(half) < 2890
