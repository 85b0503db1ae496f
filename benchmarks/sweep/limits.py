"""What one core does at most: the cipher alone, and memory alone. No scheme can be faster than these."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.sweep.measurement import Limits

_BLOCK: Final = 256 * 1024
_BLOCKS: Final = 256
_ELEMENTS: Final = 1 << 24
_TRIES: Final = 7


def measure_limits(turn: int) -> Limits:
    """The best of some tries, by CPU time."""
    zeros, buffer = bytes(_BLOCK), bytearray(_BLOCK)
    total, vector = np.zeros(_ELEMENTS, np.uint32), np.ones(_ELEMENTS, np.uint32)

    def encrypt() -> None:
        encryptor = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
        for _ in range(_BLOCKS):
            encryptor.update_into(zeros, buffer)

    def add() -> None:
        np.add(total, vector, out=total)

    return Limits(turn=turn, cipher=_BLOCK * _BLOCKS / _best(encrypt), memory=3 * total.nbytes / _best(add))


def _best(work: Callable[[], object]) -> float:
    return min(_seconds(work) for _ in range(_TRIES))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
