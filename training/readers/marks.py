"""What a row of a table is recognised by, whatever a task makes of it.

Knows cells. A mark is a hash without a key: it must not be stored.
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import datetime
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.labels import DIGEST_SIZE, digest
from training.readers.table import Table

NOBODY: Final = frozenset({"", "nan", "NaN", "NA", "<NA>", "NaT", "None", "null", "NULL"})
"""What NumPy, pandas, R and databases write for an unknown patient. As a name it would make one patient of all."""

_EXACT: Final = 1 << 53
_LARGEST: Final = float(np.finfo(np.float32).max)
_UNKNOWN: Final = NOBODY | {"?"}
_TRUTHS: Final = {"true": 1.0, "false": 0.0}
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_KEPT: Final = 1 << 16
_WHOLE: Final = re.compile(r"\+?(-?)0*([0-9]+)(?:\.0*)?")


def row_marks(table: Table, patient: str | None) -> npt.NDArray[np.uint8]:
    """For each row a hash of all its cells and, where a column names the patient, one of that name.

    A row's cells count whatever their order and the columns' names. A number counts as a float32, so that it is the
    same whether it was written as 1, 1.0 or 1e0; true is 1. A patient's name counts as `patient_name` has it.

    Returns:
        uint8, shape (n, 1 or 2, 32).
    """
    # Codes and whole numbers come again and again. Here, so that what a table holds is forgotten with it.
    counts_as = lru_cache(_KEPT)(_cell)
    marks = [[digest("cells", b"", *sorted(map(counts_as, row))) for row in table.rows]]
    if patient is not None:
        position = table.position(patient)
        marks.append([digest("patient name", patient_name(row[position]).encode()) for row in table.rows])
    joined = b"".join(mark for pair in zip(*marks, strict=True) for mark in pair)
    return np.frombuffer(joined, np.uint8).reshape(len(table.rows), len(marks), DIGEST_SIZE)


def patient_name(text: str) -> str:
    """Under which a patient is known, however it is written: capitals and spaces around it don't count, 007 is 7.

    Of two ways in which Unicode writes an umlaut neither counts. Ledgers hold digests of this: what it gives for a name
    must stay.
    """
    # Python's 1_2 is 12: elsewhere it is two numbers.
    number = None if "_" in text else _number(text)
    if number is not None and number.is_integer() and abs(number) < _EXACT:
        return str(int(number))
    # A larger one is no float.
    whole = _WHOLE.fullmatch(text.strip())
    return "".join(whole.groups()) if whole else unicodedata.normalize("NFC", text).strip().casefold()


def _cell(text: str) -> str:
    """As it counts: writers of tables differ in how they spell a number, a truth, a time, and what is not known."""
    text = text.strip()
    if text in _UNKNOWN:
        return ""
    number = _TRUTHS.get(text.casefold(), _number(text))
    if number is not None:
        return repr(float(np.float32(number)) + 0.0)
    return _time(text) or text


def _time(text: str) -> str | None:
    if not _DATE.match(text):
        return None
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= _LARGEST else None
