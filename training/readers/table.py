"""A table as it was written: named columns of text, each row with its place in the file.

This module knows rows and columns. It does not know file formats, nor which column is a label or what a number is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from secagg.errors import InputError
from training.round_record import some

_MOST_NAMES: Final = 30


@dataclass(frozen=True)
class Table:
    """Rows of text under named columns.

    Args:
        columns: the names, in file order, all different.
        rows: one tuple of cells a row, each as long as ``columns``; an empty cell is "".
        places: for each row, where it stands in the file, for error messages: "line 12".
        source: the file.

    Raises:
        InputError: ``duplicate-column``.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        twice = [name for name, count in Counter(self.columns).items() if count > 1]
        if twice:
            raise InputError(
                "duplicate-column",
                f"{self.source} has more than one column {twice[0]!r}.",
                culprit=self.source,
                remedy="Give every column its own name; set header = false if the first line holds data.",
            )

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        # Each is asked for again and again, and a table of gene expressions has tens of thousands.
        return {column: position for position, column in enumerate(self.columns)}

    def position(self, column: str) -> int:
        """Where a column stands, from 0.

        Raises:
            InputError: ``missing-column``, listing columns that exist.
        """
        if column not in self._positions:
            raise missing_column(self, column, reason="missing-column")
        return self._positions[column]

    def select(self, indices: list[int], source: str) -> Table:
        """Some of the rows, under another name."""
        rows = tuple(self.rows[index] for index in indices)
        return Table(self.columns, rows, tuple(self.places[index] for index in indices), source)


def missing_column(table: Table, column: str, *, reason: str) -> InputError:
    """The error for a column that a table lacks."""
    return InputError(
        reason,
        f"{table.source} has no column {column!r}; it has: {some(table.columns, _MOST_NAMES)}.",
        culprit=table.source,
        remedy="Correct the name in the task, or the file.",
    )
