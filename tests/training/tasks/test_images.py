from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secagg.errors import InputError
from training.task import TaskSpec, build_task

IMAGE = 'kind = "image-classification"\n[model]\nname = "cnn"\n'


def test_pneumonia_is_read_by_split(write_task: Callable[[str], TaskSpec], pneumonia_file: Path) -> None:
    task = build_task(write_task(IMAGE))
    assert len(task.read(pneumonia_file)) == 4708
    for split, count in (("train", 4708), ("val", 524), ("test", 624)):
        records = task.read(Path(f"{pneumonia_file}::{split}"))
        assert records.features.shape == (count, 1, 28, 28)
        assert records.patient_count == count
        assert records.features.min() >= -1
        assert records.features.max() <= 1
        assert set(records.labels.tolist()) == {0, 1}


def test_breast_ultrasounds_are_read(write_task: Callable[[str], TaskSpec], breast_file: Path) -> None:
    task = build_task(write_task(IMAGE))
    assert [len(task.read(Path(f"{breast_file}::{split}"))) for split in ("train", "val", "test")] == [546, 78, 156]


def test_black_is_minus_one_and_white_is_one(write_task: Callable[[str], TaskSpec], tmp_path: Path) -> None:
    path = tmp_path / "site.npz"
    pixels = np.stack([np.zeros((28, 28)), np.full((28, 28), 255)]).astype(np.uint8)
    np.savez(path, images=pixels, labels=np.array([0, 1]))
    features = build_task(write_task(IMAGE)).read(path).features
    assert np.unique(features[0]).tolist() == [-1]
    assert np.unique(features[1]).tolist() == [1]


def test_a_label_beyond_the_classes_is_refused(write_task: Callable[[str], TaskSpec], tmp_path: Path) -> None:
    path = tmp_path / "site.npz"
    np.savez(path, images=np.zeros((2, 28, 28), np.uint8), labels=np.array([0, 2]))
    with pytest.raises(InputError) as caught:
        build_task(write_task(IMAGE)).read(path)
    assert caught.value.reason == "bad-labels"
