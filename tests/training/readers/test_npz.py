from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg.errors import InputError
from training.readers.npz import read_npz

GREY = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
LABELS = np.array([[0], [1], [1]], dtype=np.uint8)


def save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "site.npz"
    np.savez(path, **arrays)
    return path


def refusal(path: Path, split: str = "", channels: int = 1) -> InputError:
    with pytest.raises(InputError) as caught:
        read_npz(path, split, 4, channels)
    return caught.value


def test_a_split_is_chosen_by_name_and_train_by_default(tmp_path: Path) -> None:
    path = save(tmp_path, train_images=GREY, train_labels=LABELS, test_images=GREY[:1], test_labels=LABELS[:1])
    assert len(read_npz(path, "", 4, 1).labels) == 3
    images = read_npz(path, "test", 4, 1)
    assert images.pixels.shape == (1, 1, 4, 4)
    assert images.labels.dtype == np.int64
    assert images.source.endswith("::test")


def test_colour_is_moved_before_height_and_width(tmp_path: Path) -> None:
    colour = np.zeros((1, 4, 4, 3), np.uint8)
    colour[0, 1, 2, 0] = 9
    assert read_npz(save(tmp_path, images=colour, labels=np.array([0])), "", 4, 3).pixels[0, 0, 1, 2] == 9


def test_patients_are_read_where_they_are_given(tmp_path: Path) -> None:
    path = save(tmp_path, images=GREY, labels=LABELS, patients=np.array(["b", "a", "b"]))
    assert read_npz(path, "", 4, 1).patients.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "patients",
    [
        np.array([1.0, np.nan, np.nan]),
        np.array(["a", " ", "b"]),
        np.array(["a", "NA", "b"]),
        np.array(["a", np.nan, "b"]),
        np.array([b"a", b"", b"b"]),
        np.array(["2020-01-01", "NaT", "2020-01-03"], dtype="datetime64[D]"),
    ],
    ids=["number", "text", "text-of-r", "number-as-text", "bytes", "date"],
)
def test_an_image_whose_patient_is_not_known_is_refused(tmp_path: Path, patients: np.ndarray) -> None:
    error = refusal(save(tmp_path, images=GREY, labels=LABELS, patients=patients))
    assert error.reason == "missing-value"
    assert "image 2 has no patient" in error.message


def test_an_absent_split_lists_the_arrays(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, train_images=GREY, train_labels=LABELS), "val")
    assert error.reason == "missing-array"
    assert "train_images, train_labels" in error.message


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (GREY.astype(np.float32), LABELS, "image-shape"),
        (GREY[:, :3], LABELS, "image-shape"),
        (GREY, LABELS[:2], "image-shape"),
        (GREY, LABELS.astype(np.float32), "bad-labels"),
        (GREY, np.zeros((3, 2), np.uint8), "bad-labels"),
        (GREY, np.array(1), "bad-labels"),
        (np.array(1, np.uint8), LABELS, "image-shape"),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, reason: str
) -> None:
    assert refusal(save(tmp_path, images=images, labels=labels)).reason == reason


def test_images_of_another_type_are_refused_with_the_type_to_store_and_not_the_shape(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, images=(GREY / 255).astype(np.float32), labels=LABELS))
    assert (error.reason, "uint8 from 0 to 255" in error.remedy) == ("image-shape", True)


def test_nothing_pickled_is_loaded(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, images=np.array([{"a": 1}], dtype=object), labels=LABELS))
    assert error.reason == "unreadable-file"


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.npz"
    for content in (b"", b"PK\x03\x04 broken", b"PK\x03", b"text"):
        path.write_bytes(content)
        error = refusal(path)
        assert error.reason == "unreadable-file"
        assert "pickle" not in error.message
    with path.open("wb") as file:
        np.save(file, GREY)
    assert "single array" in refusal(path).message


def test_a_member_that_does_not_begin_as_an_array_does_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", b"no array")
        archive.writestr("labels", b"none either")
    with pytest.raises(InputError) as caught:
        read_npz(path, "", 4, 1)
    assert caught.value.reason == "unreadable-file"
    assert "images is not an array" in caught.value.message


@pytest.mark.parametrize(
    "head",
    [
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({1 << 80},)}}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 4",
        "{'descr': '|u1', 'fortran_order': False, 1: (3, 4, 4)}",
        "{'descr': '|u1', {}: 1}",
        "(" * 9000,
    ],
    ids=["too-large", "cut-off", "other-keys", "no-key", "deep"],
)
def test_an_array_whose_head_is_damaged_is_refused(tmp_path: Path, head: str) -> None:
    path = tmp_path / "images.npz"
    content = head.encode() + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("images.npy", "labels.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content)
    with pytest.raises(InputError) as caught:
        read_npz(path, "", 4, 1)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-file", str(path))
