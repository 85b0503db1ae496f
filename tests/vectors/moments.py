"""The vectors of feature statistics: what hospitals encode of their columns, and what the sum is read as."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg.charter import VerifiedCharter
from training.moment_vector import MomentVector
from training.records import Records
from training.standardisation import standardiser_of

FEATURES: Final = ("year", "concentration", "constant")
# Rows of negative numbers, of large ones beside small spreads, and of ones that lie between two steps.
SITES: Final = (
    ((2015.0, -2.5e-6, 7.0), (2018.0, 3.1e-6, 7.0), (2012.0, 0.0, 7.0)),
    ((2013.1, 2.0**-32, 7.0), (70_000.5, -(2.0**-33), 7.0)),
    ((-2.0e14, 1.5e-4, 7.0), (2016.0, -1.0, 7.0), (1.0, 0.1, 7.0)),
)


def moments(charter: VerifiedCharter) -> dict[str, Any]:
    """All of them, and what they add up to."""
    codec = MomentVector(charter.charter, FEATURES)
    tables = [np.array(rows, np.float32) for rows in SITES]
    vectors = [codec.encode(_records(table)) for table in tables]
    total = np.sum(vectors, axis=0, dtype=np.uint64)
    pooled = codec.decode(total)
    return {
        "about": "Three hospitals' moments of three features as elements of 64 bits, and mean, variance and spread, "
        "null where it is infinite.",
        "hospitals": [
            {"rows": table.astype(np.float64).tolist(), "elements": vector.tolist()}
            for table, vector in zip(tables, vectors, strict=True)
        ],
        "sum": total.tolist(),
        "means": pooled.mean.tolist(),
        "variances": pooled.variance.tolist(),
        # JSON has no infinity.
        "spreads": [std if math.isfinite(std) else None for std in standardiser_of(pooled).std.tolist()],
    }


def _records(table: npt.NDArray[np.float32]) -> Records:
    numbers = np.arange(len(table), dtype=np.int64)
    return Records(table, numbers * 0, numbers, FEATURES, "a.csv")
