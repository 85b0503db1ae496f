from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secagg.errors import InputError
from training.readers import read_images
from training.readers.image_folder import read_image_folder


def save(folder: Path, name: str, colour: tuple[int, int, int], size: int = 8) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)
    return path


def test_sub_folders_in_sorted_order_are_the_classes(tmp_path: Path) -> None:
    save(tmp_path, "sick/2.png", (255, 255, 255))
    save(tmp_path, "healthy/1.png", (0, 0, 0), size=20)
    (tmp_path / "healthy" / "notes.txt").write_text("not a picture")
    images = read_images(tmp_path, 8, 1)
    assert images.pixels.shape == (2, 1, 8, 8)
    assert images.labels.tolist() == [0, 1]
    assert [int(image.mean()) for image in images.pixels] == [0, 255]


def test_colour_is_kept_when_asked_for(tmp_path: Path) -> None:
    save(tmp_path, "a/1.png", (10, 20, 30))
    pixels = read_image_folder(tmp_path, 4, 3).pixels
    assert pixels.dtype == np.uint8
    assert pixels[0, :, 0, 0].tolist() == [10, 20, 30]


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, "a/1.png", (0, 0, 0))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1)
    assert caught.value.reason == "unreadable-image"
    assert caught.value.culprit == str(path)


@pytest.mark.parametrize("limit", [20, 40])
def test_a_picture_that_unpacks_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    save(tmp_path, "a/1.png", (0, 0, 0))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1)
    assert caught.value.reason == "image-too-large"


def test_a_folder_without_pictures_is_an_empty_site(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1)
    assert caught.value.reason == "empty-site"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        read_image_folder(tmp_path / "absent", 8, 1)
