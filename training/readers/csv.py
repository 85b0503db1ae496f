"""Comma- and tab-separated files, with or without a header.

This module knows the format. A cell is bounded by the csv module's own limit (131,072 characters), so that a stray
quotation mark cannot swallow a whole file into one cell.
"""

from __future__ import annotations

import csv
from pathlib import Path

from secagg.errors import InputError
from training.readers.table import Table


def read_csv(path: Path, columns: tuple[str, ...]) -> Table:
    """Read a UTF-8 file; ``columns`` names them when the file has no header, and is empty when it has one.

    Blank lines are skipped, cells are stripped of surrounding spaces.

    Raises:
        InputError: ``unreadable-file``, ``ragged-row`` (naming the line), ``duplicate-column`` or ``empty-site``.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows: list[tuple[str, ...]] = []
    places: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                row = tuple(cell.strip() for cell in cells)
                if not columns:
                    columns = row
                    continue
                if len(row) != len(columns):
                    raise _ragged(path, reader.line_num, len(row), len(columns))
                rows.append(row)
                places.append(f"line {reader.line_num}")
    except OSError as fault:
        message = f"Cannot read {path}: {fault.strerror}."
        raise InputError("unreadable-file", message, culprit=str(path), remedy="Check the path.") from fault
    except (UnicodeDecodeError, csv.Error) as fault:
        message = f"Cannot read {path} after line {len(rows)}: {fault}."
        remedy = "Check the quotation marks, and that the file is UTF-8 text."
        raise InputError("unreadable-file", message, culprit=str(path), remedy=remedy) from fault
    if not columns:
        raise InputError("empty-site", f"{path} is empty.", culprit=str(path), remedy="Check the path.")
    return Table(columns, tuple(rows), tuple(places), str(path))


def _ragged(path: Path, line: int, found: int, wanted: int) -> InputError:
    return InputError(
        "ragged-row",
        f"{path} line {line} has {found} cells where {wanted} are expected.",
        culprit=str(path),
        remedy="Correct the line, or the columns in the task.",
    )
