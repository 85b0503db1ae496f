from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from secagg.errors import InputError
from training.readers import read_images
from training.readers.image_folder import read_image_folder

NAMES = ("a", "b")


def save(folder: Path, name: str, colour: tuple[int, int, int], size: int = 8) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)
    return path


def test_labels_are_the_places_of_the_class_names_in_the_task(tmp_path: Path) -> None:
    save(tmp_path, "sick/2.png", (255, 255, 255))
    save(tmp_path, "healthy/1.png", (0, 0, 0), size=20)
    (tmp_path / "healthy" / "notes.txt").write_text("not a picture")
    images = read_images(tmp_path, 8, 1, ("sick", "healthy"))
    assert images.pixels.shape == (2, 1, 8, 8)
    assert {label: int(image.mean()) for label, image in zip(images.labels.tolist(), images.pixels, strict=True)} == {
        0: 255,
        1: 0,
    }


def test_a_class_is_the_same_label_at_a_hospital_that_lacks_another(tmp_path: Path) -> None:
    for name in ("covid", "normal", "pneumonia"):
        save(tmp_path, f"north/{name}/1.png", (0, 0, 0))
    for name in ("normal", "pneumonia"):
        save(tmp_path, f"south/{name}/1.png", (0, 0, 0))
    names = ("covid", "normal", "pneumonia")
    assert read_image_folder(tmp_path / "north", 8, 1, names).labels.tolist() == [0, 1, 2]
    assert read_image_folder(tmp_path / "south", 8, 1, names).labels.tolist() == [1, 2]


def test_a_class_may_be_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    save(tmp_path, "b/1.png", (0, 0, 0))
    assert read_image_folder(tmp_path, 8, 1, ("a", "b")).labels.tolist() == [1]


def test_a_sub_folder_that_is_no_class_is_refused_and_named(tmp_path: Path) -> None:
    save(tmp_path, "a/1.png", (0, 0, 0))
    save(tmp_path, "other/1.png", (0, 0, 0))
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, ("a", "b"))
    assert (caught.value.reason, caught.value.culprit) == ("unknown-class", str(tmp_path / "other"))


def test_a_name_with_an_umlaut_is_known_however_the_disk_stores_it(tmp_path: Path) -> None:
    save(tmp_path, "Entzu\u0308ndung/1.png", (0, 0, 0))
    assert read_image_folder(tmp_path, 8, 1, ("keine", "Entz\u00fcndung")).labels.tolist() == [1]


def test_a_task_that_names_no_classes_reads_no_folder(tmp_path: Path) -> None:
    save(tmp_path, "a/1.png", (0, 0, 0))
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, ())
    assert (caught.value.reason, caught.value.culprit) == ("no-class-names", "data.class_names")


def test_colour_is_kept_when_asked_for(tmp_path: Path) -> None:
    save(tmp_path, "a/1.png", (10, 20, 30))
    pixels = read_image_folder(tmp_path, 4, 3, NAMES).pixels
    assert pixels.dtype == np.uint8
    assert pixels[0, :, 0, 0].tolist() == [10, 20, 30]


def test_a_picture_is_recognised_whatever_size_and_colours_a_task_wants(tmp_path: Path) -> None:
    save(tmp_path, "a/1.png", (10, 120, 200), size=40)
    save(tmp_path, "a/2.png", (10, 120, 201), size=40)
    save(tmp_path, "b/3.png", (10, 120, 200), size=41)
    first, second = (read_image_folder(tmp_path, size, channels, NAMES).marks for size, channels in ((28, 1), (32, 3)))
    assert first is not None
    assert first.shape == (3, 1, 32)
    assert np.array_equal(first, second)
    assert len({mark.tobytes() for mark in first}) == 3


def test_pictures_that_differ_in_their_palette_are_not_the_same(tmp_path: Path) -> None:
    for name, colour in (("1.png", 10), ("2.png", 200)):
        picture = Image.new("P", (8, 8))
        picture.putpalette([colour, 0, 0])
        (tmp_path / "a").mkdir(exist_ok=True)
        picture.save(tmp_path / "a" / name)
    marks = read_image_folder(tmp_path, 8, 3, NAMES).marks
    assert marks is not None
    assert not np.array_equal(marks[0], marks[1])


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, "a/1.png", (0, 0, 0))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, NAMES)
    assert caught.value.reason == "unreadable-image"
    assert caught.value.culprit == str(path)


@pytest.mark.parametrize("form", ["GIF", "PPM", "WEBP", "TGA"])
def test_a_picture_of_another_format_is_refused_whatever_it_is_called(tmp_path: Path, form: str) -> None:
    path = save(tmp_path, "a/1.png", (0, 0, 0))
    Image.new("RGB", (8, 8)).save(path, form)
    with pytest.raises(InputError, match="is no PNG, JPEG, BMP or TIFF, whatever it is called") as caught:
        read_image_folder(tmp_path, 8, 1, NAMES)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-image", str(path))


def test_no_other_program_is_started_for_what_calls_itself_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file is called."""
    started, ghostscript = tmp_path / "started", tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\n: > {started}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = save(tmp_path / "pictures", "a/1.png", (0, 0, 0))
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(InputError):
        read_image_folder(tmp_path / "pictures", 8, 1, NAMES)
    assert not started.exists()


@pytest.mark.parametrize(("name", "kind"), [("1.png", np.uint16), ("1.tif", np.uint16), ("1.tif", np.float32)])
def test_a_picture_of_more_than_8_bits_is_refused_and_not_read_as_white(tmp_path: Path, name: str, kind: type) -> None:
    save(tmp_path, "a/0.png", (0, 0, 0))
    path = tmp_path / "a" / name
    Image.fromarray(np.linspace(0, 65535, 64).astype(kind).reshape(8, 8)).save(path)
    with pytest.raises(InputError, match="more than 8 bits") as caught:
        read_image_folder(tmp_path, 8, 1, NAMES)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-image", str(path))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, colour_type: int, *before: bytes) -> bytes:
    """16 bits a channel, which pillow does not write: ``values`` (height, width, channels)."""
    height, width = values.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (*before, header, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(values: np.ndarray, planes: int) -> bytes:
    """The same in RGB: 1 is pixel by pixel, 2 plane by plane, one strip each."""
    height, width, channels = values.shape
    pixels = (values if planes == 1 else values.transpose(2, 0, 1)).astype("<u2").tobytes()
    strips = 1 if planes == 1 else channels
    entries = (
        (256, 3, [width]), (257, 3, [height]), (258, 3, [16] * channels), (259, 3, [1]), (262, 3, [2]),
        (273, 4, [512 + part * len(pixels) // strips for part in range(strips)]), (277, 3, [channels]),
        (278, 3, [height]), (279, 4, [len(pixels) // strips] * strips), (284, 3, [planes]),
    )  # fmt: skip
    table, longer, place = b"", b"", 8 + 2 + 12 * len(entries) + 4
    for tag, kind, numbers in entries:
        content = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(content) > 4:
            content, longer = struct.pack("<I", place + len(longer)), longer + content
        table += struct.pack("<HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    start = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4) + longer
    return start.ljust(512, b"\0") + pixels


# A microscope's 12 bits in 16.
GREY_12 = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8, 1)
COLOUR_12 = np.repeat(GREY_12, 3, axis=2)
DEEP = {
    "rgb.png": png(COLOUR_12, 2),
    "grey-alpha.png": png(np.concatenate([GREY_12, np.full_like(GREY_12, 65535)], axis=2), 4),
    "rgb-alpha.png": png(np.repeat(GREY_12, 4, axis=2), 6),
    "rgb.tif": tiff(COLOUR_12, 1),
    "planes.tif": tiff(COLOUR_12, 2),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_of_more_than_8_bits_are_refused_and_not_read_as_black(
    tmp_path: Path, name: str, channels: int
) -> None:
    save(tmp_path, "a/0.png", (0, 0, 0))
    path = tmp_path / "a" / name
    path.write_bytes(DEEP[name])
    with Image.open(path) as picture:
        picture.load()
        assert picture.mode in ("RGB", "RGBA"), "to pillow it looks like 8 bits"
    with pytest.raises(InputError, match="more than 8 bits") as caught:
        read_image_folder(tmp_path, 8, channels, NAMES)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-image", str(path))


def test_a_png_whose_depth_does_not_stand_where_it_belongs_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a/1.png", (0, 0, 0))
    path.write_bytes(png(COLOUR_12, 2, chunk(b"tEXt", b"Comment\0" + bytes(12))))
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 3, NAMES)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-image", str(path))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("1.png", "1"),
        ("1.png", "P"),
        ("1.png", "LA"),
        ("1.tif", "1"),
        ("1.tif", "RGB"),
        ("1.tif", "CMYK"),
        ("1.bmp", "RGB"),
        ("1.jpg", "CMYK"),
    ],
)
def test_pictures_of_up_to_8_bits_a_channel_are_read_in_every_mode(tmp_path: Path, name: str, mode: str) -> None:
    (tmp_path / "a").mkdir()
    Image.new(mode, (8, 8)).save(tmp_path / "a" / name)
    assert read_image_folder(tmp_path, 8, 1, NAMES).pixels.shape == (1, 1, 8, 8)


@pytest.mark.parametrize("name", ["1.tif", "1.png"])
def test_a_picture_of_several_pages_is_refused_and_not_read_as_its_first(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200, 100)]
    pages[0].save(folder / name, save_all=True, append_images=pages[1:])
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, ("a",))
    assert caught.value.reason == "unreadable-image"
    assert "3 pages" in caught.value.message


def test_a_picture_whose_second_page_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a" / "1.tif"
    path.parent.mkdir()
    page = Image.new("L", (8, 8))
    page.save(path, save_all=True, append_images=[page])
    data = path.read_bytes()
    # The second page has another tag where its width was: one LONG, as pillow writes it.
    before, width, after = data.rpartition(struct.pack("<HHI", 256, 4, 1))
    assert width
    path.write_bytes(before + struct.pack("<HHI", 255, 4, 1) + after)
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, ("a",))
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-image", str(path))


def test_a_cameras_picture_with_a_small_copy_inside_is_read_without_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    picture, copy = (Image.new("L", (side, side), value) for side, value in ((16, 10), (8, 200)))
    picture.save(tmp_path / "a" / "1.jpg", format="MPO", save_all=True, append_images=[copy])
    with Image.open(tmp_path / "a" / "1.jpg") as written:
        assert written.n_frames == 2
    assert read_image_folder(tmp_path, 8, 1, ("a",)).pixels.mean() == 10


@pytest.mark.parametrize("left_out", ["a/scan.dcm", "a/scan.webp", "a/2024", "a/scan", "loose.png"])
def test_what_would_be_left_out_is_refused_and_named(tmp_path: Path, left_out: str) -> None:
    save(tmp_path, "a/1.png", (0, 0, 0))
    path = tmp_path / left_out
    if left_out == "a/2024":
        save(path, "1.png", (0, 0, 0))
    else:
        path.write_bytes((tmp_path / "a" / "1.png").read_bytes())
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, NAMES)
    assert (caught.value.reason, caught.value.culprit) == ("unreadable-image", str(path))


def test_what_lies_about_beside_pictures_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, "a/1.PNG", (0, 0, 0))
    (tmp_path / ".cache").mkdir()
    for place in (tmp_path, tmp_path / "a"):
        for name in ("notes.txt", "labels.CSV", "info.json", "README.md", "Thumbs.db", "desktop.ini", ".DS_Store"):
            (place / name).write_text("no picture")
    assert read_image_folder(tmp_path, 8, 1, NAMES).labels.tolist() == [0]


@pytest.mark.parametrize("limit", [20, 40])
def test_a_picture_that_unpacks_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    save(tmp_path, "a/1.png", (0, 0, 0))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, NAMES)
    assert caught.value.reason == "image-too-large"


def test_a_folder_without_pictures_is_an_empty_site(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_image_folder(tmp_path, 8, 1, NAMES)
    assert caught.value.reason == "empty-site"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        read_image_folder(tmp_path / "absent", 8, 1, NAMES)
