"""Whether the records of a simulation are those that it began with.

Knows files and their digests, which stay with who has everybody's records. A real hospital never comes here: it knows
its patients by its ledger (`training.staying`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from secagg.charter.cautions import Caution
from secagg.files import unreadable
from training.records_path import split_of
from training.sites import DataSource, trained_files

RECORDS_CHANGED: Final = "records-changed"


def file_digests(source: DataSource) -> dict[str, str]:
    """SHA-256 of every file of records, in hexadecimal, by its path.

    Of a folder of pictures it is that of the names and digests of all that is not hidden in it. What is neither file
    nor folder, as a task of one's own may read, has none.

    Raises:
        InputError: ``unreadable``, ``bad-name``.
    """
    found = ((_key(path), _digest(path)) for _, path in _files(source))
    return {key: digest for key, digest in found if digest is not None}


def changed_since(source: DataSource, begun_with: Mapping[str, str]) -> tuple[Caution, ...]:
    """What is to be told of files that are not as ``begun_with`` has them; nothing of those that it does not have.

    Raises:
        InputError: ``unreadable``, ``bad-name``.
    """
    return tuple(
        _changed(whose, path)
        for whose, path in _files(source)
        if _key(path) in begun_with and begun_with[_key(path)] != _digest(path)
    )


def _files(source: DataSource) -> Iterator[tuple[str, Path]]:
    for name, path in trained_files(source):
        yield f"The records of {name}" if name else "The hospitals' records", path
    if source.test:
        yield "The test records", Path(source.test)


def _key(path: Path) -> str:
    # A name that is not UTF-8 could not be written down.
    return os.fsencode(path).decode(errors="backslashreplace")


def _digest(path: Path) -> str | None:
    place, _ = split_of(path)
    try:
        if place.is_dir():
            return _of_folder(place)
        return _of_file(place) if place.is_file() else None
    except OSError as error:
        raise unreadable(place, error) from error


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            # No name holds NUL, and a digest is always as long.
            digest.update(os.fsencode(name) + b"\0" + _of_file(file).encode())
    return digest.hexdigest()


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(whose: str, path: Path) -> Caution:
    return Caution(
        RECORDS_CHANGED,
        f"{whose}, {path}, are not those that this run began with. The model may be tested on patients that it was "
        "trained on before: figures are too high then.",
        "Put the file back as it was, or begin another run.",
    )
