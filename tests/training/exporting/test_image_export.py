"""An exported model of images gives the release's own numbers to whoever has the file and its card, and no more."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from PIL import Image

from secagg.charter.folder import read_verified
from tests.support.hospitals import choices_of, settings_for, training_of
from training.draft import task_of
from training.export_format import ExportFormat
from training.exporting import tensors, torchscript
from training.exporting.export_files import write_export
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.task import TaskSpec
from training.whole_model import whole_model

SIZE = 8
CLASSES = ("a", "b", "c")


def settings(classes: int) -> bytes:
    data = {"image_size": SIZE, "image_channels": 3, "classes": classes, "class_names": CLASSES[:classes]}
    return msgspec.json.encode({"data": data, "evaluation": {"test_fraction": 0}})


@pytest.fixture(scope="module", params=[2, 3], ids=["two classes", "three classes"])
def trained(request, tmp_path_factory):
    """A run at three sites with folders of colour pictures, not square, and how many classes it has."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    sites = [folder / f"h{number}" for number in range(3)]
    for site in sites:
        for label, name in enumerate(CLASSES[: request.param]):
            (site / name).mkdir(parents=True)
            for number in range(4):
                pixels = draw.integers(0, 256, (19, 13, 3)) // (1 + label)
                Image.fromarray(pixels.astype(np.uint8)).save(site / name / f"{number}.png")
    spec = TaskSpec.from_settings("image-classification", settings(request.param))
    prepare(folder / "run", settings_for(sites, choices_of(training_of(rounds=1)), spec))
    run(folder / "run", Observer())
    return folder / "run", sites[0], request.param


@pytest.fixture(scope="module")
def expected(trained):
    """What the release says of the pictures of one hospital."""
    run, site, _ = trained
    task = task_of(read_verified(run / "charter").charter)
    with torch.inference_mode():
        return task.scores(whole_model(run / "release")(torch.from_numpy(task.read(site).features))).numpy()


def as_the_card_says(site):
    """Red, green, blue; bilinear by Pillow; x / 127.5 - 1; n x 3 x 8 x 8."""
    pictures = [Image.open(file).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for file in sorted(site.glob("*/*"))]
    pixels = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])
    return (pixels.astype(np.float32) / np.float32(127.5)) - np.float32(1)


def exported(run, kind, folder):
    write_export(run / "release", kind, folder / "model", folder / "card.md")
    card = (folder / "card.md").read_text()
    assert "float32, n x 3 x 8 x 8" in card
    assert "resized to 8 x 8 pixels, bilinear as Pillow's `resize` does it" in card
    assert "in the order red, green, blue" in card
    assert "go in as x / 127.5 - 1, which is from -1 to 1. The file does neither." in card
    return (folder / "model").read_bytes(), card


def test_torchscript_says_of_every_picture_what_the_release_says(trained, expected, tmp_path):
    run, site, classes = trained
    data, card = exported(run, ExportFormat.TORCHSCRIPT, tmp_path)
    assert f"gives {classes} probabilities for each" in card
    found = torchscript.score(data, torch.from_numpy(as_the_card_says(site)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_onnx_says_of_every_picture_what_the_release_says(trained, expected, tmp_path):
    run, site, _ = trained
    data, _ = exported(run, ExportFormat.ONNX, tmp_path)
    session = ReferenceEvaluator(onnx.load_model_from_string(data))
    np.testing.assert_allclose(session.run(None, {"features": as_the_card_says(site)})[0], expected, atol=1e-6)


def test_safetensors_say_it_with_what_the_card_says_of_their_output(trained, expected, tmp_path):
    run, site, classes = trained
    data, card = exported(run, ExportFormat.SAFETENSORS, tmp_path)
    _, found = tensors.read(data, "model")
    numbers = torch.from_numpy(
        as_the_card_says(site).reshape(len(expected), -1) @ found["1.weight"].T + found["1.bias"]
    )
    if classes == 2:
        assert "gives one number for each, whose sigmoid is the probability of class 1" in card
        np.testing.assert_allclose(torch.sigmoid(numbers)[:, 0], expected[:, 1], atol=1e-6)
    else:
        assert "gives 3 numbers for each, whose softmax is the probabilities of the classes" in card
        np.testing.assert_allclose(torch.softmax(numbers, 1), expected, atol=1e-6)


def test_control_pixels_from_0_to_1_have_the_right_shape_and_give_other_numbers(trained, expected, tmp_path):
    run, site, _ = trained
    data, _ = exported(run, ExportFormat.TORCHSCRIPT, tmp_path)
    found = torchscript.score(data, torch.from_numpy((as_the_card_says(site) + 1) / 2))
    assert not np.allclose(found.numpy(), expected, atol=1e-3)
