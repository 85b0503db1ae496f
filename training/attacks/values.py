"""Attacks by numbers: at the limit and past it, no numbers at all, weights that outweigh everybody.

What an honest hospital's records or task give its encoder refuses. A hospital that lies has no encoder to ask.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from secagg.charter import Encoding
from secagg.encoding.ring import RingVector
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import PARAMETERS, Consortium, make_charter, make_identities

if TYPE_CHECKING:
    from training.vector_layout import UpdateVector

_MEMBERS: Final = 5
_PARAMETERS: Final = 4
_NORM: Final = 10.0
_MOST: Final = 1000
_LIAR: Final = 2
_PATIENTS: Final = 10
_NO_CELLS: Final = np.zeros(0, np.int64)


def _codec() -> UpdateVector:
    # They import torch, which takes seconds.
    from training.model_state import ModelLayout, TensorShape
    from training.vector_layout import UpdateVector

    encoding = Encoding(field_bits=24, update_norm=_NORM, max_weight=_MOST)
    charter = make_charter(make_identities(_MEMBERS), encoding=encoding)
    return UpdateVector(charter, ModelLayout((TensorShape("weights", (_PARAMETERS,)),)))


def _raw(codec: UpdateVector, number: float, weight: float = 1.0) -> RingVector:
    """What a hospital hands its encoder where nothing was clipped."""
    return codec.layout.encode([np.full(_PARAMETERS, number), np.array([weight])])


def _step(codec: UpdateVector) -> float:
    """The distance of two numbers that the encoder tells apart."""
    return 1 / codec.layout.scale(codec.layout.sections[0])


def _total(vectors: list[RingVector]) -> RingVector:
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    return total


def wraparound(_build: Build, _folder: Path) -> Outcome:
    """All hospitals at the limit, which must add up exactly; then one, and all, one step past it."""
    codec, tries = _codec(), Tries(Refuser.ENCODER)
    wrong = []
    for limit in (_NORM, -_NORM):
        past = limit + math.copysign(_step(codec), limit)
        wrong += _sum_is_wrong(codec, [_raw(codec, limit) for _ in range(_MEMBERS)], _MEMBERS * limit)
        # One step past, some steps past, and so far past that all together go once round the ring.
        for number in (past, 1.5 * limit, 2.5 * limit):
            sent = [tries(_raw, codec, number) for _ in range(_MEMBERS)]
            vectors = [vector for vector in sent if vector is not None]
            wrong += _sum_is_wrong(codec, vectors, _MEMBERS * number) if vectors else []
    return tries.outcome(f"a sum that went round the ring: {wrong[0]}" if wrong else None)


def _sum_is_wrong(codec: UpdateVector, vectors: list[RingVector], expected: float) -> list[str]:
    found: npt.NDArray[np.float64] = codec.layout.decode(_total(vectors))[0]
    off = np.abs(found - expected) > len(vectors) * _step(codec)
    return [f"{found[off][0]:.4g} instead of {expected:.4g}"] if off.any() else []


def no_numbers(_build: Build, _folder: Path) -> Outcome:
    """NaN and infinity in an update, which would be some integer or other."""
    codec, tries = _codec(), Tries(Refuser.ENCODER)
    sent = [
        tries(codec.encode, np.array([number, 0.0, 0.0, 0.0]), 100, _NO_CELLS)
        for number in (math.nan, math.inf, -math.inf)
    ]
    sent += [tries(_raw, codec, number) for number in (math.nan, math.inf, -math.inf)]
    taken = sum(vector is not None for vector in sent)
    return tries.outcome(f"{taken} vectors made of NaN or infinity" if taken else None)


def weights(_build: Build, _folder: Path) -> Outcome:
    """A weight of 10^9, by the number of records and as it is; and NaN."""
    codec, tries, learned = _codec(), Tries(Refuser.ENCODER), []
    light = codec.encode(np.full(_PARAMETERS, 0.1), 1, _NO_CELLS)
    heavy = tries(codec.encode, np.full(_PARAMETERS, 0.1), 10**9, _NO_CELLS)
    if heavy is not None:
        weight = codec.layout.decode(_total([heavy, light]))[1][0]
        learned += [f"a hospital that weighs {weight:.0f}"] if weight > _MOST + 1 else []
    for weight in (1e9, math.nan):
        vector = tries(_raw, codec, 0.1, weight)
        learned += [f"a weight of {weight}"] if vector is not None else []
    return tries.outcome(", ".join(learned) or None)


def false_weights(build: Build, folder: Path) -> Outcome:
    """A hospital masks a weight that leaves the sum none, and then the least that the ring has."""
    from training.model_state import ModelLayout, TensorShape
    from training.vector_layout import UpdateVector

    with Consortium.make(folder, _MEMBERS, build) as stage:
        codec = UpdateVector(stage.charter.charter, ModelLayout((TensorShape("weights", (PARAMETERS,)),)))
        coordinator, tries, learned = LyingCoordinator(stage.charter, stage.clients), Tries(Refuser.HOSPITAL), []
        coordinator.set_up()
        ring = coordinator.session.ring
        vectors = {number: codec.encode(np.full(PARAMETERS, 0.1), _PATIENTS, _NO_CELLS) for number in stage.clients}
        *numbers, honest = ring.to_signed(vectors[_LIAR])
        for step, weight in enumerate((-honest * (_MEMBERS - 1), -ring.largest), 1):
            vectors[_LIAR] = ring.from_signed(np.array([*numbers, weight]))
            coordinator.sum_over(vectors, coordinator.everybody, step)
            stage.deliver([(number, coordinator.honest_sum(coordinator.everybody, step)) for number in stage.clients])
            taken = [client.take_sum() for client in stage.clients.values()]
            means = [tries(codec.decode, verified.total.vector) for verified in taken if verified]
            held = sum(mean is not None for mean in means)
            learned += [f"{held} hospitals took a mean over a false weight of {weight} steps"] if held else []
        return tries.outcome(", ".join(learned) or None)


_AROUND = "What holds around the rounds"

ATTACKS: Final = (
    Attack(
        "wraparound",
        Liar.INPUT,
        "Makes an update of numbers at the limit, one step past it and far past it, to make the sum go round the ring.",
        _AROUND,
        Refused.with_reasons(Refuser.ENCODER, "out-of-range"),
        wraparound,
    ),
    Attack(
        "no-numbers",
        Liar.INPUT,
        "Makes an update of NaN and infinity.",
        _AROUND,
        Refused.with_reasons(Refuser.ENCODER, "not-finite"),
        no_numbers,
    ),
    Attack(
        "hostile-weights",
        Liar.INPUT,
        "Gives an update a weight of 10^9, and of NaN.",
        _AROUND,
        Refused.with_reasons(Refuser.ENCODER, "out-of-range", "not-finite"),
        weights,
    ),
    Attack(
        "false-weights",
        Liar.HOSPITAL,
        "Masks a weight that leaves the sum none, or less than none, so that the mean is of nothing or turned round.",
        _AROUND,
        Refused.with_reasons(Refuser.HOSPITAL, "no-weight"),
        false_weights,
    ),
)
