"""What one core does at most: the keystream of masks alone, and memory alone. No scheme can be faster than these."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.sweep.measurement import Limits
from secagg.masking.prg import CHUNK_BYTES, KEY_SIZE, OVERHANG, Keystream

_CHUNKS: Final = 512
_ELEMENTS: Final = 1 << 24
_TRIES: Final = 7


def measure_limits(turn: int) -> Limits:
    """The best of some tries, by CPU time."""
    stream, buffer = Keystream(bytes(KEY_SIZE)), memoryview(bytearray(CHUNK_BYTES + OVERHANG))
    total, vector = np.zeros(_ELEMENTS, np.uint32), np.ones(_ELEMENTS, np.uint32)

    def encrypt() -> None:
        for number in range(_CHUNKS):
            stream.write_chunk(number, buffer)

    def add() -> None:
        np.add(total, vector, out=total)

    return Limits(turn=turn, cipher=CHUNK_BYTES * _CHUNKS / _best(encrypt), memory=3 * total.nbytes / _best(add))


def _best(work: Callable[[], object]) -> float:
    return min(_seconds(work) for _ in range(_TRIES))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
