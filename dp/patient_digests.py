"""Which patients a data set is of: what each can be recognised by, under a key that only this site has.

Knows arrays. Knows nothing of files or of the ledger that is kept by it.

A patient is recognised by each of its rows and by whatever marks a reader gave them: one that is met again is enough.
So the same patients are found again whatever the file is called, however its rows are ordered, its numbers are stored
or its labels are set, and also in a part of the file or among others. Digests are keyed (HMAC-SHA256, RFC 2104):
without the key nobody can try whether somebody known is among them.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.ledger.patients import DIGEST_SIZE, PatientList

_ROW: Final = b"secagg patient row 1\n"
_MARK: Final = b"secagg patient mark 1\n"
_IDENTITY: Final = b"secagg patient identity 1\n"


def patient_list(
    key: bytes,
    features: npt.NDArray[np.floating],
    patients: npt.NDArray[np.int64],
    names: Sequence[str] = (),
    marks: npt.NDArray[np.uint8] | None = None,
) -> PatientList:
    """The patients of a data set, each as the digests of `patient_digests`."""
    return PatientList.of(patient_digests(key, features, patients, names, marks))


def patient_digests(
    key: bytes,
    features: npt.NDArray[np.floating],
    patients: npt.NDArray[np.int64],
    names: Sequence[str] = (),
    marks: npt.NDArray[np.uint8] | None = None,
) -> Sequence[Collection[bytes]]:
    """The digests that each patient of a data set is recognised by, in the order of the patients' numbers.

    A row counts by its features as float32, in the order of their names where they have names. Labels do not count:
    they are the task's, and the patients are the same.

    Args:
        key: 32 bytes, this site's alone.
        features: (n, ...); ``patients``: (n,), the patient of each row.
        names: of the d columns of a table; none for images.
        marks: uint8 (n, k, 32): hashes of what else a row is recognised by.
    """
    rows = np.asarray(features, dtype="<f4").reshape(len(patients), -1) + np.float32(0)  # -0.0 becomes 0.0
    rows[np.isnan(rows)] = np.nan
    if names:
        rows = rows[:, sorted(range(len(names)), key=lambda place: names[place])]
    known: dict[int, set[bytes]] = {}
    for number, patient in enumerate(patients):
        found = known.setdefault(int(patient), set())
        found.add(_digest(key, _ROW, rows[number].tobytes()))
        if marks is not None:
            found.update(_digest(key, _MARK, mark.tobytes()) for mark in marks[number])
    return [known[patient] for patient in sorted(known)]


def identity_digest(key: bytes, identity: bytes) -> bytes:
    """16 bytes for what decides on which side of a run's division a patient is."""
    return _digest(key, _IDENTITY, identity)


def _digest(key: bytes, label: bytes, content: bytes) -> bytes:
    return hmac.digest(key, label + content, "sha256")[:DIGEST_SIZE]
