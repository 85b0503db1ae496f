"""How coarse the grid is that updates are rounded to, beside the updates themselves.

Knows a charter's encoding (`training.vector_layout`): an update is sent times the weight over ``max_weight``, so that
the grid is coarser for a hospital with few patients. Knows no hospital: what is usual is assumed.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from secagg.charter.sections import Encoding
from secagg.encoding.ring import Ring

FEW_PATIENTS: Final = 32
"""As many as a small hospital has."""
# Of a bound that should cut nothing (docs/sharp-edges.md), an update is far from all.
_USUAL_UPDATE: Final = 0.1


def enough_patients(members: int, parameters: int, encoding: Encoding) -> float:
    """From how many on the grid is finer than a hospital's usual numbers.

    Those are sqrt(d) times smaller than an update that is a tenth as long as ``update_norm``, times w / w_max; a step
    is n / (2^(b-1) - 1) of ``update_norm``. With fewer patients most numbers become zero or a whole step.
    """
    step = members / Ring(encoding.field_bits).largest
    return step * math.sqrt(parameters) * encoding.max_weight / _USUAL_UPDATE


def is_coarse(
    members: int, parameters: int, encoding: Encoding, weighting: Literal["records", "uniform"] = "records"
) -> bool:
    """Whether a hospital with few patients, or where all count the same every one, has fewer than are enough."""
    least = encoding.max_weight if weighting == "uniform" else min(FEW_PATIENTS, encoding.max_weight)
    return enough_patients(members, parameters, encoding) > least


def rounding_of_mean(members: int, parameters: int, encoding: Encoding, patients: int) -> float:
    """What rounding takes from the mean update, in parts of ``update_norm``, L2, where each hospital has ``patients``.

    Each rounds d numbers, off by 1/sqrt(12) of a step: the mean of n is off by sqrt(n d / 12) / (2^(b-1) - 1) of
    ``update_norm``, times w_max / w.
    """
    weight = min(patients, encoding.max_weight)
    each = math.sqrt(members * parameters / 12) / Ring(encoding.field_bits).largest
    return each * encoding.max_weight / weight
