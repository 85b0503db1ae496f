"""Which data set this is: a hash of its content, the same whatever the file is called or how its rows are ordered.

Knows arrays. Knows nothing of files or of the ledger that is keyed by it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

_LABEL: Final = b"secagg data set fingerprint 1\n"


def fingerprint(
    features: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], patients: npt.NDArray[np.int64]
) -> str:
    """SHA-256, hexadecimal, over the patients, each the sorted hashes of its rows.

    Invariant under the order of rows, the numbering of patients and the precision that float32 values are stored in;
    not under any change of a value, or of which rows belong to one patient.

    Args:
        features: (n, ...); ``labels``: (n,); ``patients``: (n,), the patient of each row.
    """
    rows = np.ascontiguousarray(features.reshape(len(labels), -1), dtype="<f8") + 0.0  # -0.0 becomes 0.0
    rows[np.isnan(rows)] = np.nan
    by_patient: dict[int, list[bytes]] = {}
    for row, label, patient in zip(rows, labels, patients, strict=True):
        content = row.tobytes() + int(label).to_bytes(8, "little", signed=True)
        by_patient.setdefault(int(patient), []).append(hashlib.sha256(content).digest())
    digests = sorted(hashlib.sha256(b"".join(sorted(hashes))).digest() for hashes in by_patient.values())
    return hashlib.sha256(_LABEL + b"".join(digests)).hexdigest()
