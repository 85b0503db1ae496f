"""A site's own settings, as TOML that its administrator may edit. Never sent to anybody.

Knows how they are written and read. What they mean is told where they are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from secagg.errors import InputError
from secagg.files import PRIVATE, create_atomically, read_bounded
from secagg.toml_text import read_toml, write_toml
from training.device_name import DeviceName

_LARGEST = 1024 * 1024
Settings = TypeVar("Settings", bound=msgspec.Struct)
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class HospitalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hospital trains on.

    Attributes:
        data: the file or folder of this hospital's records; relative to the site's folder unless it is absolute.
        passphrase_file: whose first line opens the identity file, if that is encrypted.
        seed: of the order of batches where there is no differential privacy, to repeat an experiment; never of noise.
    """

    data: str
    device: DeviceName = "auto"
    passphrase_file: str | None = None
    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None


class CoordinatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a coordinator waits, in seconds.

    Attributes:
        gather: for all members to be connected before an epoch; it begins without those who are missing.
        open: for those who are connected to open for the epoch: to read all their records, and check their logs.
        work: for a hospital's update, and for what it does with a sum, or with what it missed.
        answer: for every other message; nine minutes at most once the first have the release, as they wait too.
        patience: how long it goes on trying where no epoch succeeds, before it gives up; and how long it waits for who
            may lack the release.
    """

    gather: Seconds = 60.0
    open: Seconds = 300.0
    work: Seconds = 600.0
    answer: Seconds = 60.0
    patience: Seconds = 600.0


def read_settings(path: Path, schema: type[Settings]) -> Settings:
    """Read a site's settings.

    Raises:
        InputError: ``unreadable``, ``malformed-settings``.
    """
    try:
        return msgspec.convert(read_toml(read_bounded(path, _LARGEST).decode("utf-8-sig")), schema)
    except ValueError as error:
        raise InputError(
            "malformed-settings",
            f"{path} cannot be used: {error}.",
            culprit=str(path),
            remedy="Correct it by hand; docs/running-a-site.md explains every line.",
        ) from error


def write_new_settings(path: Path, settings: msgspec.Struct, comment: str) -> None:
    """Write a site's first settings.

    Raises:
        InputError: ``exists``, ``unwritable``.
    """
    create_atomically(path, f"# {comment}\n{write_toml(msgspec.to_builtins(settings))}".encode(), PRIVATE)
