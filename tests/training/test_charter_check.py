"""A charter that was put together is checked as if it had been read, and for what hospitals will encode."""

from __future__ import annotations

import pytest

from secagg.charter import Charter, Encoding, Privacy, Training
from secagg.charter.sections import MOST_RECORDS
from secagg.errors import InputError
from tests.support.consortium import make_charter, make_identities
from training.charter_check import checked_charter

FORTY = make_identities(40)
NARROW = Encoding(field_bits=16, max_weight=1024)


def shared(batch: int, encoding: Encoding) -> Charter:
    """One under which hospitals share the noise."""
    training = Training(rounds=3, local_steps=1, batch_size=batch, weighting="uniform")
    privacy = Privacy(mode="distributed", noise_multiplier=1.0, budget=8.0)
    return make_charter(FORTY, training=training, encoding=encoding, privacy=privacy)


def reason_of(charter: Charter) -> str:
    with pytest.raises(InputError) as caught:
        checked_charter(charter)
    return caught.value.reason


def test_a_charter_that_can_be_trained_under_comes_back_as_it_is():
    for charter in (make_charter(FORTY), shared(256, Encoding())):
        assert checked_charter(charter) == charter


def test_a_value_that_no_charter_holds_is_refused_where_nothing_was_read():
    charter = make_charter(FORTY, training=Training(rounds=3, batch_size=MOST_RECORDS + 1))
    assert reason_of(charter) == "malformed-charter"


def test_weights_that_the_field_has_no_room_for_are_refused():
    assert reason_of(make_charter(FORTY, encoding=NARROW)) == "field-too-narrow"
    checked_charter(make_charter(FORTY, encoding=Encoding(field_bits=16, max_weight=32767 // 40)))


def test_noise_that_the_field_has_no_room_for_is_refused():
    assert reason_of(shared(1000, NARROW)) == "field-too-narrow"
