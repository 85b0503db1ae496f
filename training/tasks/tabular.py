"""Classification of the rows of a table.

This module knows what the columns of a table mean to a task: numbers, levels, labels, patients, missing values. It
does not know file formats, and does not scale anything: that takes the whole consortium (`training.standardisation`).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from secagg.charter.cautions import Caution
from secagg.errors import InputError
from training.readers import Table, read_table
from training.readers.marks import NOBODY, patient_name, row_marks
from training.readers.table import missing_column
from training.records import Records, number_patients
from training.round_record import some
from training.tasks.models import build_table_model, class_scores, classification_loss
from training.tasks.spec import DataSpec, TaskSpec, input_names, level_key

_MUCH: Final = 0.1
"""The part of a file's rows that may be left out without a word."""
_MOST_NAMES: Final = 3
_NO_NUMBER: Final = (
    "Write numbers like 1234.5. If the column holds none: name it in data.patient if it says whose row it is, in "
    "data.categorical if it holds codes, and leave out a date or a text with data.drop. What stands for an unknown "
    "value goes into missing_values."
)
_NO_CLASS: Final = (
    "It is the label: number its classes 0, 1 and so on in every hospital's file, as with 0 for no and 1 for yes. What "
    "stands for an unknown one goes into missing_values."
)
_NO_LEVEL: Final = (
    "Correct the value, as where capitals differ, or add it to data.categorical in the task. All hospitals share the "
    "layout: once a charter is signed, that needs a new one."
)


@dataclass(frozen=True)
class TabularTask:
    """A `training.task.Task` over .csv or .parquet files."""

    spec: TaskSpec

    def read(self, path: Path) -> Records:
        """Features float32 (n, d), one-hot columns in the place of the column they come from.

        Raises:
            InputError: naming the file, line and column of what cannot be used.
        """
        return self.records_from(read_task_table(self.spec, path))

    def records_from(self, table: Table) -> Records:
        """The records of a table that has been read already; see `read`."""
        if self.spec.data.label not in table.columns:
            raise missing_column(table, self.spec.data.label, reason="missing-label-column")
        data = self.spec.bind(table.columns).data
        table, cautions = _without_missing(table, data)
        features = _features(table, data)
        labels = _labels(table, data)
        marks = row_marks(table, data.patient) if table.rows else None
        return Records(features, labels, _patients(table, data), input_names(data), table.source, marks, cautions)

    def build_model(self) -> nn.Module:
        """The starting model. Raises InputError ``unbound-task`` while the input columns are not known."""
        if not self.spec.is_bound:
            message = "The task does not say which columns the model takes."
            raise InputError("unbound-task", message, remedy="List data.features, or bind the task to a file.")
        return build_table_model(self.spec.model, len(input_names(self.spec.data)), self.spec.data.classes)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return classification_loss(outputs, labels)

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities (n, classes)."""
        return class_scores(outputs)


def read_task_table(spec: TaskSpec, path: Path) -> Table:
    """The table in a file, under the names that the task gives its columns."""
    return read_table(path, spec.data.columns)


def table_columns(spec: TaskSpec, path: Path) -> tuple[str, ...]:
    """All column names of a hospital's file, in order.

    Raises:
        InputError: ``missing-label-column`` and what reading the file raises.
    """
    table = read_task_table(spec, path)
    if spec.data.label not in table.columns:
        raise missing_column(table, spec.data.label, reason="missing-label-column")
    return table.columns


def _without_missing(table: Table, data: DataSpec) -> tuple[Table, tuple[Caution, ...]]:
    """Apply the task's rule for missing values to the columns that it uses; what is to be told of it."""
    tokens = frozenset({"", *data.missing_values})
    holes = {table.position(column): tokens for column in (*data.features, data.label)}
    if data.patient:
        holes[table.position(data.patient)] = tokens | NOBODY
    keep: list[int] = []
    lacking: Counter[str] = Counter()
    for index, row in enumerate(table.rows):
        empty = [table.columns[position] for position, texts in holes.items() if row[position] in texts]
        lacking.update(empty)
        if not empty:
            keep.append(index)
        elif data.missing == "refuse":
            raise InputError(
                "missing-value",
                f"{table.source} {table.places[index]}: column {empty[0]!r} has no value.",
                culprit=table.source,
                remedy="Fill it in, or set missing = 'drop-row' in the task.",
            )
    return table.select(keep, table.source), _left_out(table, len(keep), lacking)


def _left_out(table: Table, used: int, lacking: Counter[str]) -> tuple[Caution, ...]:
    """What is told where much of a file is left out: one empty column may be nearly all of a hospital."""
    rows = len(table.rows)
    if rows - used <= _MUCH * rows:
        return ()
    columns = some([f"{column} {count}" for column, count in lacking.most_common()], _MOST_NAMES)
    return (
        Caution(
            "rows-left-out",
            f"{used} of {rows} rows of {table.source} are used; {rows - used} lack a value ({columns}).",
            "Fill the values in, or leave a column that is hardly filled out of the task, with data.drop.",
        ),
    )


def _features(table: Table, data: DataSpec) -> npt.NDArray[np.float32]:
    columns: list[npt.NDArray[np.float32]] = []
    for column in data.features:
        levels = data.categorical.get(column)
        if levels is None:
            columns.append(_numbers(table, column))
        else:
            columns.extend(_one_hot(table, column, tuple(level_key(level) for level in levels)))
    return np.stack(columns, axis=1) if columns else np.empty((len(table.rows), 0), dtype=np.float32)


def _numbers(table: Table, column: str) -> npt.NDArray[np.float32]:
    position = table.position(column)
    values = [_number(row[position], table, index, column, _NO_NUMBER) for index, row in enumerate(table.rows)]
    with np.errstate(over="ignore"):
        # A number beyond float32 becomes infinite here and is refused, by name, when the records are made.
        return np.array(values, dtype=np.float64).astype(np.float32)


def _number(text: str, table: Table, index: int, column: str, remedy: str) -> float:
    try:
        # Python reads "1_000" as a number; nobody else does.
        return float(text) if "_" not in text else float("x")
    except ValueError:
        raise InputError(
            "not-a-number",
            f"{table.source} {table.places[index]}: column {column!r} holds {_shown(text)}, not a number.",
            culprit=table.source,
            remedy=remedy,
        ) from None


def _one_hot(table: Table, column: str, levels: tuple[str, ...]) -> list[npt.NDArray[np.float32]]:
    position = table.position(column)
    codes = np.empty(len(table.rows), dtype=np.int64)
    index_of = {level: index for index, level in enumerate(levels)}
    for index, row in enumerate(table.rows):
        code = index_of.get(level_key(row[position]))
        if code is None:
            raise InputError(
                "unknown-level",
                f"{table.source} {table.places[index]}: column {column!r} holds {_shown(row[position])}, "
                f"which is not one of {', '.join(levels)}.",
                culprit=table.source,
                remedy=_NO_LEVEL,
            )
        codes[index] = code
    return [(codes == code).astype(np.float32) for code in range(1, len(levels))]


def _labels(table: Table, data: DataSpec) -> npt.NDArray[np.int64]:
    position = table.position(data.label)
    labels = np.empty(len(table.rows), dtype=np.int64)
    for index, row in enumerate(table.rows):
        value = _number(row[position], table, index, data.label, _NO_CLASS)
        if data.positive_above is not None and math.isfinite(value):
            labels[index] = int(value > data.positive_above)
        elif value.is_integer() and 0 <= value < data.classes:
            labels[index] = int(value)
        else:
            raise InputError(
                "bad-labels",
                f"{table.source} {table.places[index]}: the label {_shown(row[position])} in column {data.label!r} "
                f"is not a class from 0 to {data.classes - 1}.",
                culprit=table.source,
                remedy="Set positive_above or classes in the task, or correct the value.",
            )
    return labels


def _patients(table: Table, data: DataSpec) -> npt.NDArray[np.int64]:
    if data.patient is None or not table.rows:
        return np.arange(len(table.rows), dtype=np.int64)
    position = table.position(data.patient)
    return number_patients(patient_name(row[position]) for row in table.rows)


def _shown(text: str) -> str:
    # A cell may hold anything about a patient; an error message is not the place for much of it.
    return repr(text if len(text) <= 20 else f"{text[:20]}...")
