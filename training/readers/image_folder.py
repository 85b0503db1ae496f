"""A folder with one sub-folder of images for each class.

This module knows that a class is a sub-folder of an agreed name, and that a small file can unpack into a very large
picture: pillow's own limit is an error here. Every image counts as a patient of its own.
"""

from __future__ import annotations

import struct
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from secagg.errors import InputError
from secagg.labels import digest
from training.readers.images import Images

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
# What lies about beside pictures and is none.
_OTHER_SUFFIXES = frozenset({".csv", ".json", ".md", ".txt"})
_OTHER_NAMES = frozenset({"desktop.ini", "thumbs.db"})
# What a file may hold, whatever it is called. Pillow knows forty other formats by their first bytes, of which some have
# numbers of more than 8 bits, and one is a program that it has Ghostscript run.
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
_MODES = {1: "L", 3: "RGB"}
# What pillow raises of a damaged file; of a later page also what it catches of the first.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error)
# More than 8 bits a channel. Of grey pillow cuts off what is above 255, so that a radiograph is almost pure white; of
# colours, and of grey beside transparency, what is below 256, so that 12 bits in 16 are almost black.
_DEEP = ("I", "F")
_BITS = 8
# PNG (W3C, 11.2.1): the bit depth in the header, which is the first chunk. TIFF 6.0, section 8.
_PNG_HEADER, _PNG_DEPTH = slice(12, 16), 24
_BITS_PER_SAMPLE = 258


def read_image_folder(folder: Path, size: int, channels: int, class_names: tuple[str, ...]) -> Images:
    """Read every picture, resized to ``size`` by ``size`` pixels (bilinear), greyscale or RGB.

    Args:
        class_names: the names that sub-folders may have, in the order of their labels. A hospital need not have all:
            numbered by what is there, one name would be another label at another hospital.

    Raises:
        InputError: ``no-class-names``, ``unknown-class`` naming the sub-folder, ``unreadable-file``, ``empty-site``,
            ``unreadable-image`` or ``image-too-large`` naming the file.
    """
    try:
        entries = _visible(folder)
        labels_of = _labels(folder, [entry for entry in entries if entry.is_dir()], class_names)
        for entry in entries:
            if not entry.is_dir():
                raise _left_out(entry, "lies in no sub-folder")
        files = [(label, file) for entry, label in labels_of.items() for file in _pictures(entry)]
    except OSError as fault:
        message = f"Cannot read the folder {folder}: {fault}."
        raise InputError("unreadable-file", message, culprit=str(folder), remedy="Check the path.") from fault
    if not files:
        message = f"{folder} has no sub-folders with pictures."
        remedy = "Make one sub-folder per class and put its pictures in it."
        raise InputError("empty-site", message, culprit=str(folder), remedy=remedy)
    pixels, marks = zip(*(_read_picture(file, size, channels) for _, file in files), strict=True)
    labels = np.array([label for label, _ in files], dtype=np.int64)
    patients = np.arange(len(files), dtype=np.int64)
    return Images(np.stack(pixels), labels, patients, str(folder), np.stack(marks)[:, None])


def _labels(folder: Path, classes: list[Path], class_names: tuple[str, ...]) -> dict[Path, int]:
    if not class_names:
        raise InputError(
            "no-class-names",
            f"{folder} is a folder of pictures, but the task does not name its classes.",
            culprit="data.class_names",
            remedy="List the sub-folders of all hospitals there, in the order of their labels.",
        )
    known = {_spelt(name): label for label, name in enumerate(class_names)}
    for entry in classes:
        if _spelt(entry.name) not in known:
            raise InputError(
                "unknown-class",
                f"{entry} is not a class of the task, which has: {', '.join(class_names)}.",
                culprit=str(entry),
                remedy="Rename the sub-folder as the task has it, or move it away.",
            )
    return {entry: known[_spelt(entry.name)] for entry in classes}


def _spelt(name: str) -> str:
    # Some file systems store an umlaut as two characters.
    return unicodedata.normalize("NFC", name)


def _pictures(folder: Path) -> list[Path]:
    files = _visible(folder)
    for file in files:
        if file.is_dir():
            raise _left_out(file, "is a folder inside a class")
        if file.suffix.lower() not in _SUFFIXES:
            raise _left_out(file, "is of a format that is not read")
    return files


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not _is_no_data(entry))


def _is_no_data(entry: Path) -> bool:
    if entry.name.startswith("."):
        return True
    other = entry.suffix.lower() in _OTHER_SUFFIXES or entry.name.lower() in _OTHER_NAMES
    return other and not entry.is_dir()


def _left_out(entry: Path, why: str) -> InputError:
    return InputError(
        "unreadable-image",
        f"{entry} {why}; it would be left out.",
        culprit=str(entry),
        remedy="Put PNG, JPEG, BMP or TIFF files right into the sub-folder of their class; move away all else.",
    )


def _read_picture(file: Path, size: int, channels: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Its pixels as the task wants them, and what it is recognised by whatever size a task wants."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as picture:
                # A camera's JPEG may hold a small copy or a map of depth too, which pillow calls MPO.
                if picture.format != "MPO":
                    _require_one_page(file, getattr(picture, "n_frames", 1))
                _require_eight_bits(file, picture)
                mark = _mark(picture)
                resized = picture.convert(_MODES[channels]).resize((size, size), Image.Resampling.BILINEAR)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as fault:
        message = f"{file} is larger than {Image.MAX_IMAGE_PIXELS} pixels."
        raise InputError("image-too-large", message, culprit=str(file), remedy="Scale it down first.") from fault
    except UnidentifiedImageError as fault:
        message = f"{file} is no PNG, JPEG, BMP or TIFF, whatever it is called, or is damaged."
        raise InputError("unreadable-image", message, culprit=str(file), remedy="Convert or replace it.") from fault
    except _DAMAGED as fault:
        message = f"Cannot read the picture {file}: {fault}."
        raise InputError("unreadable-image", message, culprit=str(file), remedy="Replace or remove it.") from fault
    array = np.asarray(resized, dtype=np.uint8).reshape(size, size, channels)
    return np.ascontiguousarray(array.transpose(2, 0, 1)), np.frombuffer(mark, np.uint8)


def _mark(picture: Image.Image) -> bytes:
    # Numbers of colours are no picture without the colours.
    seen = picture.convert("RGBA") if picture.mode in {"P", "PA"} else picture
    return digest("picture", seen.tobytes(), seen.mode, *seen.size)


def _require_one_page(file: Path, pages: int) -> None:
    if pages > 1:
        raise InputError(
            "unreadable-image",
            f"The picture {file} has {pages} pages or frames; all but the first would be left out.",
            culprit=str(file),
            remedy="Write each page that is to be learned from into a file of its own; remove this one.",
        )


def _require_eight_bits(file: Path, picture: Image.Image) -> None:
    if picture.mode.startswith(_DEEP) or _depth(file, picture) > _BITS:
        raise InputError(
            "unreadable-image",
            f"The picture {file} has more than {_BITS} bits a channel.",
            culprit=str(file),
            remedy=f"Convert such pictures to {_BITS} bits, with the same window at all hospitals.",
        )


def _depth(file: Path, picture: Image.Image) -> int:
    """Bits a channel, as the file has it: pillow's mode says how it is going to be read.

    Raises:
        ValueError: if a PNG does not begin with its header.
    """
    match picture.format:
        case "PNG":
            with file.open("rb") as opened:
                start = opened.read(_PNG_DEPTH + 1)
            if start[_PNG_HEADER] != b"IHDR":
                raise ValueError("it does not begin with its header")
            return start[_PNG_DEPTH]
        case "TIFF":
            return int(max(picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))))  # type: ignore[attr-defined]
        case _:
            return _BITS
