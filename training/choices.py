"""What a person decides of a charter, before everything that follows from it.

Loads nothing that trains.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from dp.events import Noise
from secagg.charter import Encoding, Training
from secagg.charter.sections import PrivacyMode, Scheme

FITTING_PARAMETERS: Final = "auto"
# What is taken where nobody chooses.
USUAL_BATCH: Final = 32
USUAL_DROPOUT: Final = 0.1
USUAL_EPOCH_ROUNDS: Final = 10
USUAL_FIELD_BITS: Final = 24
USUAL_WEIGHT: Final = 1024


class CharterChoices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person decides; everything else in a charter follows.

    Attributes:
        homomorphic: the parameter set of an encrypted scheme; ``auto`` for the one that fits the size of
            model and consortium.
        epsilon: the budget of the whole run under differential privacy.
        noise_levels: for how many survivors surplus noise is removed again, under ``distributed``; for those
            who are left of an expected drop-out if not given.
        expected_batch: under ``distributed``, about how many patients of all hospitals together are expected in a step:
            the sampling rate times all patients; by it the sum of their gradients is divided. See `rounded_batch`.
        metrics_every: validation counts are released with each so-many-th sum.
        threshold: 0 for the smallest safe one.
        dropout: the share of hospitals that may be gone at once; above 100 hospitals the number of neighbours follows.
    """

    name: str = "consortium"
    training: Training
    scheme: Scheme = "mask"
    homomorphic: str = FITTING_PARAMETERS
    encoding: Encoding = Encoding()
    privacy: PrivacyMode = "none"
    epsilon: float = 8.0
    delta: float = 1e-5
    clip_norm: float = 1.0
    noise: Noise = "skellam"
    noise_levels: tuple[int, ...] | None = None
    expected_batch: int = 0
    sampling_rate: float = 0.1
    metrics: Literal["none", "exact", "noisy"] = "none"
    metrics_every: int = 1
    target: float | None = None
    max_colluding: int = 1
    threshold: int = 0
    dropout: float = USUAL_DROPOUT
    epoch_rounds: int = USUAL_EPOCH_ROUNDS


def rounded_batch(expected: float) -> int:
    """Two digits of it: a charter is public, and the exact number would tell how many patients train.

    From a hundred on, a step is at most 5 % longer or shorter for it; below, it is the nearest whole number, of at
    least one.
    """
    return max(1, round(float(f"{expected:.2g}")))
