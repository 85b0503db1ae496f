"""What is audited has the privacy terms of what it is an audit of, and no others."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import Privacy
from secagg.errors import InputError
from tests.support.consortium import make_charter, make_identities
from training.auditing.claim import is_claim_of
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


SHARED = {"mode": "distributed", "noise_multiplier": 1.3, "clip_norm": 0.7, "sampling_rate": 0.25, "budget": 50.0}
CLAIMS = {
    "local": {"mode": "local", "noise_multiplier": 1.0, "sampling_rate": 0.3, "budget": 50.0},
    "Skellam noise": SHARED,
    "discrete Gaussian noise": SHARED | {"noise": "discrete-gaussian"},
    "surplus noise is removed": SHARED | {"noise_levels": (5,), "noise_digest": bytes(32)},
}


@pytest.mark.parametrize("canaries", [50, 3300])
@pytest.mark.parametrize("settings", CLAIMS.values(), ids=CLAIMS)
def test_a_charter_tells_what_an_audit_of_it_claims(settings, canaries):
    charter = charter_of(Privacy(**settings))
    audited, _ = audited_charter(Terms.of(charter), canaries)
    claim = privacy_plan(audited).epsilon_after(3)
    assert is_claim_of(charter, claim, canaries)
    assert not any(is_claim_of(charter, factor * claim, canaries) for factor in (0.99, 1.01))


@pytest.mark.parametrize("canaries", [0, 49, 20_001, 1 << 60])
def test_no_audit_has_so_few_or_so_many_canaries(canaries):
    charter = charter_of(Privacy(**CLAIMS["local"]))
    assert is_claim_of(charter, privacy_plan(charter).epsilon_after(3), 50)
    assert not is_claim_of(charter, privacy_plan(charter).epsilon_after(3), canaries)


def test_where_there_is_no_room_for_the_noise_of_so_many_no_audit_claims_anything():
    charter = charter_of(Privacy(**SHARED))
    narrow = msgspec.structs.replace(charter, encoding=msgspec.structs.replace(charter.encoding, field_bits=12))
    with pytest.raises(InputError):
        audited_charter(Terms.of(narrow), 20_000)
    assert not is_claim_of(narrow, 1.0, 20_000)


def test_its_hospitals_have_keys_of_their_own():
    charter = charter_of(Privacy(mode="local", noise_multiplier=1.0, budget=50.0))
    audited, identities = audited_charter(Terms.of(charter), 100)
    assert [member.public_key for member in audited.members] == [identity.public_key for identity in identities]
    assert not {member.public_key for member in audited.members} & {member.public_key for member in charter.members}


def test_where_nothing_is_claimed_there_is_nothing_to_audit():
    with pytest.raises(InputError) as caught:
        Terms.of(charter_of(Privacy()))
    assert caught.value.reason == "nothing-to-audit"
