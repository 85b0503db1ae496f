"""Noise that hospitals add in components, so that the surplus can be removed from the sum: Jiang, Wang and Chen 2024,
"Efficient Federated Learning with Secure Aggregation and Differential Privacy" (Dordis), on add-then-remove noise.

Knows how many components a sum keeps, and the shape of what draws one. Knows no distribution and no secret.

Noise is sized for the fewest survivors. Of the levels m_0 > m_1 > ... above the threshold t, which is the last,
component j is what must be there when fewer than m_(j-1) survive. With s survivors, L is the smallest index with
m_L <= s: components 1 to L stay in the sum, and those above L are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from secagg.encoding.ring import RingVector
from secagg.errors import LocalProtocolError


class NoiseExpansion(Protocol):
    """Draws a component's noise from its key: what a hospital has added, and what the coordinator removes.

    It must be deterministic, to the bit and on every machine. Noise that comes out otherwise at the coordinator makes a
    sum that hospitals take for a forged one, and they stop.
    """

    def __call__(self, key: bytes, component: int, /) -> RingVector:
        """The noise, ring elements, shape (session.length,), zeros where there is none.

        Args:
            key: 32 bytes, of one hospital, round and component alone.
            component: from 1 to J.
        """


def refuse_noise(_key: bytes, _component: int) -> RingVector:
    """A `NoiseExpansion` for charters under which no noise is removed.

    Raises:
        LocalProtocolError: ``no-noise-expansion``.
    """
    raise LocalProtocolError(
        "no-noise-expansion",
        "Surplus noise is removed from the sums of this charter, and nothing was given that draws it.",
        remedy="Give the sampler that the hospitals draw with.",
    )


def require_expansion(components: int, noise: NoiseExpansion) -> None:
    """Refuse to begin without what draws noise, where some has to be removed.

    Raises:
        LocalProtocolError: ``no-noise-expansion``.
    """
    if components and noise is refuse_noise:
        refuse_noise(b"", components)


def kept_components(levels: Sequence[int], survivors: int) -> int:
    """L: components 1 to L stay in a sum over so many survivors."""
    return sum(level > survivors for level in levels)


def removed_components(levels: Sequence[int], survivors: int) -> range:
    """The components that are removed from a sum over so many survivors, ascending."""
    return range(kept_components(levels, survivors) + 1, len(levels) + 1)
