"""What one core does at most: the keystream of masks alone, and memory alone. No scheme can be faster than these."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.sweep.measurement import Limits
from secagg.masking.prg import CHUNK_BYTES, KEY_SIZE, OVERHANG, Keystream

_EXPANDED: Final = 512 * CHUNK_BYTES
_ELEMENTS: Final = 1 << 24
_TRIES: Final = 7


def measure_limits(turn: int) -> Limits:
    """The best of some tries, by CPU time."""
    total, vector = np.zeros(_ELEMENTS, np.uint32), np.ones(_ELEMENTS, np.uint32)

    def add() -> None:
        np.add(total, vector, out=total)

    expanding, adding = _best(lambda: expand_chunks(_EXPANDED)), _best(add)
    return Limits(turn=turn, cipher=_EXPANDED / expanding, memory=3 * total.nbytes / adding)


def expand_chunks(size: int) -> None:
    """The keystream that masks are made of, ``size`` bytes in whole chunks, into a buffer that stays in the cache."""
    stream, buffer = Keystream(bytes(KEY_SIZE)), memoryview(bytearray(CHUNK_BYTES + OVERHANG))
    for number in range(size // CHUNK_BYTES):
        stream.write_chunk(number, buffer)


def _best(work: Callable[[], object]) -> float:
    return min(_seconds(work) for _ in range(_TRIES))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
