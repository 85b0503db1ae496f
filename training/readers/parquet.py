"""Parquet files, through pyarrow.

This module knows the format. Cells become text as in every other table: a null is an empty cell, a number is written
so that reading it back gives the same float. Bytes are text in UTF-8: some writers mark no column as text.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from secagg.errors import InputError
from training.readers.table import Table


def read_parquet(path: Path) -> Table:
    """Read a flat Parquet file.

    Raises:
        InputError: ``unreadable-file``, or, naming a column, ``nested-column`` if it holds lists or structures and
            ``binary-column`` if it holds bytes that are not text.
    """
    try:
        table = pq.read_table(path)
        nested = [field for field in table.schema if pa.types.is_nested(field.type)]
        cells = (
            [] if nested else [_texts(*column, path) for column in zip(table.column_names, table.columns, strict=True)]
        )
    except (OSError, ValueError, pa.ArrowException) as fault:
        # ValueError: of what was damaged some shows only when names and cells are read.
        message = f"Cannot read {path}: {fault}."
        remedy = "Check the path, and that the file is Parquet."
        raise InputError("unreadable-file", message, culprit=str(path), remedy=remedy) from fault
    for field in nested:
        message = f"{path}: column {field.name!r} holds {field.type}, not single values."
        raise InputError("nested-column", message, culprit=str(path), remedy="Flatten it, or leave it out.")
    rows = tuple(zip(*cells, strict=True))
    places = tuple(f"row {index}" for index in range(1, len(rows) + 1))
    return Table(tuple(table.column_names), rows, places, str(path))


def _texts(name: str, column: pa.ChunkedArray, path: Path) -> list[str]:
    try:
        return [_text(value) for value in column.to_pylist()]
    except UnicodeDecodeError as fault:
        message = f"{path}: column {name!r} holds bytes that are not text in UTF-8."
        raise InputError("binary-column", message, culprit=str(path), remedy="Convert it, or leave it out.") from fault
    except (ArithmeticError, LookupError, ValueError) as fault:
        # Dates that Python has no room for, and time zones that it does not know.
        message = f"Cannot read {path}: column {name!r} holds {column.type} of which some cannot be read: {fault}."
        raise InputError(
            "unreadable-file", message, culprit=str(path), remedy="Correct it, or leave it out."
        ) from fault


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, bool):
        return str(int(value))
    return str(value).strip()
