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


def list_of(digests: Sequence[Collection[bytes]], patients: npt.NDArray[np.int64]) -> PatientList:
    """The patients of a data set, each with the digests of its rows, as `row_digests` gives them.

    Args:
        patients: int64 (n,), the patient of each row.
    """
    known: dict[int, set[bytes]] = {}
    for found, patient in zip(digests, patients.tolist(), strict=True):
        known.setdefault(patient, set()).update(found)
    return PatientList.of(known.values())


def row_digests(
    key: bytes,
    features: npt.NDArray[np.floating],
    names: Sequence[str] = (),
    marks: npt.NDArray[np.uint8] | None = None,
) -> list[tuple[bytes, ...]]:
    """The digests of each row that its patient is recognised by: one of the features, and one of each mark, in order.

    A row counts by its features as float32, in the order of their names where they have names. Labels do not count:
    they are the task's, and the patients are the same.

    Args:
        key: 32 bytes, this site's alone.
        features: (n, ...).
        names: of the d columns of a table; none for images.
        marks: uint8 (n, k, 32): hashes of what else a row is recognised by.
    """
    rows = np.asarray(features, dtype="<f4").reshape(len(features), -1) + np.float32(0)  # -0.0 becomes 0.0
    rows[np.isnan(rows)] = np.nan
    if names:
        rows = rows[:, sorted(range(len(names)), key=lambda place: names[place])]
    # Begun once with key and label: of short messages that is most of the work.
    of_row, of_mark = (hmac.new(key, label, "sha256") for label in (_ROW, _MARK))
    of_rows = (_digest(of_row, row.tobytes()) for row in rows)
    if marks is None:
        return [(found,) for found in of_rows]
    of_marks = (tuple(_digest(of_mark, mark.tobytes()) for mark in seen) for seen in marks)
    return [(found, *others) for found, others in zip(of_rows, of_marks, strict=True)]


def _digest(begun: hmac.HMAC, content: bytes) -> bytes:
    whole = begun.copy()
    whole.update(content)
    return whole.digest()[:DIGEST_SIZE]
