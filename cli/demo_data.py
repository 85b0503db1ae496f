"""Records of the demo's eight invented hospitals: the Wisconsin breast cancer set, which comes with scikit-learn."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_breast_cancer

HOSPITALS = ("aachen", "bergen", "coimbra", "dublin", "espoo", "florence", "ghent", "heidelberg")
# What share of all benign and of all malignant records each hospital has.
_SHARES = (
    np.array([0.19, 0.18, 0.16, 0.14, 0.12, 0.10, 0.07, 0.04]),
    np.array([0.03, 0.04, 0.06, 0.09, 0.13, 0.17, 0.22, 0.26]),
)


def hospital_files() -> Iterator[bytes]:
    """Each hospital's file."""
    loaded = load_breast_cancer()
    header = [*(str(name) for name in loaded.feature_names), "malignant"]
    # In scikit-learn's coding 0 is malignant.
    rows = np.column_stack([loaded.data, 1 - loaded.target])
    for part in _deal_out(rows[:, -1]):
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows[part].tolist())
        yield file.getvalue().encode()


def _deal_out(malignant: np.ndarray) -> list[np.ndarray]:
    """Rows of each hospital: equally many, but from almost none malignant at the first to most at the last."""
    generator = np.random.default_rng(0)
    classes = [generator.permutation(np.flatnonzero(malignant == value)) for value in (0, 1)]
    cuts = [
        np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int) for shares, rows in zip(_SHARES, classes, strict=True)
    ]
    parts = zip(*(np.split(rows, cut) for rows, cut in zip(classes, cuts, strict=True)), strict=True)
    return [generator.permutation(np.concatenate(part)) for part in parts]
