"""Attacks on what hospitals encrypt under: weak parameters, others than agreed, two secrets, a secret given away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest.mock import patch

import numpy as np
import tenseal
from tenseal import sealapi

from secagg.charter import Charter
from secagg.charter.sections import Homomorphic
from secagg.homomorphic import parameters
from secagg.homomorphic.cipher import Cipher
from secagg.homomorphic.context import public_context
from secagg.homomorphic.parameters import ALLOWED, Encryption, ParameterSet
from secagg.homomorphic.seal import Channel, header
from secagg.homomorphic.spec import CipherSpec
from secagg.homomorphic.vectors import decrypt_vector
from secagg.masking import kdf
from secagg.masking.dealing import EpochSecrets, HeldShares, Route, seal_deal
from secagg.masking.messages import Acknowledge, Deal
from secagg.masking.states import ServerState
from secagg.wire import Outbox, Sealer, Stage
from secagg.wire.envelope import decode
from training.attacks.encrypted import COLLUDER, ENCRYPTED, VICTIM, EncryptedCoordinator, under_each
from training.attacks.inflating import inflating_frame, memory_for, saved_compressed
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import Consortium, make_charter, make_identities

LIAR: Final = 2
_LARGE: Final = 1 << 20
# An eighth of what 64 KiB inflate to: enough to be seen, not enough to harm who runs this.
_INFLATED: Final = 1 << 28
# For 128 bits of security a ring of degree 2048 may have a modulus of 54 bits, and one of 1024 of 27.
_WEAK: Final = (
    ParameterSet("n2048-q60", 2048, 0xFFFFFFFFFFFC001),
    ParameterSet("n1024-q30", 1024, 0x3FFF7801),
)


# --- Parameters ------------------------------------------------------------------------------------------------------


def weak_parameters(_build: Build, _folder: Path) -> Outcome:
    """A charter names parameters that nobody has listed; then such that are listed, and weak."""
    identities, tries = make_identities(5), Tries(Refuser.CHARTER)

    def propose() -> list[Charter]:
        chosen = [Homomorphic(parameters=weak.name) for weak in _WEAK]
        charters = [tries(make_charter, identities, scheme="bfv", homomorphic=section) for section in chosen]
        return [charter for charter in charters if charter]

    taken = propose()
    with patch.dict(parameters.ALLOWED, {weak.name: weak for weak in _WEAK}):
        taken += propose()
    return tries.outcome(f"{len(taken)} charters with weak parameters are in force" if taken else None)


def weak_parameters_in_use(_build: Build, _folder: Path) -> Outcome:
    """Weak parameters have come past the charter: a hospital is to encrypt under them."""
    tries, read = Tries(Refuser.HOSPITAL), 0
    for chosen in _WEAK:
        spec = CipherSpec(chosen, Encryption.BFV, 16)
        cipher = tries(Cipher, spec, bytes(64))
        if cipher:
            cipher.encrypt(np.arange(9, dtype=np.uint64), memoryview(bytearray(spec.fresh_block_size)))
            read += 1
    return tries.outcome(f"{read} ciphertexts under weak parameters" if read else None)


# --- What is acknowledged --------------------------------------------------------------------------------------------


def _to_acknowledging(stage: Consortium) -> tuple[Outbox, Acknowledge]:
    """Everybody's acknowledgement, which the coordinator waits for, and what is in the liar's."""
    replies = stage.deliver(stage.server.open())
    while stage.server.state is not ServerState.ACKNOWLEDGING:
        replies = stage.deliver(stage.answer(replies))
    envelope = EncryptedCoordinator(stage.charter, stage.clients).read(dict(replies)[LIAR])
    return replies, decode(envelope.payload, Acknowledge)


def _acknowledging(stage: Consortium, acknowledge: Acknowledge) -> bytes:
    sealer = Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], stage.server.session.epoch)
    return sealer.seal(Stage.ACKNOWLEDGE, acknowledge)


def swapped_parameters(build: Build, folder: Path) -> Outcome:
    """A hospital acknowledges other parameters than the charter's: another set, another modulus, another scheme."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        _, honest = _to_acknowledging(stage)
        for context in _other_contexts(stage.server.session.form.spec):
            false = _acknowledging(stage, Acknowledge(context, honest.fingerprint))
            if tries(stage.server.receive, LIAR, false) is not None:
                return f"h{LIAR} is counted upon, and encrypts under other parameters"
        return None

    return under_each(ENCRYPTED, build, folder, Refuser.COORDINATOR, script)


def _other_contexts(spec: CipherSpec) -> Iterator[bytes]:
    own = public_context(spec)
    other = Encryption.CKKS if spec.encryption is Encryption.BFV else Encryption.BFV
    yield public_context(CipherSpec(ALLOWED["n8192-q60"], spec.encryption, spec.bits))
    yield public_context(CipherSpec(spec.parameters, other, spec.bits))
    yield from (b"", own[:-1], own + b"\0", bytes(len(own)))


def swapped_secret(build: Build, folder: Path) -> Outcome:
    """A hospital acknowledges another secret than all others, which nobody else could read."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        replies, honest = _to_acknowledging(stage)
        false = _acknowledging(stage, Acknowledge(honest.context, bytes(32)))
        stage.answer([(number, false if number == LIAR else reply) for number, reply in replies])
        fault = stage.server.fault
        if fault and fault.culprit == f"h{LIAR}":
            tries.reasons.add(fault.reason)
        ready = stage.server.state is ServerState.READY
        return f"an epoch is open in which h{LIAR} encrypts under another secret" if ready else None

    return under_each(ENCRYPTED, build, folder, Refuser.COORDINATOR, script)


def key_material(build: Build, folder: Path) -> Outcome:
    """A hospital hands the coordinator the secret of all: as SEAL saves it, and in a context of TenSEAL's."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        replies, honest = _to_acknowledging(stage)
        taken = []
        for context in _with_secrets(stage.clients[LIAR]._current().group._cipher):
            handed = _acknowledging(stage, Acknowledge(context, honest.fingerprint))
            if tries(stage.server.receive, LIAR, handed) is not None:
                taken.append(context)
                break
        return _decrypted_with(taken[0], stage, replies) if taken else None

    return under_each(("bfv", "ckks"), build, folder, Refuser.COORDINATOR, script)


def _with_secrets(cipher: Cipher) -> Iterator[bytes]:
    channel = Channel(_LARGE)
    content = channel.content(cipher._secret)
    yield channel.saved(cipher._secret)
    yield header(len(content)) + content
    # TenSEAL has no contexts of one prime: these are others' secrets.
    for degree, primes in ((4096, [36, 36, 37]), (8192, [60, 40, 40, 60])):
        context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=primes)
        yield context.serialize(save_secret_key=True)


def inflated_context(build: Build, folder: Path) -> Outcome:
    """A hospital acknowledges a few kilobytes that SEAL would take for a compressed key, and inflate."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        _, honest = _to_acknowledging(stage)
        context = saved_compressed(inflating_frame(_INFLATED))
        false = _acknowledging(stage, Acknowledge(context, honest.fingerprint))
        held = memory_for(lambda: tries(stage.server.receive, LIAR, false))
        inflated = held > _INFLATED // 2
        return f"{len(context)} bytes have the coordinator hold {held >> 20} MiB" if inflated else None

    return under_each(("bfv", "ckks"), build, folder, Refuser.COORDINATOR, script)


def _decrypted_with(context: bytes, stage: Consortium, replies: Outbox) -> str | None:
    """What the coordinator reads of h1's vector with the key that it was handed, in the round that follows."""
    for number, reply in replies:
        if number != LIAR:
            stage.server.receive(number, reply)
    coordinator = EncryptedCoordinator(stage.charter, stage.clients)
    vectors = stage.random_vectors(np.random.default_rng(1))
    coordinator.start_round(vectors)
    session = coordinator.session
    cipher, key = Cipher(session.form.spec, bytes(64)), sealapi.SecretKey()
    cipher._channel.load_raw(key, cipher._context, context)
    cipher._decryptor = sealapi.Decryptor(cipher._context, key)
    packed = decrypt_vector(memoryview(coordinator.added([VICTIM])), session.form, cipher)
    guess = session.ring.to_signed(session.form.codec.unpack(packed, session.length))
    return recovered(guess, stage.integers(vectors, VICTIM), "h1's vector")


def two_secrets(build: Build, folder: Path) -> Outcome:
    """A hospital that colludes signs two sets of keys, of which each half is shown one, so that each makes a secret of
    its own, and the other half's contributions are worth nothing."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator = EncryptedCoordinator(stage.charter, stage.clients, colluders=(COLLUDER,))
        coordinator.open()
        secrets = EpochSecrets(coordinator.session, COLLUDER, np.random.default_rng(1).bytes)
        sealer = Sealer(stage.charter, COLLUDER, stage.identities[COLLUDER - 1], 1)
        other = sealer.seal(Stage.ADVERTISE, secrets.advertisement())
        coordinator.send_roster([1, 2, COLLUDER])
        coordinator.send_roster([3, 4], coordinator.with_exchanged(COLLUDER, other))
        coordinator.advertisements[COLLUDER] = other
        for number in (3, 4):
            coordinator.deals[COLLUDER, number] = _dealt_again(coordinator, secrets, sealer, number)
        for number in coordinator.all_but(COLLUDER):
            tries(coordinator.send_deals, [number])
        fingerprints = {bytes(coordinator.read(reply).payload) for reply in coordinator.acknowledgements.values()}
        return f"hospitals have made {len(fingerprints)} secrets" if len(fingerprints) > 1 else None

    return under_each(("bfv",), build, folder, Refuser.HOSPITAL, script)


def _dealt_again(coordinator: EncryptedCoordinator, secrets: EpochSecrets, sealer: Sealer, number: int) -> bytes:
    """What follows from the colluder's other keys, for one of the second half: there are no shares under bfv."""
    digest = decode(coordinator.read(coordinator.deals[3, 4]).payload, Deal).roster_digest
    route = Route(coordinator.session, digest, COLLUDER, number)
    held = HeldShares((), secrets.tag_contribution)
    agreed = kdf.agree(secrets.share_key, coordinator.advertised(number).share_key, str(number))
    deal = seal_deal(route, held, agreed)
    return sealer.seal(Stage.DEAL, deal, recipient=number)


_ENCRYPTED: Final = "What holds where sums are encrypted"

ATTACKS: Final = (
    Attack(
        "weak-parameters",
        Liar.AUTHOR,
        "Names parameters in a charter that are not listed, or listed and too weak.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.CHARTER, "unlisted-parameters", "weak-parameters"),
        weak_parameters,
    ),
    Attack(
        "weak-parameters-in-use",
        Liar.AUTHOR,
        "Has weak parameters come past the charter, so that a hospital encrypts under them.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.HOSPITAL, "weak-parameters"),
        weak_parameters_in_use,
    ),
    Attack(
        "swapped-parameters",
        Liar.HOSPITAL,
        "Acknowledges other parameters than the charter's.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.COORDINATOR, "other-context"),
        swapped_parameters,
    ),
    Attack(
        "swapped-secret",
        Liar.HOSPITAL,
        "Acknowledges another secret than the others, so that sums come to nothing.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.COORDINATOR, "other-secret"),
        swapped_secret,
    ),
    Attack(
        "two-group-secrets",
        Liar.BOTH,
        "Has a hospital sign two sets of keys and shows each to one half, so that each half makes its own secret.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.HOSPITAL, "other-roster"),
        two_secrets,
    ),
    Attack(
        "key-material-at-the-coordinator",
        Liar.HOSPITAL,
        "Hands the coordinator the secret of all hospitals, bare and in a context of TenSEAL's.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.COORDINATOR, "key-material"),
        key_material,
        quick=True,
    ),
    Attack(
        "inflated-context",
        Liar.HOSPITAL,
        "Acknowledges a few kilobytes that inflate to as much as the coordinator has, where SEAL is to look at them.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.COORDINATOR, "key-material"),
        inflated_context,
    ),
)
