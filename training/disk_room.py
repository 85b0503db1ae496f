"""How much a coordinator writes in an epoch and in a round, and whether there is room for it.

Knows sizes of messages and free space. It is asked before anybody begins: hospitals pay for a round before the
coordinator has anything of theirs to write down.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Final

from secagg.errors import InputError
from secagg.files import unreadable
from secagg.masking.sizes import Shape, round_traffic, set_up_traffic

# For agreements, refusals, records, logs, and what is written anew before the old one is removed.
_SLACK: Final = 16 * 1024 * 1024


def round_bytes(shape: Shape) -> int:
    """What is kept of one round: everybody's messages, one copy of what all are sent, and the sum for who misses it.

    Raises:
        InputError: ``too-large``, as `round_traffic`.
    """
    traffic = round_traffic(shape)
    # Of an encrypted sum hospitals hand on what it has led to.
    sums = 0 if shape.encrypted else shape.sum_bytes
    return math.ceil(shape.members * traffic.bytes_up + traffic.bytes_down) + sums


def set_up_bytes(shape: Shape) -> int:
    """What is kept of one key set-up, at most: all messages of all hospitals."""
    traffic = set_up_traffic(shape)
    return math.ceil(shape.members * (traffic.bytes_up + traffic.bytes_down))


def require_room(folder: Path, needed: int) -> None:
    """Refuse to begin where so many bytes, and some more, do not fit.

    Args:
        folder: which exists.

    Raises:
        InputError: ``no-room``, ``unreadable``.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise unreadable(folder, error) from error
    needed += _SLACK
    if free < needed:
        raise InputError(
            "no-room",
            f"{folder} has room for {_megabytes(free)} MB ({free} bytes), and what is begun next takes up to "
            f"{_megabytes(needed)} MB ({needed} bytes). No hospital was asked to begin, and none has paid.",
            culprit=str(folder),
            remedy="Free some space there, or move the coordinator's folder to a larger disk. Keep its transcript: the "
            "run goes on with it.",
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"
