"""Attacks on the sum that is given back: changed, short of a hospital, doubled, another's, or guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.encoding import pack
from secagg.encoding.ring import RingVector
from secagg.masking.messages import Sum
from secagg.masking.round_tags import round_tag
from secagg.wire import Stage
from secagg.wire.envelope import decode
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import MODEL_DIGEST, Consortium, Vectors

_MEMBERS: Final = 5
_VICTIM: Final = 1
_COLLUDER: Final = 2
_OTHER_MODEL: Final = bytes([7]) * 32
Change = Callable[[RingVector, int, Vectors], tuple[RingVector, int]]
"""(sum, tag, everybody's vectors) to what is given out in their place."""


def _revealed(stage: Consortium) -> tuple[LyingCoordinator, Vectors]:
    """A round in which all have revealed, with numbers small enough to be doubled without a wrap."""
    coordinator = LyingCoordinator(stage.charter, stage.clients)
    coordinator.set_up()
    session = coordinator.session
    generator = np.random.default_rng(1)
    vectors = {
        number: session.ring.from_signed(generator.integers(-1000, 1000, session.length)) for number in stage.clients
    }
    coordinator.start_round(vectors)
    coordinator.unmask(coordinator.everybody)
    return coordinator, vectors


def _changed(coordinator: LyingCoordinator, vectors: Vectors, change: Change) -> bytes:
    vector, tag = change(*coordinator.unmask_sum(coordinator.everybody), vectors)
    session = coordinator.session
    packed = pack(vector, session.ring)
    return coordinator.sum_message(coordinator.everybody, packed, tag=tag % (1 << 8 * session.tag_size))


def _taken(stage: Consortium, message: bytes, tries: Tries, what: str) -> Outcome:
    for client in stage.clients.values():
        tries(client.receive, message)
    taken = [client for client in stage.clients.values() if client.take_sum()]
    return tries.outcome(f"{len(taken)} of {len(stage.clients)} hospitals took {what}" if taken else None)


def _forge(build: Build, folder: Path, change: Change, what: str) -> Outcome:
    with Consortium.make(folder, _MEMBERS, build) as stage:
        coordinator, vectors = _revealed(stage)
        return _taken(stage, _changed(coordinator, vectors, change), Tries(Refuser.HOSPITAL), what)


def forged(build: Build, folder: Path) -> Outcome:
    """One number of the sum is one larger."""

    def change(vector: RingVector, tag: int, _: Vectors) -> tuple[RingVector, int]:
        vector[7] += vector.dtype.type(1)
        return vector, tag

    return _forge(build, folder, change, "a sum in which one number was changed by one step")


def omitted(build: Build, folder: Path) -> Outcome:
    """A hospital that is said to be in the sum is taken out of it, by a coordinator that even knows its vector."""
    return _forge(build, folder, lambda total, tag, vectors: (total - vectors[5], tag), "a sum short of a hospital")


def counted_twice(build: Build, folder: Path) -> Outcome:
    """A hospital counts twice."""
    return _forge(build, folder, lambda total, tag, vectors: (total + vectors[5], tag), "a sum with a hospital twice")


def doubled(build: Build, folder: Path) -> Outcome:
    """Sum and tag are doubled: the tag of a linear code would be doubled too."""
    return _forge(build, folder, lambda total, tag, _: (total + total, 2 * tag), "twice the sum")


def of_another_model(build: Build, folder: Path) -> Outcome:
    """The true sum is said to start from another model."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        coordinator, _ = _revealed(stage)
        true = decode(coordinator.read(coordinator.honest_sum(coordinator.everybody)).payload, Sum)
        other = msgspec.structs.replace(true, model_digest=_OTHER_MODEL)
        message = coordinator.forge(Stage.SUM, other, round_number=coordinator.round)
        return _taken(stage, message, Tries(Refuser.HOSPITAL), "a sum of another model")


def of_an_earlier_round(build: Build, folder: Path) -> Outcome:
    """A sum that was true in one round, with its tag, is given out in the next."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        coordinator, vectors = _revealed(stage)
        vector, tag = coordinator.unmask_sum(coordinator.everybody)
        stage.deliver([(number, coordinator.honest_sum(coordinator.everybody)) for number in stage.clients])
        for client in stage.clients.values():
            client.take_sum()
        coordinator.sum_over(vectors, coordinator.everybody, step=2)
        packed = pack(vector, coordinator.session.ring)
        message = coordinator.sum_message(coordinator.everybody, packed, 2, tag)
        return _taken(stage, message, Tries(Refuser.HOSPITAL), "the sum of the round before")


def over_others(build: Build, folder: Path) -> Outcome:
    """The sum is said to be over fewer, over others, of another step, or to hold what a hospital never sent.

    Its tag fits all the same: a hospital has given the key of the tags away.
    """
    with Consortium.make(folder, _MEMBERS, build) as stage:
        coordinator, _ = _revealed(stage)
        tries = Tries(Refuser.HOSPITAL)
        for survivors, step in (
            ([1, 2, 3], 1),
            ([1, 2, 3, 4], 1),
            ([1, 2, 3, 4, 5], 2),
            ([1, 2, 3, 4, 9], 1),
            ([1, 2, 3, 4, 4], 1),
        ):
            tries(stage.clients[_VICTIM].receive, _fitting_zeros(coordinator, survivors, step))
        coordinator.begin([5], step=2)
        tries(stage.clients[5].receive, _fitting_zeros(coordinator, coordinator.everybody, 2))
        taken = [client for client in stage.clients.values() if client.take_sum()]
        return tries.outcome("a hospital took a sum over others than it answered for" if taken else None)


def _fitting_zeros(coordinator: LyingCoordinator, survivors: list[int], step: int) -> bytes:
    """A sum of zeros with its tag."""
    session = coordinator.session
    zeros, key = session.ring.zeros(session.length), coordinator.clients[_COLLUDER].tag_key
    tag = round_tag(zeros, session, key, coordinator.round, MODEL_DIGEST, survivors)
    return coordinator.sum_message(survivors, pack(zeros, session.ring), step, tag)


def guessed(build: Build, folder: Path) -> Outcome:
    """Tag after tag is tried on one hospital until one fits."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        coordinator, _ = _revealed(stage)
        tries = Tries(Refuser.HOSPITAL)
        guesses = sum(_is_looked_at(coordinator, tag, tries) for tag in range(20))
        return tries.outcome(f"{guesses} guesses at a tag where one is allowed" if guesses > 1 else None)


def guessed_after_a_restart(build: Build, folder: Path) -> Outcome:
    """One tag is tried on a hospital, and another in an epoch that is set up once it was started again."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        coordinator, vectors = _revealed(stage)
        before, after = Tries(Refuser.HOSPITAL), Tries(Refuser.HOSPITAL)
        guesses = int(_is_looked_at(coordinator, 0, before))
        stage.stop(_VICTIM)
        stage.start(_VICTIM)
        later = LyingCoordinator(stage.charter, stage.clients, epoch=2, first_round=2, rounds=1)
        after(later.open, [_VICTIM])
        if not after.reasons:
            later.open(later.all_but(_VICTIM))
            later.send_roster()
            later.send_deals()
            later.start_round(vectors)
            later.unmask(later.everybody)
            guesses += _is_looked_at(later, 1, after)
        return after.outcome(f"{guesses} guesses at a tag where one is allowed" if guesses > 1 else None)


def _is_looked_at(coordinator: LyingCoordinator, tag: int, tries: Tries) -> bool:
    """Whether a hospital compares a guess at the tag of a sum of zeros with its own, and so tells whether it fits."""
    zeros = bytes(coordinator.session.vector_bytes)
    guess = Tries(Refuser.HOSPITAL)
    guess(coordinator.clients[_VICTIM].receive, coordinator.sum_message(coordinator.everybody, zeros, tag=tag))
    tries.reasons |= guess.reasons
    return guess.reasons == {"forged-sum"}


_FORGED = "A forged sum"
_REFUSED = Refused.with_reasons(Refuser.HOSPITAL, "forged-sum")

ATTACKS: Final = (
    Attack(
        "forged-sum",
        Liar.COORDINATOR,
        "Changes one number of the sum by one step.",
        _FORGED,
        _REFUSED,
        forged,
        quick=True,
    ),
    Attack(
        "omitted-from-the-sum",
        Liar.COORDINATOR,
        "Takes a hospital out of the sum that it is said to be in.",
        _FORGED,
        _REFUSED,
        omitted,
        quick=True,
    ),
    Attack("counted-twice", Liar.COORDINATOR, "Lets a hospital count twice.", _FORGED, _REFUSED, counted_twice),
    Attack("doubled-sum", Liar.COORDINATOR, "Doubles the sum, and its tag with it.", _FORGED, _REFUSED, doubled),
    Attack(
        "sum-of-another-model",
        Liar.COORDINATOR,
        "Gives out a true sum as one that starts from another model.",
        _FORGED,
        _REFUSED,
        of_another_model,
    ),
    Attack(
        "sum-of-an-earlier-round",
        Liar.COORDINATOR,
        "Gives out a round's true sum, with its tag, as the next round's.",
        _FORGED,
        _REFUSED,
        of_an_earlier_round,
    ),
    Attack(
        "sum-over-others",
        Liar.BOTH,
        "Says that a sum is over other hospitals, of another step, or holds what a hospital never sent; the tag fits.",
        _FORGED,
        Refused.with_reasons(
            Refuser.HOSPITAL,
            "below-threshold",
            "survivors-changed",
            "step-changed",
            "unknown-survivor",
            "malformed-survivors",
            "never-masked",
        ),
        over_others,
    ),
    Attack(
        "guessed-tags",
        Liar.COORDINATOR,
        "Tries tag after tag on one hospital.",
        _FORGED,
        Refused.with_reasons(Refuser.HOSPITAL, "forged-sum", "unexpected-message"),
        guessed,
    ),
    Attack(
        "guessed-tags-after-a-restart",
        Liar.COORDINATOR,
        "Tries a tag on one hospital, and another in a new epoch once it was started again.",
        _FORGED,
        Refused.with_reasons(Refuser.HOSPITAL, "unexpected-message"),
        guessed_after_a_restart,
    ),
)
