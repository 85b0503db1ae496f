"""Records grouped by patient, the unit of privacy, and samples of them cut into parts that fit the memory.

Knows rows and which patient each belongs to. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Rows = npt.NDArray[np.int64]

_MOST_ROWS: Final = 256
# Per-sample gradients are as many numbers as rows times parameters: a gigabyte of them. And one of layers' outputs.
_MOST_NUMBERS: Final = 1 << 28


@dataclass(frozen=True, eq=False)
class PatientRecords:
    """Rows grouped by patient.

    Attributes:
        features: (n, ...) float32; ``labels``: (n,) int64.
        patients: int64 (n,): the patient of each row, 0 to p - 1.
    """

    features: Tensor
    labels: Tensor
    patients: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """p, the number of patients."""
        return int(self.patients.max()) + 1


def rows_at_once(parameters: int, row_size: int) -> int:
    """How many rows are worked through at a time: fewer the larger the model or a row is, and at least one.

    Args:
        parameters: of which each row has a gradient; 0 where none is computed.
        row_size: `dp.row_size.row_size`.
    """
    return max(1, min(_MOST_ROWS, _MOST_NUMBERS // max(1, parameters, row_size)))


def parts(patients: npt.NDArray[np.int64], sample: Rows, largest: int) -> Iterator[Rows]:
    """The sampled patients' rows, in parts of at most ``largest`` rows where no patient alone has more."""
    part: list[Rows] = []
    size = 0
    for rows in _rows_of(patients, sample):
        if part and size + len(rows) > largest:
            yield np.concatenate(part)
            part, size = [], 0
        part.append(rows)
        size += len(rows)
    if part:
        yield np.concatenate(part)


def mean_over_patients(rows: Tensor, patients: npt.NDArray[np.int64]) -> Tensor:
    """The mean of each patient's rows, so that patients are clipped and not rows.

    Args:
        rows: (m, ...).
        patients: int64 (m,).

    Returns:
        (patients among them, ...), in the order of their numbers; ``rows`` itself where each has one.
    """
    found, group = np.unique(patients, return_inverse=True)
    if len(found) == len(patients):
        return rows
    counts = torch.from_numpy(np.bincount(group).astype(np.float32)).to(rows.device)
    total = torch.zeros((len(found), *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
    total.index_add_(0, torch.from_numpy(group).to(rows.device), rows)
    return total / counts.reshape(-1, *([1] * (rows.dim() - 1)))


def _rows_of(patients: npt.NDArray[np.int64], sample: Rows) -> Iterator[Rows]:
    order = np.argsort(patients, kind="stable")
    starts = np.searchsorted(patients[order], sample, side="left")
    ends = np.searchsorted(patients[order], sample, side="right")
    for start, end in zip(starts, ends, strict=True):
        yield order[start:end]
