"""Inputs that are nearly right: what a fuzzer would try first, from a seed, without one being installed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0xC0, 0xC1, 0xDC, 0xDD, 0xC6, 0x91, 0x22, 0x0A]


def mutations(seeds: Sequence[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """The seeds themselves, then ``count`` inputs made from them; the same for the same arguments."""
    yield from seeds
    dice = random.Random(seed)
    small = [one for one in seeds if len(one) < 10_000] or list(seeds)
    for _ in range(count):
        data = bytearray(dice.choice(small))
        for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
            _mutate(data, dice, small)
        yield bytes(data)


def _mutate(data: bytearray, dice: random.Random, seeds: Sequence[bytes]) -> None:
    place = dice.randrange(len(data) + 1)
    end = min(len(data), place + dice.choice((1, 1, 2, 4, 8, 64)))
    match dice.randrange(7):
        case 0 if data:
            data[place % len(data)] ^= 1 << dice.randrange(8)
        case 1 if data:
            data[place % len(data)] = dice.choice(_INTERESTING)
        case 2:
            del data[place:end]
        case 3:
            data[place:place] = dice.randbytes(dice.choice((1, 2, 4, 32)))
        case 4:
            data[place:place] = data[place:end]
        case 5:
            other = dice.choice(seeds)
            start = dice.randrange(len(other) + 1)
            data[place:end] = other[start : start + dice.choice((1, 4, 32, 256))]
        case _:
            del data[place:]
