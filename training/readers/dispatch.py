"""Which reader reads which path. Knows suffixes, and nothing of what is inside the files."""

from __future__ import annotations

from pathlib import Path

from secagg.errors import InputError
from training.readers.csv import read_csv
from training.readers.image_folder import read_image_folder
from training.readers.images import Images
from training.readers.npz import read_npz
from training.readers.parquet import read_parquet
from training.readers.table import Table
from training.records_path import split_of


def read_table(path: Path, columns: tuple[str, ...]) -> Table:
    """Read .csv, .tsv, .data, .txt or .parquet; ``columns`` only for text without a header.

    Raises:
        InputError: ``unreadable-file`` if there is no such file, ``unknown-format``, or what the reader of that
            format raises.
    """
    _require_there(path)
    match path.suffix.lower():
        case ".csv" | ".tsv" | ".data" | ".txt":
            return read_csv(path, columns)
        case ".parquet":
            return read_parquet(path)
        case suffix:
            raise _unknown(path, suffix, "a table: .csv, .tsv, .data, .txt or .parquet")


def read_images(path: Path, size: int, channels: int, class_names: tuple[str, ...]) -> Images:
    """Read an .npz archive (``archive.npz::test`` names a split) or a folder of pictures.

    ``class_names`` are the folder's sub-folders, in the order of their labels; an archive has labels of its own.

    Raises:
        InputError: ``unreadable-file`` if there is no such file, ``unknown-format``, or what the reader of that
            format raises.
    """
    file, split = split_of(path)
    _require_there(file)
    if file.suffix.lower() == ".npz":
        return read_npz(file, split, size, channels)
    if path.is_dir():
        return read_image_folder(path, size, channels, class_names)
    raise _unknown(path, file.suffix, "images: an .npz archive or an existing folder")


def _require_there(path: Path) -> None:
    # A path that leads nowhere has no format either: what is wrong with it comes first.
    if not path.exists():
        message = f"Cannot read {path}: No such file or folder."
        raise InputError("unreadable-file", message, culprit=str(path), remedy="Check the path.")


def _unknown(path: Path, suffix: str, wanted: str) -> InputError:
    what = f"the suffix {suffix!r}" if suffix else "no suffix"
    message = f"{path} ({what}) cannot be read as {wanted}."
    return InputError("unknown-format", message, culprit=str(path), remedy="Check the path, or convert the file.")
