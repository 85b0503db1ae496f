"""What a model draws of torch while it is used, as masks of dropout, from a generator of one's own.

Knows torch's generators. Knows nothing of models, records or noise.

Under differential privacy those draws must be secret, and fresh: a mask is drawn for all rows at once, so that one row
more gives all after it other pieces of the stream. If the stream is known, one patient moves everybody's gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import Tensor

# The Mersenne twister's, each in 64 bits: `CPUGeneratorImplStateLegacy` in torch's aten/src/ATen/CPUGeneratorImpl.cpp.
_WORDS: Final = 624
_FIRST_WORD: Final = 24


@contextmanager
def drawing_from(generator: np.random.Generator, device: torch.device) -> Iterator[None]:
    """Torch's own draws, on the CPU and on the device, follow from the generator within; they are as before afterwards.

    On the CPU the whole state is set, 19,968 bits: of a seed torch keeps 32, by which all that is drawn could be found
    by trying them. A GPU's seed has 64.
    """
    before = torch.get_rng_state()
    other = torch.get_device_module(device) if device.type != "cpu" else None
    other_before = other.get_rng_state() if other else None
    try:
        torch.set_rng_state(_state(generator))
        if other:
            other.manual_seed(int.from_bytes(generator.bytes(8), "little"))
        yield
    finally:
        torch.set_rng_state(before)
        if other:
            other.set_rng_state(other_before)


def _state(generator: np.random.Generator) -> Tensor:
    """A state of torch's generator for the CPU, uint8, as freshly seeded but for its words, which are all drawn."""
    state = torch.Generator().get_state()
    words = state.numpy()[_FIRST_WORD : _FIRST_WORD + 8 * _WORDS].view(np.uint64)
    words[:] = np.frombuffer(generator.bytes(4 * _WORDS), "<u4")
    return state
