"""What is told of a fault that a task of somebody's own raised: its type alone if it may have records, or all.

Knows errors. Knows nothing of tasks or records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from secagg.errors import InputError

READING_FAILS: Final = "reading-fails"
BUILDING_FAILS: Final = "building-fails"
TRAINING_FAILS: Final = "training-fails"
# What `dp.row_probe` makes of a fault.
_NOT_PRIVATE: Final = "not-private-model"
_OF_OWN_CODE: Final = frozenset({READING_FAILS, BUILDING_FAILS, TRAINING_FAILS, _NOT_PRIVATE})
_WHERE_IN_FULL: Final = " A simulation tells the fault in full."


def by_its_type(reason: str, what: str, fault: Exception, culprit: str, remedy: str) -> InputError:
    """An error that tells the type of ``fault`` and none of its words, which may tell of records. Raise it from that.

    Args:
        reason: `READING_FAILS`, `BUILDING_FAILS` or `TRAINING_FAILS`.
        what: a sentence without its full stop.
    """
    return InputError(reason, f"{what} {_type_of(fault)}", culprit=culprit, remedy=remedy + _WHERE_IN_FULL)


@contextmanager
def in_full() -> Iterator[None]:
    """Tells such a fault in its own words, to somebody who may see the records, or before anything has read them.

    Raises:
        InputError: ``reading-fails``, ``building-fails``, ``training-fails``, ``not-private-model``.
    """
    try:
        yield
    except InputError as error:
        fault = error.__cause__
        if error.reason not in _OF_OWN_CODE or not isinstance(fault, Exception):
            raise
        what = error.message.removesuffix(_type_of(fault))
        raise InputError(
            error.reason,
            f"{what}({type(fault).__name__}: {fault}).",
            culprit=error.culprit,
            remedy=(error.remedy or "").removesuffix(_WHERE_IN_FULL),
        ) from fault


def _type_of(fault: Exception) -> str:
    return f"({type(fault).__name__})."
