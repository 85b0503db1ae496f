"""The vectors of feature statistics: what hospitals encode of their columns, and what the sum is read as."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from secagg.charter import VerifiedCharter
from training.moment_vector import MomentVector
from training.standardisation import Moments, standardiser_of

FEATURES: Final = ("year", "concentration", "constant")
# Patients, means, variances: negative numbers, large means beside small variances, and more patients than count.
SITES: Final = (
    (303, (2015.25, -2.5e-6, 7.0), (9.0, 1e-14, 0.0)),
    (46, (2013.1, 3.1e-6, 7.0), (0.1, 4e-13, 0.0)),
    (20_000, (2016.0, 0.0, 7.0), (1e-3, 2e-12, 0.0)),
)


def moments(charter: VerifiedCharter) -> dict[str, Any]:
    """All of them, for a charter with its usual greatest weight."""
    codec = MomentVector(charter.charter, FEATURES)
    vectors = [codec.encode(Moments(np.array(mean), np.array(var)), patients) for patients, mean, var in SITES]
    total = np.sum(vectors, axis=0, dtype=np.uint64)
    pooled = codec.decode(total)
    return {
        "about": "Three hospitals' moments of three features as elements of 64 bits, and mean, variance and spread.",
        "max_weight": charter.charter.encoding.max_weight,
        "hospitals": [
            {"patients": patients, "means": mean, "variances": variance, "elements": vector.tolist()}
            for (patients, mean, variance), vector in zip(SITES, vectors, strict=True)
        ],
        "sum": total.tolist(),
        "means": pooled.mean.tolist(),
        "variances": pooled.variance.tolist(),
        "spreads": standardiser_of(pooled).std.tolist(),
    }
