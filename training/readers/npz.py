"""NumPy archives in the layout of MedMNIST: ``train_images``, ``train_labels``, and so on for ``val`` and ``test``.

This module knows that layout, and the same without a prefix (``images``, ``labels``) for a hospital's own archive.
An optional ``..._patients`` array says which images are of one patient. Nothing pickled is ever loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import InputError
from training.readers.images import Images
from training.readers.marks import NOBODY, patient_name
from training.records import number_patients

# A zip archive with members, and one without.
_ARCHIVES: Final = (b"PK\x03\x04", b"PK\x05\x06")


def read_npz(path: Path, split: str, size: int, channels: int) -> Images:
    """Read one split of an archive; ``split`` "" takes the arrays without a prefix, or else ``train``.

    Raises:
        InputError: ``unreadable-file``, ``missing-array`` (listing those that exist), ``image-shape``, ``bad-labels``
            or, for an image whose patient is not known, ``missing-value``.
    """
    source = f"{path}::{split}" if split else str(path)
    arrays = _load(path, split)
    pixels = _channels_first(arrays["images"], source, size, channels)
    labels = _flat_labels(arrays["labels"], source)
    count = len(pixels)
    patients = np.arange(count, dtype=np.int64)
    if "patients" in arrays:
        patients = number_patients(_patient_names(arrays["patients"], source))
    if len(labels) != count or len(patients) != count:
        message = f"{source} has {count} images, {len(labels)} labels and {len(patients)} patients."
        raise InputError("image-shape", message, culprit=source, remedy="Give one label (and one patient) per image.")
    return Images(pixels, labels, patients, source)


def _load(path: Path, split: str) -> dict[str, npt.NDArray[np.generic]]:
    try:
        # numpy leaves a file that it opened itself open when the archive is broken.
        with path.open("rb") as file:
            start = file.read(len(np.lib.format.MAGIC_PREFIX))
            if start == np.lib.format.MAGIC_PREFIX:
                raise _unreadable(path, "it is a single array, not an archive")
            # Of any other file numpy says that it may be loaded unsafely.
            if not start.startswith(_ARCHIVES):
                raise _unreadable(path, "it is no .npz archive")
            file.seek(0)
            return _arrays(path, np.load(file, allow_pickle=False), split)
    except InputError:
        raise
    # NumPy reads the head of an array as Python source, and zipfile has errors of many kinds: a damaged file is any.
    except Exception as fault:
        raise _unreadable(path, str(fault)) from fault


def _arrays(path: Path, archive: np.lib.npyio.NpzFile, split: str) -> dict[str, npt.NDArray[np.generic]]:
    prefix = f"{split}_" if split else ("" if "images" in archive.files else "train_")
    for name in (f"{prefix}images", f"{prefix}labels"):
        if name not in archive.files:
            message = f"{path} has no array {name!r}; it has: {', '.join(archive.files)}."
            raise InputError("missing-array", message, culprit=str(path), remedy="Name a split: FILE::test.")
    names = ("images", "labels", "patients")
    arrays = {name: archive[prefix + name] for name in names if prefix + name in archive.files}
    for name, array in arrays.items():
        # numpy gives the bytes of a member that does not begin as an array does.
        if not isinstance(array, np.ndarray):
            raise _unreadable(path, f"{prefix}{name} is not an array")
    return arrays


def _unreadable(path: Path, why: str) -> InputError:
    remedy = "Check the path, and that the archive holds plain arrays."
    return InputError("unreadable-file", f"Cannot read {path}: {why}.", culprit=str(path), remedy=remedy)


def _channels_first(images: npt.NDArray[np.generic], source: str, size: int, channels: int) -> npt.NDArray[np.uint8]:
    wanted = (size, size) if channels == 1 else (size, size, channels)
    if images.dtype != np.uint8 or images.shape[1:] not in (wanted, (size, size, channels)):
        message = f"{source} holds {images.dtype} images of shape {images.shape[1:]}; the task needs uint8 {wanted}."
        remedy = "Set image_size and image_channels in the task to what the file holds."
        if images.dtype != np.uint8:
            remedy = "Store them as uint8 from 0 to 255, scaled in the same way at every hospital."
        raise InputError("image-shape", message, culprit=source, remedy=remedy)
    stacked = images.reshape(len(images), size, size, channels)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)).astype(np.uint8, copy=False)


def _patient_names(patients: npt.NDArray[np.generic], source: str) -> list[str]:
    names = [
        name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
        for name in patients.reshape(-1).tolist()
    ]
    nobody = next((index for index, name in enumerate(names) if name.strip() in NOBODY), None)
    if nobody is not None:
        message = f"{source}: image {nobody + 1} has no patient."
        remedy = "Name the patient of every image, or leave the array out if each image is another patient's."
        raise InputError("missing-value", message, culprit=source, remedy=remedy)
    return [patient_name(name) for name in names]


def _flat_labels(labels: npt.NDArray[np.generic], source: str) -> npt.NDArray[np.int64]:
    if labels.dtype.kind not in "iu" or labels.ndim == 0 or labels.size != len(labels):
        message = f"{source} has {labels.dtype} labels of shape {labels.shape}; one integer per image is needed."
        raise InputError(
            "bad-labels", message, culprit=source, remedy="Store labels as integers, shape (n,) or (n, 1)."
        )
    return labels.reshape(-1).astype(np.int64)
