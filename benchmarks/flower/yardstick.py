"""Fixed work, timed beside what is measured: how fast this machine is at that moment.

On a machine that others use too, the same work takes half as long again from one second to the next. How many
yardsticks it takes changes less, since they are made of what it is made of. Imports nothing of secagg: Flower's
environment runs it as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# Seconds for which a yardstick holds good; it takes a tenth of them.
FRESH: Final = 0.02
# Of what takes longer, those just before and just after say too little.
LONGEST: Final = 2.0


class Yardstick:
    """A little of what protection is made of: a curve, a cipher, numbers, Python.

    Runs that were measured with another cannot be compared in yardsticks: if it changes, `Cost.yardsticks` needs
    another name.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock = clock
        key = Ed25519PrivateKey.generate()
        self._public, self._message = key.public_key(), bytes(200)
        self._signature = key.sign(self._message)
        self._cipher = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
        self._zeros = bytes(1 << 18)
        self._floats = np.linspace(-1, 1, 1 << 16)

    def seconds(self) -> float:
        """How long the work takes, once; about 2 ms."""
        start = self._clock()
        for _ in range(4):
            self._public.verify(self._signature, self._message)
        for _ in range(10):
            self._cipher.update(self._zeros)
        np.rint(self._floats * 1000.0).astype(np.int64)
        found: dict[int, int] = {}
        for number in range(8_000):
            found[number & 255] = number
        return self._clock() - start


class Pace:
    """How many yardsticks pieces of work take: each is divided by the mean of those just before it and just after.

    Of a piece that is too long for that, it is no number.
    """

    def __init__(self, yardstick: Yardstick) -> None:
        self._yardstick = yardstick
        self._pending: list[tuple[float, Callable[[float], object]]] = []
        self._read()

    def refresh(self) -> None:
        """To be called before each piece of work and after it."""
        if time.perf_counter() - self._read_at > FRESH:
            self.settle()

    def note(self, seconds: float, tell: Callable[[float], object]) -> None:
        """A piece of work took so many seconds; ``tell`` will be called with the number of yardsticks."""
        self._pending.append((seconds, tell))
        self.refresh()

    def settle(self) -> None:
        """Tell of all that was noted."""
        before = self._last
        self._read()
        for seconds, tell in self._pending:
            tell(2 * seconds / (before + self._last) if seconds <= LONGEST else math.nan)
        self._pending.clear()

    def _read(self) -> None:
        self._last, self._read_at = self._yardstick.seconds(), time.perf_counter()
