"""The charter of a case: real members with real keys, signed by all.

Knows what `charter new` would choose for a consortium of this size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from benchmarks.sweep.case import Case
from benchmarks.sweep.codecs import NOISE_MULTIPLIER, PATIENTS_A_STEP, with_noise_digest
from secagg.charter import (
    Charter,
    Encoding,
    Homomorphic,
    Member,
    Model,
    NeighbourGraph,
    Privacy,
    TaskChoice,
    Training,
    VerifiedCharter,
    sign_charter,
    verify_charter,
)
from secagg.homomorphic.parameters import fitting_parameters
from secagg.identity import Identity, fingerprint
from secagg.labels import DIGEST_SIZE
from secagg.policy import Policy
from training.choices import USUAL_EPOCH_ROUNDS, USUAL_FIELD_BITS
from training.dropout import chosen_noise_levels

# So that a sum of a thousand weights fits the default field.
_MOST_WEIGHT: Final = 1_000


@dataclass(frozen=True)
class Signed:
    """A charter in force, its members' keys in order, and a policy that allows it."""

    charter: VerifiedCharter
    identities: list[Identity]
    policy: Policy


def signed_charter(case: Case) -> Signed:
    """Of a case of a charter's scheme.

    Raises:
        InputError: ``field-too-narrow``, if distributed noise has no room.
    """
    identities = [Identity.from_seed(number.to_bytes(32, "big")) for number in range(1, case.hospitals + 1)]
    charter = _charter(case, identities)
    if case.dp == "distributed":
        charter = with_noise_digest(_wide_enough(charter))
    policy = Policy(
        known_members=frozenset(fingerprint(identity.public_key) for identity in identities),
        minimum_cohort=2,
        allowed_schemes=frozenset({charter.scheme}),
        allowed_privacy_modes=frozenset({case.dp}),
    )
    verified = verify_charter(charter, [sign_charter(charter, identity) for identity in identities])
    return Signed(verified, identities, policy)


def _wide_enough(charter: Charter) -> Charter:
    # Only here: they load what draws noise.
    from training.noise import unchecked_shares
    from training.privacy_draft import narrowest_fine, promising_rings

    bits = narrowest_fine(promising_rings(unchecked_shares(charter))).field_bits
    return msgspec.structs.replace(charter, encoding=msgspec.structs.replace(charter.encoding, field_bits=bits))


def _charter(case: Case, identities: list[Identity]) -> Charter:
    return Charter(
        name="sweep",
        nonce=bytes(16),
        members=tuple(Member(name=f"h{i}", public_key=one.public_key) for i, one in enumerate(identities, 1)),
        threshold=case.threshold,
        max_colluding=case.colluding,
        scheme=case.charter_scheme or "mask",
        graph=NeighbourGraph.of(case.graph),
        homomorphic=_homomorphic(case),
        model=Model(digest=bytes(DIGEST_SIZE), parameters=case.parameters),
        task=TaskChoice(kind="tabular-classification", settings={}),
        training=Training(
            rounds=USUAL_EPOCH_ROUNDS, local_steps=1, weighting="uniform", batch_size=PATIENTS_A_STEP * case.hospitals
        ),
        encoding=Encoding(field_bits=USUAL_FIELD_BITS, max_weight=_MOST_WEIGHT),
        privacy=_privacy(case),
        epoch_rounds=USUAL_EPOCH_ROUNDS,
    )


def _homomorphic(case: Case) -> Homomorphic:
    if not case.encrypted:
        return Homomorphic()
    return Homomorphic(parameters=fitting_parameters(case.parameters, case.hospitals))


def _privacy(case: Case) -> Privacy:
    if case.dp == "none":
        return Privacy()
    levels = _levels(case)
    return Privacy(
        mode=case.dp,
        noise_multiplier=NOISE_MULTIPLIER,
        noise_levels=levels,
        noise_digest=bytes(DIGEST_SIZE) if levels else b"",
        sampling_rate=0.1,
        budget=8.0,
    )


def _levels(case: Case) -> tuple[int, ...]:
    if case.dp != "distributed" or case.scheme != "mask":
        return ()
    return chosen_noise_levels(case.hospitals, case.threshold, case.colluding, case.planned_dropout)
