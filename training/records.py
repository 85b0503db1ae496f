"""The records of one hospital, in memory: features, labels and which patient each row belongs to.

This module knows that a patient may have several rows and must never be split, and it refuses records that no model
could learn from. It knows nothing of files, models or protocols.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg.charter.cautions import Caution
from secagg.errors import InputError
from secagg.labels import digest

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Records:
    """Rows of one data set, checked when they are made.

    Args:
        features: float32, shape (n, ...): (n, d) for tables, (n, channels, height, width) for images. Finite.
        labels: int64, shape (n,): the class of each row, from 0.
        patients: int64, shape (n,): the patient of each row, numbered 0..p-1 with every number in use.
        feature_names: one name for each of the d columns of a table; empty for images.
        source: where the rows came from, for error messages.
        marks: uint8, shape (n, 1 or 2, 32): hashes of what a row is recognised by besides the features and, where a
            column names the patient, of that name, as a reader made them; None where there are none. Unkeyed: they stay
            in memory.
        cautions: what people at this hospital must know of how the file was read. They may tell of patients: nobody
            else is to learn of them.

    Raises:
        InputError: ``empty-site``, ``record-shapes``, ``bad-labels``, ``patient-numbers`` or ``nan-features``.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    patients: npt.NDArray[np.int64]
    feature_names: tuple[str, ...]
    source: str
    marks: npt.NDArray[np.uint8] | None = None
    cautions: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        _check_arrays(self)
        _check_shapes(self)
        _check_labels(self)
        _check_patients(self)
        _check_finite(self)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def patient_count(self) -> int:
        """How many patients there are: the unit of privacy, not the number of rows."""
        return int(self.patients.max()) + 1

    def take(self, indices: npt.ArrayLike) -> Records:
        """The rows at ``indices`` (int, shape (m,)), their patients renumbered in order of first appearance.

        Raises:
            InputError: ``empty-site`` when there are no indices.
        """
        rows = np.asarray(indices, dtype=np.int64)
        patients = number_patients(self.patients[rows].tolist())
        marks = None if self.marks is None else self.marks[rows]
        features, labels = self.features[rows], self.labels[rows]
        return Records(features, labels, patients, self.feature_names, self.source, marks, self.cautions)

    def patient_identities(self) -> list[bytes]:
        """What each patient is recognised by wherever the rows stand, and whoever else is there: 32 bytes each.

        The patient's name where a column has it, else all features of the patient's rows. Unkeyed, as ``marks`` are.
        """
        names = None if self.marks is None or self.marks.shape[1] == 1 else self.marks[:, 1]
        # -0.0 becomes 0.0: the same number has the same bytes.
        rows = self.features + np.float32(0) if names is None else names
        found: list[set[bytes]] = [set() for _ in range(self.patient_count)]
        for patient, row in zip(self.patients.tolist(), rows, strict=True):
            found[patient].add(digest("patient row", row.tobytes()))
        return [digest("patient", b"".join(sorted(digests))) for digests in found]

    def patient_labels(self) -> npt.NDArray[np.int64]:
        """The label of each patient, int64 shape (p,): the largest label among the patient's rows."""
        labels = np.zeros(self.patient_count, dtype=np.int64)
        np.maximum.at(labels, self.patients, self.labels)
        return labels

    def limit_rows(self, most: int | None) -> Records:
        """At most so many rows of each patient, in their order; all of them for None. See `take`.

        The first that has the patient's label is among them, so that no patient's label changes; the others are the
        first ones.
        """
        if most is None:
            return self
        has_label = np.flatnonzero(self.labels == self.patient_labels()[self.patients])
        _, firsts = np.unique(self.patients[has_label], return_index=True)
        comes_later = np.ones(len(self), dtype=np.bool_)
        comes_later[has_label[firsts]] = False
        order = np.lexsort((comes_later, self.patients))
        grouped = self.patients[order]
        place = np.arange(len(order)) - np.searchsorted(grouped, grouped)
        return self.take(np.sort(order[place < most]))

    def rows_of(self, patients: npt.ArrayLike) -> Indices:
        """The rows (int64, shape (m,)) of these patients: patient by patient as given, each one's rows in order."""
        order = np.argsort(self.patients, kind="stable")
        starts = np.searchsorted(self.patients[order], np.arange(self.patient_count + 1))
        chosen = np.asarray(patients, dtype=np.int64)
        pieces = [order[starts[patient] : starts[patient + 1]] for patient in chosen]
        return np.concatenate(pieces).astype(np.int64) if pieces else np.empty(0, dtype=np.int64)


def number_patients(identities: Iterable[Hashable]) -> npt.NDArray[np.int64]:
    """Number patients 0..p-1 in order of first appearance: int64, shape (n,)."""
    # No array of names: NumPy makes each as wide as the longest, and cuts off NUL characters at the end.
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(identity, len(numbers)) for identity in identities), dtype=np.int64)


def concatenate(parts: Sequence[Records]) -> Records:
    """Pool several hospitals' records. Patients of different parts stay different patients.

    Raises:
        InputError: ``empty-site`` for no parts, ``different-features`` when the parts don't have the same columns.
    """
    if not parts:
        raise InputError("empty-site", "There are no records to pool.", remedy="Name at least one data set.")
    first = parts[0]
    for part in parts[1:]:
        if part.feature_names != first.feature_names or part.features.shape[1:] != first.features.shape[1:]:
            raise InputError(
                "different-features",
                f"{part.source} does not have the same features as {first.source}.",
                culprit=part.source,
                remedy="Read every file with the same bound task.",
            )
    marks = [part.marks for part in parts if part.marks is not None]
    offsets = np.cumsum([0] + [part.patient_count for part in parts[:-1]])
    return Records(
        features=np.concatenate([part.features for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        patients=np.concatenate([part.patients + offset for part, offset in zip(parts, offsets, strict=True)]),
        feature_names=first.feature_names,
        source=", ".join(dict.fromkeys(part.source for part in parts)),
        marks=np.concatenate(marks) if len(marks) == len(parts) else None,
    )


def require_two_classes(records: Records) -> None:
    """Refuse a hospital whose records all have one label; its own model could only learn to repeat it.

    Raises:
        InputError: ``one-class-site``.
    """
    present = np.unique(records.labels)
    if len(present) < 2:
        raise InputError(
            "one-class-site",
            f"Every record of {records.source} has the label {int(present[0])}.",
            culprit=records.source,
            remedy="Check the label column and positive_above, or leave this hospital out.",
        )


def _check_arrays(records: Records) -> None:
    for name in ("features", "labels", "patients"):
        found = getattr(records, name)
        # A task's own code may give anything.
        if not isinstance(found, np.ndarray):
            raise _misshapen(records, f"{name} must be a NumPy array, not {type(found).__name__}")


def _check_shapes(records: Records) -> None:
    count = len(records.labels)
    if count == 0 or len(records.features) == 0:
        raise InputError(
            "empty-site",
            f"{records.source} has no records.",
            culprit=records.source,
            remedy="Check the file, and whether dropping rows with missing values left any.",
        )
    wanted = (np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.int64))
    found = (records.features.dtype, records.labels.dtype, records.patients.dtype)
    marked = count if records.marks is None else len(records.marks)
    lengths = {len(records.features), count, len(records.patients), marked}
    named = not records.feature_names or records.features.shape[1:] == (len(records.feature_names),)
    if found != wanted or lengths != {count} or records.labels.ndim != 1 or records.patients.ndim != 1 or not named:
        arrays = (records.features, records.labels, records.patients)
        told = ", ".join(f"{array.dtype} {array.shape}" for array in arrays)
        raise _misshapen(records, f"features, labels and patients do not match ({told})")


def _misshapen(records: Records, what: str) -> InputError:
    return InputError(
        "record-shapes",
        f"{records.source}: {what}.",
        culprit=records.source,
        remedy="Give float32 features, int64 labels and int64 patients of one length, and one name per column.",
    )


def _check_labels(records: Records) -> None:
    if records.labels.min() < 0:
        raise InputError(
            "bad-labels",
            f"{records.source} has labels below 0.",
            culprit=records.source,
            remedy="Number the classes from 0: of two classes, 0 and 1.",
        )


def _check_patients(records: Records) -> None:
    present = np.unique(records.patients)
    if not np.array_equal(present, np.arange(len(present))):
        raise InputError(
            "patient-numbers",
            f"{records.source}: patients are not numbered from 0 without gaps.",
            culprit=records.source,
            remedy="Number them with number_patients().",
        )


def _check_finite(records: Records) -> None:
    finite = np.isfinite(records.features)
    if finite.all():
        return
    row, *place = (int(axis[0]) for axis in np.nonzero(~finite))
    where = f"column {records.feature_names[place[0]]!r}" if records.feature_names else f"position {tuple(place)}"
    raise InputError(
        "nan-features",
        f"{records.source}: {where} holds NaN, infinity or a number too large (first in record {row + 1}).",
        culprit=records.source,
        remedy="Correct the value, or list its text in missing_values and set missing = 'drop-row'.",
    )
