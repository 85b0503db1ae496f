"""How large the state can be that one hospital hands to another, for those who must bound it before they read it.

Knows a charter. What is in it, and how it is encoded, is in `docs/protocol.md` under "Catching up".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secagg.charter.model import Charter
from secagg.charter.sections import ENCRYPTED_SCHEMES, Optimizer, Scheme
from secagg.encoding.moments import moments_length
from secagg.encoding.packing import packed_size
from secagg.errors import InputError

LARGEST_SEALED: Final = (1 << 31) - 1
"""Bytes that a hospital can seal for another: what AES-GCM of the library takes at once."""

MOMENTS: Final[Mapping[Optimizer, int]] = {"fedavg": 0, "momentum": 1, "adam": 2}
"""How many moments a server's optimizer keeps of each parameter."""

_FRAMES: Final = 2048
_MODEL: Final = 4
_MOMENT: Final = 8


def largest_snapshot(charter: Charter) -> int:
    """The most bytes that the payload of a SNAPSHOT can have: it follows from the charter alone."""
    members = len(charter.members)
    model = model_snapshot(charter.model.parameters, charter.encoding.field_bits, charter.training.server.optimizer)
    # As the sum that is handed over instead of a state: what a state keeps of it is smaller.
    statistics = 8 * moments_length(charter.statistics.features)
    applied = charter.training.rounds * (4 + (members + 7) // 8 + 8 * charter.metrics.cells)
    # And such a sum lists its survivors one by one.
    return model + statistics + applied + 5 * members + _FRAMES


def model_snapshot(parameters: int, field_bits: int, optimizer: Optimizer) -> int:
    """The bytes of it that are the model's: of a state, or of the one sum that is handed over instead, if that is more.

    Args:
        field_bits: b, of a number of the sum.
    """
    return max((_MODEL + _MOMENT * MOMENTS[optimizer]) * parameters, packed_size(parameters + 1, field_bits))


def require_sealable(scheme: Scheme, size: int, optimizer: Optimizer) -> None:
    """Refuse a model that is too large for one hospital to hand to another, where nobody else has what it missed.

    Args:
        size: of the largest snapshot, in bytes.

    Raises:
        InputError: ``snapshot-too-large``.
    """
    if scheme not in ENCRYPTED_SCHEMES or size <= LARGEST_SEALED:
        return
    smaller = "" if MOMENTS[optimizer] == 0 else "the server optimizer fedavg (--server), which keeps no moments, or "
    raise InputError(
        "snapshot-too-large",
        f"Under the scheme {scheme} a hospital that misses sums gets what it lacks from another: {size / 1e9:.1f} GB "
        f"for this model and the server optimizer {optimizer}. {LARGEST_SEALED / 1e9:.1f} GB can be sealed at once.",
        culprit="model",
        remedy=f"Choose {smaller}a smaller model, or the scheme mask, under which the coordinator has every sum.",
    )
