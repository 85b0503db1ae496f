"""A consortium for tests: that of the testbed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from secagg.encoding.ring import RingVector
from training.testbed.build import Build
from training.testbed.consortium import (
    MODEL_DIGEST,
    Consortium,
    make_charter,
    make_identities,
    open_policy,
    sign_by_all,
)

__all__ = [
    "MODEL_DIGEST",
    "Build",
    "Consortium",
    "integer_sum",
    "make_charter",
    "make_identities",
    "open_policy",
    "sign_by_all",
]


def integer_sum(consortium: Consortium, vectors: Mapping[int, RingVector], numbers: Collection[int]) -> np.ndarray:
    """The plain sum, in Python's own integers' range."""
    return consortium.integers(vectors, *numbers)
