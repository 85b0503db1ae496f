"""Events compose by counting steps."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.events import LARGEST_COUNT, GaussianEvent, IntegerEvent, beyond, larger, merge

events = st.lists(
    st.builds(GaussianEvent, st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.1, 1.0]), st.integers(0, 9)),
    max_size=8,
)


def steps_of(found):
    return {(event.noise_multiplier, event.sampling_rate): event.steps for event in found}


@given(events)
def test_merging_keeps_every_step_and_one_event_a_kind(found):
    merged = merge(found)
    assert len(steps_of(merged)) == len(merged)
    assert sum(event.steps for event in merged) == sum(event.steps for event in found)
    assert list(merged) == sorted(merged)
    assert merge(merged) == merged == merge(reversed(found))


@given(events, events)
def test_what_one_has_beyond_another_is_what_is_missing_there_to_cover_both(first, second):
    assert merge((*second, *beyond(first, second))) == larger(first, second)


@given(events, events)
def test_the_larger_of_two_has_the_steps_of_either_and_no_more(first, second):
    one, other, both = steps_of(merge(first)), steps_of(merge(second)), steps_of(larger(first, second))
    assert both == {kind: max(one.get(kind, 0), other.get(kind, 0)) for kind in one | other}


@pytest.mark.parametrize(
    "text",
    [
        '{"noise_multiplier":-1.0,"sampling_rate":0.5,"steps":1}',
        '{"noise_multiplier":1.0,"sampling_rate":0.0,"steps":1}',
        '{"noise_multiplier":1.0,"sampling_rate":1.5,"steps":1}',
        '{"noise_multiplier":1.0,"sampling_rate":0.5,"steps":-1}',
        '{"noise_multiplier":1.0,"sampling_rate":0.5,"steps":1,"discount":1}',
    ],
)
def test_an_event_that_cannot_be_is_refused_when_it_is_read(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=GaussianEvent)


USE = {"kind": "integer", "noise": "skellam", "variance": 4.0, "l1": 2.0, "l2": 1.0, "dimension": 3, "shares": 2}


@pytest.mark.parametrize("count", ["steps", "dimension", "shares"])
def test_a_count_that_floating_point_has_no_number_for_is_not_read(count):
    event = USE | {"sampling_rate": 1.0, "steps": 1}
    for number, is_read in ((LARGEST_COUNT, True), (LARGEST_COUNT + 1, False), (10**400, False)):
        try:
            msgspec.json.decode(json.dumps(event | {count: number}), type=IntegerEvent)
        except msgspec.ValidationError:
            assert not is_read
        else:
            assert is_read
