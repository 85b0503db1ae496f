"""Dividing records between hospitals, and between training and test.

This module knows that a patient is never in two places. It knows nothing of models or of protocols. Every division
is a function of its seed, so that an experiment can be repeated; none of it protects anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secagg.charter.names import check_name
from secagg.errors import InputError
from secagg.labels import digest
from training.records import Records
from training.tasks.tabular import TabularTask, read_task_table


@dataclass(frozen=True)
class IidSplit:
    """Patients dealt out at random, the same number to every hospital."""


@dataclass(frozen=True)
class DirichletSplit:
    """Each class spread over the hospitals by its own Dirichlet draw; the smaller ``alpha``, the more they differ."""

    alpha: float


Split = IidSplit | DirichletSplit


@dataclass(frozen=True)
class Site:
    """One hospital of a table that holds several.

    Raises:
        InputError: ``bad-name`` on construction: names become members' and folders' names.
    """

    name: str
    records: Records

    def __post_init__(self) -> None:
        check_name(self.name, f"the hospital whose records are {self.records.source}")


def parse_split(text: str) -> Split:
    """Read "iid" or "dirichlet:0.5".

    Raises:
        InputError: ``bad-split``.
    """
    name, colon, value = text.partition(":")
    if name == "iid" and not colon:
        return IidSplit()
    try:
        alpha = float(value) if name == "dirichlet" else float("nan")
    except ValueError:
        alpha = float("nan")
    if not 0.0 < alpha < float("inf"):
        message = f"Cannot split records by {text!r}."
        raise InputError("bad-split", message, remedy="Use 'iid', or 'dirichlet:0.5' with a number above 0.")
    return DirichletSplit(alpha)


def split_records(records: Records, split: Split, hospitals: int, seed: int, minimum: int = 1) -> list[Records]:
    """Divide records as ``split`` says; see `split_iid` and `split_dirichlet`."""
    match split:
        case IidSplit():
            return split_iid(records, hospitals, seed)
        case DirichletSplit(alpha=alpha):
            return split_dirichlet(records, hospitals, alpha, seed, minimum=minimum)


def split_iid(records: Records, hospitals: int, seed: int) -> list[Records]:
    """Deal patients out at random; the hospitals' numbers of patients differ by one at most.

    Raises:
        InputError: ``too-few-patients``.
    """
    _require_patients(records, hospitals)
    order = np.random.default_rng(seed).permutation(records.patient_count)
    return [_of_patients(records, part) for part in np.array_split(order, hospitals)]


def split_dirichlet(records: Records, hospitals: int, alpha: float, seed: int, *, minimum: int = 1) -> list[Records]:
    """Deal patients out with skewed labels: for each class, the hospitals' shares are one Dirichlet(alpha) draw.

    Hospitals left with fewer than ``minimum`` records then receive patients from whichever has most.

    Raises:
        InputError: ``too-few-patients`` when not every hospital can have ``minimum`` records.
    """
    _require_patients(records, hospitals)
    generator = np.random.default_rng(seed)
    labels = records.patient_labels()
    parts: list[list[int]] = [[] for _ in range(hospitals)]
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        shares = generator.dirichlet(np.full(hospitals, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.extend(int(patient) for patient in piece)
    _top_up(parts, np.bincount(records.patients), max(1, minimum))
    return [_of_patients(records, part) for part in parts]


def split_by_column(task: TabularTask, path: Path, column: str) -> tuple[Site, ...]:
    """One hospital for each value of ``column`` in a table, in sorted order; the column itself is not learned from.

    Raises:
        InputError: ``missing-column``, ``site-column-is-a-feature``, ``bad-name``, or what reading the table raises.
    """
    table = read_task_table(task.spec, path)
    try:
        position = table.position(column)
    except InputError as error:
        raise error.with_remedy("Give one of these columns with --site-column, or correct the file.") from error
    if column in task.spec.bind(table.columns).data.features:
        message = f"The column {column!r} says which hospital a record is from, and is also an input of the model."
        remedy = "Add it to data.drop in the task."
        raise InputError("site-column-is-a-feature", message, culprit=column, remedy=remedy)
    rows_of: dict[str, list[int]] = {}
    for index, row in enumerate(table.rows):
        rows_of.setdefault(row[position], []).append(index)
    sources = {name: f"{path} ({column} = {name})" for name in sorted(rows_of)}
    for name, source in sources.items():
        _require_site_name(name, source, column)
    return tuple(Site(name, task.records_from(table.select(rows_of[name], source))) for name, source in sources.items())


def _require_site_name(name: str, source: str, column: str) -> None:
    try:
        check_name(name, f"the hospital whose records are {source}")
    except InputError as error:
        remedy = (
            f"Write it otherwise in the column {column!r}, such as koeln for köln, or give each hospital a file of its "
            f"own, with --data NAME=PATH. {error.remedy}"
        )
        raise error.with_remedy(remedy, name) from error


def divide_by_patient(records: Records, test_fraction: float, seed: int) -> tuple[Records, Records | None]:
    """Part patients into training and test, each by a hash of who it is and nothing else.

    One patient more or less moves nobody else from side to side, whatever order the rows are in: what is said of
    neighbouring data sets under differential privacy holds for the whole of a hospital's records. So the sides' sizes
    are binomial, and of few patients none may be kept back.

    Raises:
        InputError: ``too-few-patients`` when nobody would be left to train on.
    """
    hashes = [digest("side of a patient", identity, seed) for identity in records.patient_identities()]
    kept_back = np.array([int.from_bytes(found[:8], "big") for found in hashes]) < int(test_fraction * 2**64)
    if kept_back.all():
        raise _nobody_to_train_on(records, 1.0 - test_fraction)
    train, test = np.flatnonzero(~kept_back), np.flatnonzero(kept_back)
    return _of_patients(records, train), _of_patients(records, test) if len(test) else None


def divide_stratified(records: Records, train_fraction: float, seed: int) -> tuple[Records, Records]:
    """Part patients into training and test, stratified by label where every class has more than two patients.

    Not for differential privacy: one patient more may move any other to the other side.

    With one row a patient this is scikit-learn's ``train_test_split`` with ``random_state=seed``: on UCI Heart with
    0.66 and 43 it is FLamby's split. Where so few would be left that one side could not have every class, it is
    not stratified.

    Raises:
        InputError: ``bad-fraction``, or ``too-few-patients`` when one side would be empty.
    """
    # Half of the time that a hospital's process takes to start, and it starts for every epoch.
    from sklearn.model_selection import train_test_split

    if not 0.0 < train_fraction < 1.0:
        message = f"The training fraction {train_fraction} is not between 0 and 1."
        raise InputError("bad-fraction", message, remedy="Keep 0.2 to 0.5 of the patients for testing.")
    count = records.patient_count
    # Rounding may leave n*f a hair below a whole number; counts, unlike two fractions, always add up to n.
    train_count = int(np.floor(train_fraction * count))
    if not 0 < train_count < count:
        raise _nobody_to_train_on(records, train_fraction)
    labels = records.patient_labels()
    _, members = np.unique(labels, return_counts=True)
    stratify = len(members) > 1 and members.min() > 2 and len(members) <= min(train_count, count - train_count)
    train, test = train_test_split(
        np.arange(count),
        test_size=count - train_count,
        train_size=train_count,
        random_state=seed,
        shuffle=True,
        stratify=labels if stratify else None,
    )
    return _of_patients(records, train), _of_patients(records, test)


def _nobody_to_train_on(records: Records, fraction: float) -> InputError:
    return InputError(
        "too-few-patients",
        f"{records.source} has {records.patient_count} patients: too few to train on {fraction:g} of them.",
        culprit=records.source,
        remedy="Use more patients or another fraction.",
    )


def _of_patients(records: Records, patients: Sequence[int] | npt.NDArray[np.int64]) -> Records:
    return records.take(records.rows_of(patients))


def _require_patients(records: Records, hospitals: int) -> None:
    if not 1 <= hospitals <= records.patient_count:
        raise _too_few(f"{records.patient_count} patients cannot be divided between {hospitals} hospitals.")


def _top_up(parts: list[list[int]], rows_of_patient: npt.NDArray[np.int64], minimum: int) -> None:
    """Move patients, in place, from the largest hospital to the smallest until all have ``minimum`` rows."""
    sizes = [int(rows_of_patient[part].sum()) for part in parts]
    while min(sizes) < minimum:
        poorest, richest = sizes.index(min(sizes)), sizes.index(max(sizes))
        patient = min(reversed(parts[richest]), key=lambda member: int(rows_of_patient[member]))
        moved = int(rows_of_patient[patient])
        if poorest == richest or sizes[richest] - moved < minimum:
            raise _too_few(f"{sum(sizes)} records are too few to give each of {len(parts)} hospitals {minimum}.")
        parts[richest].remove(patient)
        parts[poorest].append(patient)
        sizes[richest] -= moved
        sizes[poorest] += moved


def _too_few(message: str) -> InputError:
    return InputError("too-few-patients", message, remedy="Use fewer hospitals, or more records.")
