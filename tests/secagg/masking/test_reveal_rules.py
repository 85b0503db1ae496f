"""The rules of agreeing and revealing, checked by trying every strategy of a lying coordinator on a model of them.

The model knows no keys. A round has n hospitals of which c collude; every honest one has masked. The coordinator tells
each honest hospital a survivor set of at least t that contains it; colluders sign every set and hand over their shares.
Who is told a set signs it and reveals for it if the rules let it: signing or revealing less never tells more. From the
revealed shares follows whose self-mask seed (b) and mask key (s) are rebuilt, and from those which sums over honest
hospitals can be computed:

- An honest hospital's masked vector is of use if its b is known.
- It holds a mask that is not known with every honest peer, unless the s of either is.
- So a hospital of which both b and s are known stands alone; all whose s is not known hold masks with one another, and
  these cancel only in the sum over all of them.
- Noise has as many components as can be: for each number m of survivors above t one that is removed where m survive.
  Who reveals for a set of m or more gives its share of everybody's in the set.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from secagg.charter.thresholds import smallest_threshold


@dataclass(frozen=True)
class Rules:
    """What a hospital insists on; the controls lack one."""

    agreement: bool = True
    answers: int = 1


@dataclass(frozen=True)
class Found:
    """What some strategy makes computable: one hospital's vector, and the fewest honest hospitals in any sum."""

    alone: bool
    fewest: int
    unlisted: bool
    """Whether a sum is computable over other honest hospitals than those of the one set that t hospitals signed, or of
    the set of all."""
    bared: bool
    """Whether noise of an honest hospital is known that must stay in the sum over that set."""


def subsets(members: int, least: int) -> list[int]:
    return [chosen for chosen in range(1 << members) if chosen.bit_count() >= least]


def canonical(options: list[int], members: int, honest: int) -> list[int]:
    """Of the sets that the first hospital may be told, one for each number of honest and colluding others in it."""
    kinds = {}
    for chosen in options:
        kinds.setdefault(((chosen & ((1 << honest) - 1)).bit_count(), chosen >> honest), chosen)
    return list(kinds.values())


def explore(members: int, colluding: int, threshold: int, rules: Rules) -> Found:
    """Every strategy at once: one row of ``told`` for each answer of each honest hospital, one column a strategy."""
    honest = members - colluding
    everybody = (1 << members) - 1
    colluders = everybody & ~((1 << honest) - 1)
    sets = subsets(members, threshold)
    choices = []
    for hospital in range(honest):
        options = [chosen for chosen in sets if chosen >> hospital & 1]
        choices += [options] * rules.answers
    choices[0] = canonical(choices[0], members, honest)
    told = np.array(np.meshgrid(*choices, indexing="ij"), np.uint8).reshape(len(choices), -1)

    reveals = told == everybody
    agreed = np.full(told.shape[1], everybody, np.uint8)
    for chosen in sets:
        signed = (told == chosen).reshape(honest, rules.answers, -1).any(axis=1).sum(axis=0)
        enough = signed + (chosen & colluders).bit_count() >= threshold
        if chosen != everybody:
            reveals |= (told == chosen) & (enough | (not rules.agreement))
            agreed[enough] = chosen

    seeds, keys = [], []
    for owner in range(honest):
        listed = (told >> owner & 1).astype(bool)
        for known, shown in ((seeds, reveals & listed), (keys, reveals & ~listed)):
            holders = shown.reshape(honest, rules.answers, -1).any(axis=1).sum(axis=0)
            known.append(holders + colluding >= threshold)
    seeds, keys = np.array(seeds), np.array(keys)

    alone = (seeds & keys).any()
    together = (seeds | keys).all(axis=0) & ~keys.all(axis=0)
    sizes = (~keys).sum(axis=0)[together]
    bits = 1 << np.arange(honest, dtype=np.uint8)
    summed = ((~keys) * bits[:, None]).sum(axis=0)[together]
    listed = agreed[together] & ((1 << honest) - 1)
    unlisted = ((summed != listed) & (summed != (1 << honest) - 1)).any()
    bared = False
    for least in range(threshold + 1, members + 1):
        needed = np.bitwise_count(agreed) < least
        gives = reveals & (np.bitwise_count(told) >= least)
        for owner in range(honest):
            shown = gives & (told >> owner & 1).astype(bool)
            holders = shown.reshape(honest, rules.answers, -1).any(axis=1).sum(axis=0)
            bared |= bool(((holders + colluding >= threshold) & needed & (agreed >> owner & 1).astype(bool)).any())
    return Found(bool(alone), 1 if alone else int(sizes.min(initial=honest)), bool(unlisted), bared)


CONSORTIA = [
    (members, colluding, threshold)
    for members, colluding in product((3, 4, 5, 6), (0, 1, 2))
    for threshold in range(smallest_threshold(members, colluding), members + 1)
]


@pytest.mark.parametrize(("members", "colluding", "threshold"), CONSORTIA)
def test_no_strategy_computes_anything_but_the_sum_over_one_signed_set(members, colluding, threshold):
    found = explore(members, colluding, threshold, Rules())
    assert not found.alone
    assert not found.unlisted
    assert not found.bared
    assert found.fewest >= threshold - colluding >= 2


@pytest.mark.parametrize(("members", "colluding"), [(5, 0), (6, 0)])
def test_control_without_agreement_fewer_honest_hospitals_than_any_set_has_are_summed(members, colluding):
    threshold = smallest_threshold(members, colluding)
    found = explore(members, colluding, threshold, Rules(agreement=False))
    assert found.unlisted
    assert found.fewest < threshold - colluding


@pytest.mark.parametrize(("members", "colluding"), [(4, 1), (5, 1), (6, 1), (6, 2)])
def test_control_with_a_threshold_one_too_low_a_hospital_stands_alone(members, colluding):
    threshold = (members + colluding) // 2
    found = explore(members, colluding, threshold, Rules())
    assert found.alone
    assert found.bared


def test_control_if_hospitals_answer_twice_one_stands_alone():
    found = explore(4, 1, smallest_threshold(4, 1), Rules(answers=2))
    assert found.alone
    assert found.bared


def split_peers(members: int, colluding: int, threshold: int, agreement: bool) -> bool:
    """Whether some strategy reads a victim that was given the deals of some peers only, whichever they are.

    All others hold everybody's deals, and mask with the victim too. The victim, the first hospital, may answer for sets
    among its peers only; it is read if its seed is known, and the mask key of each honest peer.
    """
    honest = members - colluding
    sets = subsets(members, threshold)
    for peers in range(2, 1 << members, 2):
        visible = peers | 1
        for chosen in sets if agreement else [0]:
            # With agreement all answer for one set; without, each honest hospital leaves out all peers but itself.
            answers = {}
            for hospital in range(honest):
                told = chosen
                if not agreement:
                    exposed = visible & ~1 & ((1 << honest) - 1)
                    told = ((1 << members) - 1) & ~exposed | 1 << hospital
                    told = visible if hospital == 0 else told
                allowed = told >> hospital & 1 and told.bit_count() >= threshold
                if allowed and not (hospital == 0 and told & ~visible):
                    answers[hospital] = told
            signers = len(answers) + (chosen >> honest).bit_count()
            if agreement and chosen != (1 << members) - 1 and signers < threshold:
                continue
            seed = sum(told & 1 for told in answers.values()) + colluding >= threshold
            keys = all(
                sum(not told >> peer & 1 for told in answers.values()) + colluding >= threshold
                for peer in range(1, honest)
                if peers >> peer & 1
            )
            if seed and keys:
                return True
    return False


@pytest.mark.parametrize("agreement", [True, False])
@pytest.mark.parametrize(("members", "colluding"), [(4, 1), (5, 1), (6, 1), (6, 0)])
def test_control_with_withheld_deals_a_victim_is_read_even_from_one_agreed_set(members, colluding, agreement):
    assert split_peers(members, colluding, smallest_threshold(members, colluding), agreement)
