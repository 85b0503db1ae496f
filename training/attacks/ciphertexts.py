"""Attacks by the bytes of ciphertexts and sealed shares: no numbers, too many, too few, of other secrets.

SEAL is a library in C++: what comes from outside is taken apart and looked at before it sees any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.errors import SecaggError
from secagg.homomorphic.spec import SEED_SIZE, CipherSpec
from secagg.homomorphic.words import pack_words, words_size
from secagg.labels import DIGEST_SIZE
from secagg.masking import Survivors
from secagg.masking.messages import AEAD_OVERHEAD, Masked, Reveal, SealedReveal
from secagg.masking.shamir import SHARE_SIZE
from secagg.wire import Outbox, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode
from training.attacks.encrypted import ENCRYPTED, EncryptedCoordinator, under_each
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import MODEL_DIGEST, Consortium, Vectors

LIAR: Final = 2
VICTIM: Final = 1
_SILENT: Final = 5


def malformed(build: Build, folder: Path) -> Outcome:
    """Blocks that are too short, too long, or hold what is no residue: to the coordinator, and to a hospital."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        crashes = _crashes_of_the_coordinator(stage, tries) + _crashes_of_a_hospital(stage, tries)
        return f"{crashes} messages that end a party's process" if crashes else None

    return under_each(ENCRYPTED, build, folder, Refuser.BOTH, script)


def _crashes_of_the_coordinator(stage: Consortium, tries: Tries) -> int:
    stage.set_up()
    stage.deliver(stage.server.begin(1))
    session, sealer, crashes = stage.server.session, Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], 1), 0
    for vector in _no_ciphertexts(session.form.spec, session.vector_bytes, (SEED_SIZE,)):
        masked = Masked(MODEL_DIGEST, memoryview(vector), bytes(session.tag_size))
        crashes += _ends(tries, stage.server.receive, LIAR, sealer.seal(Stage.MASKED, masked, round=1))
    return crashes


def _crashes_of_a_hospital(stage: Consortium, tries: Tries) -> int:
    coordinator = EncryptedCoordinator(stage.charter, stage.clients, epoch=2, first_round=2, rounds=1)
    coordinator.set_up()
    coordinator.start_round(stage.random_vectors(np.random.default_rng(1)))
    coordinator.unmask(coordinator.everybody)
    session, victim, crashes = coordinator.session, stage.clients[VICTIM], 0
    for vector in _no_ciphertexts(session.form.spec, session.sum_bytes, (0, session.sum_bytes // 2)):
        crashes += _ends(tries, victim.receive, coordinator.encrypted_sum(coordinator.everybody, vector))
    return crashes


def _ends(tries: Tries, door: Callable[..., object], *message: object) -> bool:
    """Whether a message comes out again as an error that nobody expects: it would end a party's process."""
    try:
        tries(door, *message)
    except SecaggError:
        raise
    except Exception:
        return True
    return False


def _no_ciphertexts(spec: CipherSpec, size: int, polynomials: Collection[int]) -> Iterator[bytes]:
    """What is no vector of one block, in which polynomials begin at these places."""
    for wrong in (0, 1, size // 2, size - 1, size + 1):
        yield bytes(wrong)
    for start in polynomials:
        for place in (0, 1, spec.block // 2 - 1, spec.block // 2, spec.block - 1):
            for residue in (spec.parameters.modulus, (1 << 60) - 1):
                words, whole = np.zeros(spec.block, np.uint64), bytearray(size)
                words[place] = residue
                pack_words(words, memoryview(whole)[start : start + words_size(spec.block)])
                yield bytes(whole)
    yield b"\xff" * size


# --- Shares for the others -------------------------------------------------------------------------------------------


def false_sealed_shares(build: Build, folder: Path) -> Outcome:
    """A hospital seals what is no shares, or wrong ones, where no other could stand in for it."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        vectors = stage.random_vectors(np.random.default_rng(1))
        stage.set_up()
        survivors = Survivors(tuple(number for number in stage.clients if number != _SILENT))
        for falsify in (_garbage, _wrong_shares):
            outbox = _reveal(stage, vectors, tries, falsify(stage, survivors))
            for number, message in outbox:
                tries(stage.clients[number].receive, message)
            taken = [total for client in stage.clients.values() if (total := client.take_sum())]
            truth, ring = stage.integers(vectors, *survivors.numbers), stage.server.session.ring
            wrong = [total for total in taken if not np.array_equal(ring.to_signed(total.total.vector), truth)]
            if wrong:
                return f"{len(wrong)} hospitals took a wrong sum"
        return None

    return under_each(("double-lock",), build, folder, Refuser.BOTH, script)


def _reveal(stage: Consortium, vectors: Vectors, tries: Tries, false: list[SealedReveal]) -> Outbox:
    """A round from its beginning to its sum, in which the liar tries one false reveal after the other."""
    stage.deliver(stage.server.begin(1))
    outbox = stage.answer(stage.mask(vectors, silent=[_SILENT]))
    replies = dict(stage.deliver(stage.answer(stage.deliver(outbox))))
    # Of the vectors that it was asked about, so that it is not refused for these.
    due = decode(open_envelope(replies.pop(LIAR), stage.charter, 1 << 20).payload, SealedReveal).inputs_digest
    sealer = Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], 1)
    outbox = []
    for reveal in (msgspec.structs.replace(reveal, inputs_digest=due) for reveal in false):
        outbox += tries(stage.server.receive, LIAR, sealer.seal(Stage.REVEAL, reveal, round=stage.server.round)) or []
    return outbox + stage.answer(list(replies.items()))


def _garbage(stage: Consortium, survivors: Survivors) -> list[SealedReveal]:
    digest, due = survivors.digest(), len(stage.clients) * SHARE_SIZE + AEAD_OVERHEAD
    contents = ((bytes(32), due), (digest, due - SHARE_SIZE), (digest, due + 1), (digest, due))
    return [SealedReveal(answered, bytes(DIGEST_SIZE), bytes(size)) for answered, size in contents]


def _wrong_shares(stage: Consortium, survivors: Survivors) -> list[SealedReveal]:
    group, shares = stage.clients[LIAR]._current().group, bytes(SHARE_SIZE)
    reveal = Reveal(survivors.digest(), bytes(DIGEST_SIZE), shares * len(survivors.numbers), shares)
    return [group.seal_reveal(reveal, stage.server.round + 1, LIAR)]


_ENCRYPTED: Final = "What holds where sums are encrypted"

ATTACKS: Final = (
    Attack(
        "malformed-ciphertexts",
        Liar.HOSPITAL,
        "Sends blocks that are too short, too long, or hold what is no residue; a coordinator sends the like in sums.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.BOTH, "malformed", "wrong-length"),
        malformed,
    ),
    Attack(
        "false-sealed-shares",
        Liar.HOSPITAL,
        "Seals wrong shares, or none, for the others, where nobody could stand in for it.",
        "The double lock",
        Refused.with_reasons(Refuser.BOTH, "survivors-changed", "wrong-length", "unreadable-shares", "wrong-share"),
        false_sealed_shares,
    ),
)
