"""How far a training has come: what is later, and what comes before and after."""

from __future__ import annotations

import msgspec
import pytest

from secagg.masking import Purpose
from training.reached import Reached


@pytest.mark.parametrize(
    ("reached", "earlier"), [((1, 5), (1, 4)), ((1, 1), (1, 0)), ((1, 0), (0, 0)), ((0, 1), (0, 0)), ((0, 0), (-1, 0))]
)
def test_what_came_one_sum_earlier(reached, earlier):
    assert Reached(*reached).one_earlier() == earlier


@pytest.mark.parametrize("purpose", Purpose)
def test_one_more_sum_of_a_purpose_is_later_and_none_of_the_other(purpose):
    reached = Reached(1, 5)
    after = reached.after(purpose)
    assert after > reached
    assert {other: after.of(other) - reached.of(other) for other in Purpose} == dict.fromkeys(Purpose, 0) | {purpose: 1}


def test_any_training_is_later_than_statistics_alone():
    assert Reached(1, 0) < Reached(1, 1) < Reached(2, 0)


def test_it_is_kept_as_a_pair():
    assert msgspec.json.encode(Reached(1, 5)) == b"[1,5]"
    assert msgspec.json.decode(b"[1,5]", type=Reached) == Reached(1, 5)
