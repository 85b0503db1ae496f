"""Attacks on encrypted sums: other ciphertexts than it names, other contributors, sums of another round, two for one.

Nothing that a hospital opens is taken up before its tag fits: what is read here is what it would have taken up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.charter.sections import Homomorphic
from secagg.masking import Purpose, Session
from secagg.masking.messages import Contribution, Masked
from secagg.masking.round_tags import round_tag
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import peek
from training.attacks.encrypted import (
    COLLUDER,
    ENCRYPTED,
    VICTIM,
    WITHOUT_MASKS,
    EncryptedCoordinator,
    encrypted_round,
    under_each,
)
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import MODEL_DIGEST, Consortium

Chosen = Callable[[EncryptedCoordinator], list[int]]
"""Whose ciphertexts are added."""


def _taken(coordinator: EncryptedCoordinator, message: bytes, tries: Tries, what: str) -> str | None:
    for number in coordinator.everybody:
        tries(coordinator.clients[number].receive, message)
    taken = [number for number in coordinator.everybody if coordinator.clients[number].take_sum()]
    return f"{len(taken)} of {len(coordinator.everybody)} hospitals took {what}" if taken else None


def _over(build: Build, folder: Path, choose: Chosen, what: str) -> Outcome:
    """A sum that names everybody, and is over others."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, _ = encrypted_round(stage)
        coordinator.unmask(coordinator.everybody)
        chosen = choose(coordinator)
        vector, tag = coordinator.added(chosen), coordinator.tags_of(chosen)
        return _taken(coordinator, coordinator.encrypted_sum(coordinator.everybody, vector, tag), tries, what)

    return under_each(ENCRYPTED, build, folder, Refuser.HOSPITAL, script)


def one_as_the_sum(build: Build, folder: Path) -> Outcome:
    """One hospital's ciphertext, in the form of a sum, with that hospital's own tag."""
    return _over(build, folder, lambda _: [VICTIM], "h1's vector for the sum")


def counted_twice(build: Build, folder: Path) -> Outcome:
    """One hospital's ciphertext is added twice."""
    return _over(build, folder, lambda sent: [VICTIM, *sent.everybody], "a sum with a hospital twice")


def left_out(build: Build, folder: Path) -> Outcome:
    """One hospital's ciphertext is missing, and the hospital is named all the same."""
    return _over(build, folder, lambda sent: sent.all_but(VICTIM), "a sum without a hospital that it names")


def unnamed(build: Build, folder: Path) -> Outcome:
    """One hospital's ciphertext is in the sum, and the hospital is not named."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, _ = encrypted_round(stage)
        named, everybody = coordinator.all_but(VICTIM), coordinator.everybody
        coordinator.unmask(named)
        message = coordinator.encrypted_sum(named, coordinator.added(everybody), coordinator.tags_of(everybody))
        return _taken(coordinator, message, tries, "a sum with a hospital that it does not name")

    return under_each(ENCRYPTED, build, folder, Refuser.HOSPITAL, script)


def doubled(build: Build, folder: Path) -> Outcome:
    """Sum and tag are doubled. Numbers are small enough that nothing wraps."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator = EncryptedCoordinator(stage.charter, stage.clients)
        coordinator.set_up()
        ring, length, generator = coordinator.session.ring, coordinator.session.length, np.random.default_rng(1)
        numbers = coordinator.everybody
        coordinator.start_round({n: ring.from_signed(generator.integers(-1000, 1000, length)) for n in numbers})
        twice = [*numbers, *numbers]
        message = coordinator.encrypted_sum(numbers, coordinator.added(twice), coordinator.tags_of(twice))
        return _taken(coordinator, message, tries, "twice the sum")

    return under_each(WITHOUT_MASKS, build, folder, Refuser.HOSPITAL, script)


# --- The list of contributors --------------------------------------------------------------------------------------


def unsigned_contributors(build: Build, folder: Path) -> Outcome:
    """A sum of numbers that nobody sent, with the tag that fits: a hospital gave the keys away. Those whom it names
    have signed nothing of the kind, or are too few, strangers, or named twice."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, vectors = encrypted_round(stage, COLLUDER)
        coordinator.unmask(coordinator.everybody)
        earlier = dict(coordinator.masked)
        coordinator.give_sum(coordinator.everybody, coordinator.encrypted_sum(coordinator.everybody))
        coordinator.start_round({number: vectors[number] for number in coordinator.all_but(VICTIM)}, step=2)
        coordinator.masked[VICTIM] = earlier[VICTIM]
        return _named_in_vain(stage, coordinator, tries)

    return under_each(WITHOUT_MASKS, build, folder, Refuser.HOSPITAL, script)


def _named_in_vain(stage: Consortium, coordinator: EncryptedCoordinator, tries: Tries) -> str | None:
    everybody, victim = coordinator.everybody, stage.clients[2]
    zeros = coordinator.session.ring.zeros(coordinator.session.length)
    for named, contributions in _lists(stage, coordinator):
        tag_key = stage.clients[COLLUDER].tag_key
        tag = round_tag(zeros, coordinator.session, tag_key, coordinator.round, MODEL_DIGEST, named)
        nothing = bytes(coordinator.session.sum_bytes)
        fitting = coordinator.hidden(tag, named)
        tries(victim.receive, coordinator.encrypted_sum(named, nothing, fitting, contributions, step=2))
        if victim.take_sum():
            return f"a hospital took a sum over {named}, of {everybody}"
    return None


def _lists(stage: Consortium, coordinator: EncryptedCoordinator) -> Iterator[tuple[list[int], list[Contribution]]]:
    """Names, and what is shown for signatures of theirs. In this round h1 has signed nothing."""
    everybody, others = coordinator.everybody, coordinator.all_but(VICTIM)
    earlier, *true = coordinator.signed_by(everybody)
    change = msgspec.structs.replace
    yield everybody, true
    yield everybody, [true[0], *true]
    yield everybody, [earlier, *true]
    yield everybody, [change(earlier, sequence=earlier.sequence + 1), *true]
    yield everybody, [_signature(stage, coordinator, COLLUDER, coordinator.session.epoch), *true]
    yield everybody, [_signature(stage, coordinator, VICTIM, coordinator.session.epoch + 1), *true]
    yield others, true[:-1]
    yield others, [change(true[0], payload_digest=bytes(32)), *true[1:]]
    yield others, [true[1], true[0], *true[2:]]
    yield others[:3], true[:3]
    yield [2, 3, 3, 4], [true[0], true[1], true[1], true[2]]
    yield [2, 3, 4, 9], [*true[:3], true[0]]


def _signature(stage: Consortium, coordinator: EncryptedCoordinator, signer: int, epoch: int) -> Contribution:
    """A signature in h1's name: another's, or its own of another epoch."""
    payload = msgspec.Raw(bytes(coordinator.read(coordinator.masked[VICTIM]).payload))
    sealer = Sealer(stage.charter, VICTIM, stage.identities[signer - 1], epoch)
    message = sealer.seal(Stage.MASKED, payload, round=coordinator.round)  # type: ignore[arg-type]  # Encodes alike.
    return Contribution(0, peek(message).payload_digest, msgspec.msgpack.decode(message)[1])


# --- What was true elsewhere ---------------------------------------------------------------------------------------


def of_an_earlier_round(build: Build, folder: Path) -> Outcome:
    """A round's sum, as it was, in the next round's name, and with the signatures of the next round's vectors."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, vectors = encrypted_round(stage)
        everybody = coordinator.everybody
        coordinator.unmask(everybody)
        vector, tag = coordinator.added(everybody), coordinator.tags_of(everybody)
        signed, first = coordinator.signed_by(everybody), coordinator.encrypted_sum(everybody)
        coordinator.give_sum(everybody, first)
        coordinator.start_round({number: vectors[number][::-1].copy() for number in everybody}, step=2)
        coordinator.unmask(everybody)
        for message in (
            first,
            coordinator.encrypted_sum(everybody, vector, tag, signed, step=2),
            coordinator.encrypted_sum(everybody, vector, tag, step=2),
        ):
            if taken := _taken(coordinator, message, tries, "the sum of the round before"):
                return taken
        return None

    return under_each(ENCRYPTED, build, folder, Refuser.HOSPITAL, script)


def foreign_sums(build: Build, folder: Path) -> Outcome:
    """Sums under another epoch's secret, another charter and other parameters, as they are and as this round's."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        before, vectors = encrypted_round(stage)
        coordinator = EncryptedCoordinator(stage.charter, stage.clients, epoch=2, first_round=2, rounds=1)
        coordinator.set_up()
        coordinator.start_round(vectors)
        coordinator.unmask(coordinator.everybody)
        everybody = coordinator.everybody
        like, larger = _round_elsewhere(stage, "n4096-q60"), _round_elsewhere(stage, "n8192-q60")
        large, vector, tag = larger.added(everybody), before.added(everybody), before.tags_of(everybody)
        for message in (
            before.encrypted_sum(everybody),
            like.encrypted_sum(everybody),
            coordinator.encrypted_sum(everybody, large),
            coordinator.encrypted_sum(everybody, large[: coordinator.session.sum_bytes - 1]),
            coordinator.encrypted_sum(everybody, vector, tag, before.signed_by(everybody)),
            coordinator.encrypted_sum(everybody, vector, tag),
        ):
            if taken := _taken(coordinator, message, tries, "a sum under another secret"):
                return taken
        return None

    return under_each(ENCRYPTED, build, folder, Refuser.HOSPITAL, script)


def foreign_vectors(build: Build, folder: Path) -> Outcome:
    """A hospital's ciphertexts of an earlier epoch and round, of another charter, and under other parameters."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        before, vectors = encrypted_round(stage)
        stage.server = stage.build.server(Session(stage.charter, 2, Purpose.TRAINING, 2, 2))
        stage.set_up()
        stage.run_round(vectors)
        stage.deliver(stage.server.begin(2))
        like, larger = _round_elsewhere(stage, "n4096-q60"), _round_elsewhere(stage, "n8192-q60")
        earlier = [message for sender, message in stage.sent if sender == 2 and peek(message).stage is Stage.MASKED]
        sealer = Sealer(stage.charter, 2, stage.identities[1], 2)
        session, vector = stage.server.session, larger.masked_payload(2).vector
        parts = (vector, vector[: session.vector_bytes - 1])
        large = [Masked(MODEL_DIGEST, part, bytes(session.tag_size)) for part in parts]
        renamed = [sealer.seal(Stage.MASKED, payload, round=3) for payload in large]
        messages = [before.masked[2], like.masked[2], *earlier, *renamed]
        taken = [message for message in messages if tries(stage.server.receive, 2, message) is not None]
        return f"the coordinator added {len(taken)} vectors of another time or place" if taken else None

    return under_each(ENCRYPTED, build, folder, Refuser.COORDINATOR, script)


def _round_elsewhere(stage: Consortium, parameters: str) -> EncryptedCoordinator:
    """A round of the same members under another charter."""
    folder = stage.folder / parameters
    folder.mkdir()
    scheme, homomorphic = stage.charter.charter.scheme, Homomorphic(parameters=parameters)
    members = len(stage.clients)
    with Consortium.make(
        folder, members, stage.build, name="elsewhere", scheme=scheme, homomorphic=homomorphic
    ) as other:
        coordinator, _ = encrypted_round(other)
        coordinator.unmask(coordinator.everybody)
        return coordinator


# --- Two sums of the same -------------------------------------------------------------------------------------------


def two_sums(build: Build, folder: Path) -> Outcome:
    """One hospital is given a sum over all, and one over all but the victim: of the same round, of a second try, and in
    a new epoch after it was started again. Both are true; it need only subtract them."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        coordinator, vectors = encrypted_round(stage)
        everybody, others, curious = coordinator.everybody, coordinator.all_but(VICTIM), stage.clients[2]
        curious.receive(coordinator.encrypted_sum(everybody))
        whole = curious.take_sum()
        tries(curious.receive, coordinator.encrypted_sum(others))
        coordinator.start_round(vectors)
        tries(curious.receive, coordinator.encrypted_sum(others))
        second = curious.take_sum()
        for number in everybody:
            stage.stop(number)
            stage.start(number)
        later = EncryptedCoordinator(stage.charter, stage.clients, epoch=2, first_round=3, rounds=1)
        later.set_up()
        later.start_round(vectors)
        tries(stage.clients[2].receive, later.encrypted_sum(others))
        second = second or stage.clients[2].take_sum()
        if whole is None or second is None:
            return None
        ring = stage.server.session.ring
        difference = ring.to_signed(whole.total.vector) - ring.to_signed(second.total.vector)
        return recovered(difference, stage.integers(vectors, VICTIM), "h1's vector, at h2")

    return under_each(WITHOUT_MASKS, build, folder, Refuser.HOSPITAL, script)


_ENCRYPTED: Final = "What holds where sums are encrypted"
_FORGED: Final = Refused.with_reasons(Refuser.HOSPITAL, "forged-sum")

ATTACKS: Final = (
    Attack(
        "one-ciphertext-as-the-sum",
        Liar.COORDINATOR,
        "Gives out one hospital's ciphertext as the sum, so that all open it.",
        _ENCRYPTED,
        _FORGED,
        one_as_the_sum,
        quick=True,
    ),
    Attack(
        "ciphertext-counted-twice", Liar.COORDINATOR, "Adds one ciphertext twice.", _ENCRYPTED, _FORGED, counted_twice
    ),
    Attack(
        "ciphertext-left-out",
        Liar.COORDINATOR,
        "Leaves a ciphertext out of the sum that its hospital is said to be in.",
        _ENCRYPTED,
        _FORGED,
        left_out,
    ),
    Attack(
        "ciphertext-of-somebody-unnamed",
        Liar.COORDINATOR,
        "Adds the ciphertext of a hospital that it does not name.",
        _ENCRYPTED,
        _FORGED,
        unnamed,
    ),
    Attack(
        "doubled-ciphertexts",
        Liar.COORDINATOR,
        "Adds every ciphertext twice, and every tag.",
        _ENCRYPTED,
        _FORGED,
        doubled,
    ),
    Attack(
        "unsigned-contributors",
        Liar.BOTH,
        "Makes up a sum with a tag that fits, and names hospitals that have signed no vector of the round.",
        _ENCRYPTED,
        Refused.with_reasons(
            Refuser.HOSPITAL,
            "contributors-missing",
            "forged-contribution",
            "below-threshold",
            "malformed-survivors",
            "unknown-survivor",
        ),
        unsigned_contributors,
        quick=True,
    ),
    Attack(
        "encrypted-sum-of-an-earlier-round",
        Liar.COORDINATOR,
        "Gives out a round's true sum, with its tag, as the next round's, with the next round's signatures.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.HOSPITAL, "other-round", "forged-contribution", "forged-sum"),
        of_an_earlier_round,
    ),
    Attack(
        "foreign-encrypted-sums",
        Liar.COORDINATOR,
        "Gives out sums under another epoch's secret, another charter and other parameters.",
        _ENCRYPTED,
        Refused.with_reasons(
            Refuser.HOSPITAL,
            "other-charter",
            "other-epoch",
            "oversized",
            "wrong-length",
            "forged-contribution",
            "forged-sum",
        ),
        foreign_sums,
    ),
    Attack(
        "foreign-ciphertexts",
        Liar.HOSPITAL,
        "Sends ciphertexts of an earlier epoch and round, of another charter and under other parameters.",
        _ENCRYPTED,
        Refused.with_reasons(
            Refuser.COORDINATOR, "other-charter", "other-epoch", "other-round", "oversized", "wrong-length"
        ),
        foreign_vectors,
    ),
    Attack(
        "two-encrypted-sums-of-one-step",
        Liar.COORDINATOR,
        "Gives a hospital a sum over all and one over all but the victim, of one step, so that it can subtract.",
        _ENCRYPTED,
        Refused.with_reasons(Refuser.HOSPITAL, "never-masked", "differencing"),
        two_sums,
        quick=True,
    ),
)
