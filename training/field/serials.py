"""Which jobs a site has taken: each has a number, and none is taken twice or after a later one.

Knows numbers. What a replayed job could do is little, for every message in it is refused; but it would open the
hospital for nothing, and whoever replays it need not be the one who signed it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from secagg.errors import RefusedError
from secagg.files import PRIVATE, write_atomically
from training.field.state_file import read_state

_LARGEST = 4096
_LARGEST_SERIAL = 2**63 - 1


class _Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    charter: str
    serial: int


def take_serial(path: Path, charter: str, serial: int) -> None:
    """Take a job's number, on disk before anything else of the job is done.

    Args:
        serial: as the job says it: of any type.

    Raises:
        RefusedError: ``malformed-serial``, if it is no number that a job may have.
        RefusedError: ``job-replayed``, if this or a later one of the charter was taken.
        InputError: ``malformed-serials``, ``unwritable``.
    """
    if type(serial) is not int or not 0 < serial <= _LARGEST_SERIAL:
        raise RefusedError(
            "malformed-serial",
            f"A job has no number from 1 to {_LARGEST_SERIAL}.",
            culprit="the coordinator",
            remedy="Ask the coordinator: it runs another release of secagg, or is up to no good.",
        )
    remedy = "Remove it: no secret and no budget rests on it."
    last = read_state(path, _Taken, _LARGEST, reason="malformed-serials", remedy=remedy)
    if last and last.charter == charter and serial <= last.serial:
        raise RefusedError(
            "job-replayed",
            f"The job {serial} is not newer than {last.serial}, which this site has already taken.",
            culprit="the coordinator",
            remedy="Begin a new job. If the coordinator's clock was set back, wait until it has caught up; if a number "
            f"was far ahead of it, remove {path}: no secret and no budget rests on it.",
        )
    write_atomically(path, msgspec.json.encode(_Taken(charter, serial)), PRIVATE)
