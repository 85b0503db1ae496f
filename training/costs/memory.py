"""How much memory vectors take at their most, in closed form: what goes in, what comes out, and what is between.

Knows vectors, messages and ciphertexts. What a process takes besides, some tens of megabytes, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.encoding.ring import Ring
from secagg.masking.sizes import Shape


@dataclass(frozen=True)
class Memory:
    """Bytes at the most, during a round."""

    hospital: int
    coordinator: int


def memory_of(shape: Shape) -> Memory:
    """Of vectors and of messages with them, in one process for each party."""
    elements = shape.length * Ring(shape.bits).dtype.itemsize
    if not shape.encrypted:
        # The coordinator's last step: the running sum; packed, as a payload, in its message, and while that is written.
        return Memory(elements + shape.vector_bytes, elements + 4 * shape.sum_bytes)
    form = shape.form
    packed = form.packed_count * form.packed_type.itemsize
    # SEAL holds a sum as both polynomials, in words of eight bytes.
    running = form.blocks * 2 * 8 * form.spec.parameters.degree
    sending, opening = packed + shape.vector_bytes, packed + shape.sum_bytes
    return Memory(elements + max(sending, opening), running + max(shape.vector_bytes, shape.sum_bytes))
