"""What is audited has the privacy terms of what it is an audit of, and no others."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import Privacy
from secagg.errors import InputError
from tests.support.consortium import make_charter, make_identities
from training.auditing.runs import audited_charter
from training.auditing.terms import Terms
from training.privacy_plan import privacy_plan


def charter_of(privacy: Privacy):
    charter = make_charter(make_identities(5))
    training = msgspec.structs.replace(charter.training, weighting="uniform", local_steps=1, rounds=3)
    return msgspec.structs.replace(charter, privacy=privacy, training=training)


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_the_usual_terms_claim_the_same_in_both_modes(mode):
    terms = Terms.usual(mode)
    charter, _ = audited_charter(terms, 200)
    assert charter.privacy.mode == terms.mode == mode
    assert privacy_plan(charter).epsilon_after(terms.rounds) == pytest.approx(2.17, abs=0.01)


def test_a_charters_terms_are_kept():
    privacy = Privacy(
        mode="distributed",
        noise_multiplier=1.3,
        noise="discrete-gaussian",
        clip_norm=0.7,
        sampling_rate=0.25,
        delta=1e-6,
        metric_noise_multiplier=3.0,
        budget=50.0,
    )
    charter = charter_of(privacy)
    audited, _ = audited_charter(Terms.of(charter), 100)
    for name in ("mode", "noise_multiplier", "noise", "noise_levels", "clip_norm", "sampling_rate", "delta"):
        assert getattr(audited.privacy, name) == getattr(privacy, name), name
    assert (audited.threshold, audited.max_colluding) == (charter.threshold, charter.max_colluding)
    assert (audited.training.rounds, audited.training.local_steps) == (3, 1)
    assert audited.encoding.field_bits == charter.encoding.field_bits
    assert [member.name for member in audited.members] == [member.name for member in charter.members]


def test_its_hospitals_have_keys_of_their_own():
    charter = charter_of(Privacy(mode="local", noise_multiplier=1.0, budget=50.0))
    audited, identities = audited_charter(Terms.of(charter), 100)
    assert [member.public_key for member in audited.members] == [identity.public_key for identity in identities]
    assert not {member.public_key for member in audited.members} & {member.public_key for member in charter.members}


def test_where_nothing_is_claimed_there_is_nothing_to_audit():
    with pytest.raises(InputError) as caught:
        Terms.of(charter_of(Privacy()))
    assert caught.value.reason == "nothing-to-audit"
