"""Attacks for what encryption hides: with the secret that all hospitals of an epoch have, and without it.

With it the coordinator opens every ciphertext and every share. Under double lock that gives masked values; under bfv
and ckks it gives everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.homomorphic.cipher import Cipher
from secagg.homomorphic.spec import SEED_SIZE
from secagg.homomorphic.vectors import decrypt_vector, encrypt_vector
from secagg.homomorphic.words import unpack_words
from secagg.masking import Session, kdf
from secagg.masking.kdf import Secret
from secagg.masking.keystream import SignedKey
from secagg.masking.messages import Acknowledge, nth
from secagg.masking.round_tags import round_tag
from secagg.wire.envelope import decode
from training.attacks.encrypted import (
    COLLUDER,
    MEMBERS,
    VICTIM,
    WITHOUT_MASKS,
    EncryptedCoordinator,
    encrypted_round,
    under_each,
)
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import MODEL_DIGEST, Consortium, Vectors

# Looked up when an attack runs: a weakened build has another.
WITH_MASKS = "double-lock"


# --- With a hospital that colludes -------------------------------------------------------------------------------


def opened_vectors(build: Build, folder: Path) -> Outcome:
    """The secret of all hospitals, all ciphertexts and all shares of a round; then more is asked for."""
    with Consortium.make(folder, MEMBERS, build, scheme=WITH_MASKS, max_colluding=1) as stage:
        coordinator, vectors = encrypted_round(stage, COLLUDER)
        tries, everybody = Tries(Refuser.HOSPITAL), coordinator.everybody
        coordinator.unmask(everybody)
        coordinator.open_reveals()
        read = _read(stage, coordinator, vectors)
        if read is None:
            # What is left on each vector are the masks that it shares with others: their keys must be revealed.
            coordinator.give_sum(everybody, coordinator.encrypted_sum(everybody))
            for number in coordinator.all_but(VICTIM, COLLUDER):
                tries(coordinator.ask, number, coordinator.all_but(VICTIM))
            coordinator.start_round(vectors)
            tries(coordinator.unmask, coordinator.all_but(VICTIM))
            coordinator.open_reveals()
            read = _read(stage, coordinator, vectors)
        return tries.outcome(read)


def _read(stage: Consortium, coordinator: EncryptedCoordinator, vectors: Vectors) -> str | None:
    """What of any honest hospital's vector shows, as it was encrypted or without every mask that can be computed."""
    for victim in coordinator.all_but(*coordinator.colluders):
        for keys in ([], _known_masks(coordinator, victim)):
            guess = coordinator.without(victim, keys)
            if read := recovered(guess, stage.integers(vectors, victim), f"h{victim}'s vector"):
                return read
    return None


def _known_masks(coordinator: EncryptedCoordinator, victim: int) -> list[SignedKey]:
    keys, seed = [], coordinator.rebuild(victim, Secret.SELF_MASK_SEED)
    if seed:
        model = coordinator.masked_payload(victim).model_digest
        keys.append(SignedKey(kdf.self_mask_key(seed, coordinator.session, coordinator.round, model, victim), -1))
    for peer in coordinator.all_but(victim):
        keys += coordinator.pairwise_keys(victim, [peer]) or []
    return keys


def opened_late_vector(build: Build, folder: Path) -> Outcome:
    """The victim is declared dropped, and its shared masks are computed; its vector, held back, is decrypted."""
    with Consortium.make(folder, MEMBERS, build, scheme=WITH_MASKS, max_colluding=1) as stage:
        coordinator, vectors = encrypted_round(stage, COLLUDER)
        tries, others = Tries(Refuser.HOSPITAL), coordinator.all_but(VICTIM)
        coordinator.unmask(others)
        coordinator.open_reveals()
        read = _read(stage, coordinator, vectors)
        # What is left on it is its own mask: for that, it must be said to have survived after all.
        for number in coordinator.everybody:
            tries(coordinator.ask, number, coordinator.everybody)
        coordinator.open_reveals()
        return tries.outcome(read or _read(stage, coordinator, vectors))


# --- Alone ---------------------------------------------------------------------------------------------------------


def _made_up(coordinator: EncryptedCoordinator, tries: Tries) -> None:
    """Whoever could read would write: a sum under a guessed secret."""
    form, out = coordinator.session.form, bytearray(coordinator.session.vector_bytes)
    packed = np.zeros(form.packed_count, form.codec.packed_ring.dtype)
    encrypt_vector(packed, form, Cipher(form.spec, bytes(64)), memoryview(out))
    message = coordinator.encrypted_sum(coordinator.everybody, coordinator.added_up([bytes(out)]))
    for number in coordinator.everybody:
        tries(coordinator.clients[number].receive, message)


def shares_in_sealed_reveals(build: Build, folder: Path) -> Outcome:
    """Shares are looked for in what hospitals seal for one another."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, _ = encrypted_round(stage)
        coordinator.unmask(coordinator.everybody)
        for responder, (_, sealed) in coordinator.revealed.items():
            for index, owner in enumerate(coordinator.everybody):
                coordinator.shares[owner, Secret.SELF_MASK_SEED][responder] = nth(sealed, index)
        seeds = [coordinator.rebuild(owner, Secret.SELF_MASK_SEED) for owner in coordinator.everybody]
        read = len(seeds) - seeds.count(None)
        _made_up(coordinator, tries)
        return f"the self-mask seeds of {read} hospitals" if read else None

    return under_each((WITH_MASKS,), build, folder, Refuser.HOSPITAL, script)


def secret_from_acknowledgements(build: Build, folder: Path) -> Outcome:
    """Whatever hospitals acknowledge their secret with is tried as the secret, and so is all that is public."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, vectors = encrypted_round(stage)
        form = coordinator.session.form
        for seed in _guesses(coordinator):
            packed = decrypt_vector(memoryview(coordinator.added([VICTIM])), form, Cipher(form.spec, seed))
            guess = coordinator.session.ring.to_signed(form.codec.unpack(packed, coordinator.session.length))
            read = recovered(guess, stage.integers(vectors, VICTIM), "h1's vector")
            if read:
                return read
        _made_up(coordinator, tries)
        return None

    return under_each(WITHOUT_MASKS, build, folder, Refuser.HOSPITAL, script)


def _guesses(coordinator: EncryptedCoordinator) -> Iterator[bytes]:
    """Seeds of the secret."""
    session = coordinator.session
    message = coordinator.acknowledgements[VICTIM]
    fingerprint = decode(coordinator.read(message).payload, Acknowledge).fingerprint
    for key in (fingerprint, bytes(32), session.charter.digest, coordinator.advertised(VICTIM).tag_commitment):
        yield kdf.encryption_seed(key, session)
    yield fingerprint * 2


def repeated_randomness(build: Build, folder: Path) -> Outcome:
    """Ciphertexts with the same randomness are looked for: their difference is that of two vectors, in clear."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, vectors = encrypted_round(stage)
        sent = {number: coordinator.masked_payload(number).vector for number in coordinator.everybody}
        for one, other in combinations(coordinator.everybody, 2):
            if sent[one][:SEED_SIZE] == sent[other][:SEED_SIZE]:
                guess = _difference(coordinator.session, sent[one], sent[other])
                truth = stage.integers(vectors, one) - stage.integers(vectors, other)
                return recovered(guess, truth, f"the difference of what h{one} and h{other} sent")
        _made_up(coordinator, tries)
        return None

    return under_each(("bfv",), build, folder, Refuser.HOSPITAL, script)


def _difference(session: Session, one: memoryview, other: memoryview) -> npt.NDArray[np.int64]:
    """Of two vectors that were encrypted with the same noise: in ciphertexts, q / 2^T times as large and rounded."""
    form = session.form
    spec, modulus = form.spec, form.spec.parameters.modulus
    words = [unpack_words(data[SEED_SIZE : spec.fresh_block_size], spec.block).tolist() for data in (one, other)]
    scaled = [(a - b) % modulus for a, b in zip(*words, strict=True)][: form.packed_count]
    rounded = np.array([((value << spec.bits) + modulus // 2) // modulus for value in scaled], np.int64)
    packed = form.codec.packed_ring.from_signed(rounded)
    return session.ring.to_signed(form.codec.unpack(packed, session.length))


def equal_tags(build: Build, folder: Path) -> Outcome:
    """Whether two hospitals sent the same is looked for in their tags, which are not masked where vectors are not."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator = EncryptedCoordinator(stage.charter, stage.clients)
        vectors = stage.random_vectors(np.random.default_rng(1))
        vectors[2] = vectors[1].copy()
        coordinator.set_up()
        coordinator.start_round(vectors)
        tags = [coordinator.tags_of([number]) for number in coordinator.everybody]
        _made_up(coordinator, tries)
        return "that h1 and h2 sent the same vector" if len(set(tags)) < len(tags) else None

    return under_each(WITHOUT_MASKS, build, folder, Refuser.HOSPITAL, script)


def guess_with_a_stolen_key(build: Build, folder: Path) -> Outcome:
    """The key of an epoch's tags was on a stolen disk: with it a guess at a hospital's vector is held to its tag."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, vectors = encrypted_round(stage)
        session, key = coordinator.session, stage.clients[2].tag_key
        guess = round_tag(vectors[VICTIM], session, key, coordinator.round, MODEL_DIGEST, [VICTIM])
        _made_up(coordinator, tries)
        return "that a guess at h1's vector is right" if guess == coordinator.tags_of([VICTIM]) else None

    return under_each(WITHOUT_MASKS, build, folder, Refuser.HOSPITAL, script)


_ENCRYPTED: Final = "What holds where sums are encrypted"
_DOUBLE_LOCK: Final = "The double lock"
_FORGED: Final = Refused.with_reasons(Refuser.HOSPITAL, "forged-sum")

ATTACKS: Final = (
    Attack(
        "shared-secret-on-all-ciphertexts",
        Liar.BOTH,
        "Opens every ciphertext and every share of a round with the secret of a hospital that colludes.",
        _DOUBLE_LOCK,
        Refused.with_reasons(Refuser.HOSPITAL, "unexpected-message", "differencing"),
        opened_vectors,
        quick=True,
    ),
    Attack(
        "shared-secret-on-a-late-vector",
        Liar.BOTH,
        "Has a hospital declared dropped, and opens its vector, which it has held back, with the secret of another.",
        _DOUBLE_LOCK,
        Refused.with_reasons(Refuser.HOSPITAL, "unexpected-message"),
        opened_late_vector,
    ),
    Attack(
        "shares-in-sealed-reveals",
        Liar.COORDINATOR,
        "Looks for shares in what hospitals seal for one another.",
        _DOUBLE_LOCK,
        _FORGED,
        shares_in_sealed_reveals,
    ),
    Attack(
        "secret-from-acknowledgements",
        Liar.COORDINATOR,
        "Tries whatever hospitals acknowledge their secret with, and all that is public, as the secret.",
        _ENCRYPTED,
        _FORGED,
        secret_from_acknowledgements,
    ),
    Attack(
        "repeated-encryption-noise",
        Liar.COORDINATOR,
        "Looks for two ciphertexts with the same randomness: their difference is that of two vectors.",
        _ENCRYPTED,
        _FORGED,
        repeated_randomness,
    ),
    Attack(
        "equal-vectors-by-their-tags",
        Liar.COORDINATOR,
        "Looks for equal tags, which are not masked where vectors are not, to learn who sent the same.",
        _ENCRYPTED,
        _FORGED,
        equal_tags,
    ),
    Attack(
        "guess-with-a-stolen-tag-key",
        Liar.COORDINATOR,
        "Holds a guess at a hospital's vector to its tag, with the tag key off a stolen disk.",
        _ENCRYPTED,
        _FORGED,
        guess_with_a_stolen_key,
    ),
)
