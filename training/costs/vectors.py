"""How long this machine takes for what is done to whole vectors, on one core: each measured on one of that length.

Knows packing, masks, tags and the messages around vectors. Where a vector is longer than is measured for a moment, it
takes as many times as long. What is encrypted is in `training.costs.ciphers`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from secagg.encoding import pack, unpack
from secagg.encoding.packing import add_packed, packed_size
from secagg.encoding.ring import Ring, RingVector
from secagg.labels import DIGEST_SIZE
from secagg.masking.keystream import SignedKey, add_masks, pack_masked
from secagg.masking.messages import Sum
from secagg.masking.prg import KEY_SIZE
from secagg.masking.round_tags import own_tags
from secagg.masking.tags import tag_size
from secagg.wire import Stage, open_envelope
from training.costs.sample import Sample
from training.costs.stopwatch import seconds

_MOST: Final = 1 << 19
_KEYS: Final = 5


@dataclass(frozen=True)
class VectorTimes:
    """CPU seconds for one vector in its ring.

    Attributes:
        masking: one mask, packed into a message.
        mask: each further mask.
        removal: one mask taken off a sum.
        tag: of a vector, or of a sum.
        component: of noise, in the tag.
        adding: a packed vector to the running sum.
        unpacking: a packed sum.
        summing: a sum packed, in its message.
    """

    masking: float
    mask: float
    removal: float
    tag: float
    component: float
    adding: float
    unpacking: float
    summing: float


@dataclass(frozen=True)
class ByteTimes:
    """CPU seconds for a message of many bytes: made in place and signed; read, its signature checked."""

    sealed: float
    opened: float


@lru_cache(maxsize=16)
def vector_times(length: int, bits: int) -> VectorTimes:
    """For vectors of so many elements of so many bits."""
    measured = min(length, _MOST)
    times, factor = _measured(measured, Ring(bits)), length / measured
    return VectorTimes(*(factor * value for value in times))


def _measured(length: int, ring: Ring) -> tuple[float, ...]:
    sample = Sample(length, ring.bits)
    session, model, key = sample.session, bytes(DIGEST_SIZE), os.urandom(KEY_SIZE)
    vector, size = random_elements(ring, length), tag_size(ring)
    packed, keys = pack(vector, ring), [SignedKey(os.urandom(KEY_SIZE), 1) for _ in range(_KEYS)]
    view, total = memoryview(packed), vector.copy()

    def summed() -> None:
        ring.reduce(total)
        message = Sum(1, [1, 2, 3], model, memoryview(pack(total, ring)), bytes(size))
        sample.coordinator.seal(Stage.SUM, message, round=1)

    one, some, removals, tag, tags, adding, unpacking, summing = seconds(
        lambda: pack_masked(vector, ring, keys[:1], [0], size, view),
        lambda: pack_masked(vector, ring, keys, [0], size, view),
        lambda: add_masks(total, keys, [0], size),
        lambda: own_tags([vector], session, key, 1, model, 1),
        lambda: own_tags([vector, vector], session, key, 1, model, 1),
        lambda: add_packed(total, view, ring),
        lambda: unpack(view, length, ring),
        summed,
    )
    mask, removal, component = max(some - one, 0) / (_KEYS - 1), removals / _KEYS, max(tags - tag, 0)
    return one, mask, removal, tag, component, adding, unpacking, summing


@lru_cache(maxsize=16)
def byte_times(size: int) -> ByteTimes:
    """For a message with a vector of so many bytes."""
    measured = min(size, packed_size(_MOST, 32))
    sample = Sample()
    hospital = sample.hospital(1)

    def seal() -> bytes:
        return hospital.seal_in_place(Stage.MASKED, measured, _leave, round=1)

    message = seal()
    sealed, opened = seconds(seal, lambda: open_envelope(message, sample.session.charter, measured))
    return ByteTimes(sealed * size / measured, opened * size / measured)


def _leave(_view: memoryview) -> None:
    """Leave a payload as it is: zeros."""


def random_elements(ring: Ring, count: int) -> RingVector:
    """So many random elements of the ring."""
    elements = np.frombuffer(os.urandom(count * ring.dtype.itemsize), ring.dtype).copy()
    ring.reduce(elements)
    return elements
