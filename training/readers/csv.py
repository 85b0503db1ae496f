"""Comma- and tab-separated files, with or without a header.

This module knows the format. A cell is bounded by the csv module's own limit (131,072 characters), so that a stray
quotation mark cannot swallow a whole file into one cell.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from secagg.errors import InputError
from secagg.utf8 import first_undecodable
from training.readers.table import Table

_MARKS: Final = {";": "semicolons", "\t": "tabs", ",": "commas"}


def read_csv(path: Path, columns: tuple[str, ...]) -> Table:
    """Read a UTF-8 file; ``columns`` names them when the file has no header, and is empty when it has one.

    Blank lines are skipped, cells are stripped of surrounding spaces.

    Raises:
        InputError: ``unreadable-file``, ``other-separator``, ``ragged-row`` (naming the line), ``duplicate-column`` or
            ``empty-site``.
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
                    _require_parted(path, row, delimiter)
                    columns = row
                    continue
                if len(row) != len(columns):
                    raise _ragged(path, reader.line_num, len(row), len(columns))
                rows.append(row)
                places.append(f"line {reader.line_num}")
    except OSError as fault:
        message = f"Cannot read {path}: {fault.strerror}."
        raise InputError("unreadable-file", message, culprit=str(path), remedy="Check the path.") from fault
    except UnicodeDecodeError as fault:
        message = f"Cannot read {path}: line {_undecodable(path)} is not UTF-8 text."
        remedy = "Save the file as UTF-8; spreadsheets call it `CSV UTF-8`."
        raise InputError("unreadable-file", message, culprit=str(path), remedy=remedy) from fault
    except csv.Error as fault:
        message = f"Cannot read {path} at line {reader.line_num}: {fault}."
        remedy = "Check the quotation marks in this line and before it."
        raise InputError("unreadable-file", message, culprit=str(path), remedy=remedy) from fault
    if not columns:
        raise InputError("empty-site", f"{path} is empty.", culprit=str(path), remedy="Check the path.")
    return Table(columns, tuple(rows), tuple(places), str(path))


def _undecodable(path: Path) -> int | None:
    with path.open("rb") as file:
        return first_undecodable(file)


def _require_parted(path: Path, header: tuple[str, ...], delimiter: str) -> None:
    """Spreadsheets of much of Europe part cells by semicolons, and write commas in numbers."""
    if len(header) > 1:
        return
    wanted = _MARKS[delimiter]
    if delimiter in header[0]:
        raise InputError(
            "other-separator",
            f"The first line of {path} is one cell with {wanted} in it: whole lines are in quotation marks.",
            culprit=str(path),
            remedy="Save it without quotation marks around lines.",
        )
    others = [name for mark, name in _MARKS.items() if mark in header[0]]
    if others:
        raise InputError(
            "other-separator",
            f"The cells of {path} are parted by {others[0]} where {wanted} are expected.",
            culprit=str(path),
            remedy=f"Save it with {wanted} between the cells, and with points in the numbers.",
        )


def _ragged(path: Path, line: int, found: int, wanted: int) -> InputError:
    return InputError(
        "ragged-row",
        f"{path} line {line} has {found} cells where {wanted} are expected.",
        culprit=str(path),
        remedy="Correct the line, or the columns in the task.",
    )
