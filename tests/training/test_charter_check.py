"""A charter that was put together is checked as if it had been read, and for what hospitals will encode."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secagg.charter import Charter, Encoding, Homomorphic, Model, Privacy, Training
from secagg.charter.sections import ENCRYPTED_SCHEMES, MOST_RECORDS, SCHEMES, ServerStep
from secagg.charter.state_size import largest_snapshot, require_sealable
from secagg.encoding.moments import moments_length
from secagg.errors import InputError
from secagg.masking.session import STATISTICS_BITS
from secagg.masking.sizes import Shape, round_traffic
from tests.support.consortium import MODEL_DIGEST, make_charter, make_identities
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


@pytest.mark.parametrize("scheme", sorted(ENCRYPTED_SCHEMES))
@pytest.mark.parametrize(
    ("optimizer", "most"), [("adam", 107_374_182), ("momentum", 178_956_970), ("fedavg", 536_870_911)]
)
def test_a_model_that_no_hospital_could_hand_to_another_is_refused_where_it_would_have_to(scheme, optimizer, most):
    assert reason_of(of_size(most, scheme, optimizer)) == "snapshot-too-large"
    # What is kept of each round, and the frames, take a little.
    checked_charter(of_size(most - 1000, scheme, optimizer))
    checked_charter(of_size(most, "mask", optimizer))


def test_the_remedy_names_an_optimizer_that_keeps_less_if_there_is_one():
    for optimizer, named in (("adam", True), ("fedavg", False)):
        with pytest.raises(InputError) as caught:
            checked_charter(of_size(600_000_000, "double-lock", optimizer))
        assert ("fedavg (--server)" in caught.value.remedy) == named


def test_a_sum_of_wide_numbers_that_could_not_be_handed_over_is_refused_too():
    """Of fedavg a state has 4 bytes a parameter, and the one sum that is handed over instead of it may have more."""
    wide = Encoding(field_bits=48, max_weight=1)
    assert reason_of(of_size(400_000_000, "bfv", "fedavg", encoding=wide)) == "snapshot-too-large"
    require_sealable("bfv", largest_snapshot(of_size(350_000_000, "bfv", "fedavg", encoding=wide)), "fedavg")


@pytest.mark.parametrize(
    ("scheme", "bits", "most"),
    [
        ("mask", 24, 1_431_655_000),
        ("double-lock", 32, 286_000_000),
        ("bfv", 48, 286_000_000),
        ("ckks", 32, 286_000_000),
    ],
)
def test_a_model_whose_sum_goes_into_no_message_is_refused_before_anybody_signs(scheme, bits, most):
    encoding, homomorphic = Encoding(field_bits=bits), Homomorphic(parameters="n8192-q60")
    changes = {"encoding": encoding} | ({} if scheme == "mask" else {"homomorphic": homomorphic})
    checked_charter(of_size(most, scheme, "fedavg", **changes))
    with pytest.raises(InputError) as caught:
        checked_charter(of_size(most + 1_000_000, scheme, "fedavg", **changes))
    assert caught.value.reason == "too-large"
    assert "smaller model or narrower numbers (--field-bits)" in caught.value.remedy


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_statistics_of_as_many_features_as_a_charter_can_have_go_into_a_message(scheme):
    shape = Shape.of_training(of_size(1, scheme, "fedavg"))
    round_traffic(replace(shape, length=moments_length(1 << 20), bits=STATISTICS_BITS))


def of_size(parameters: int, scheme: str, optimizer: str, **changes) -> Charter:
    training = Training(rounds=3, server=ServerStep(optimizer=optimizer))
    model = Model(digest=MODEL_DIGEST, parameters=parameters)
    return make_charter(make_identities(5), model=model, scheme=scheme, training=training, **changes)


def test_noise_that_the_field_has_no_room_for_is_refused():
    assert reason_of(shared(1000, NARROW)) == "field-too-narrow"
