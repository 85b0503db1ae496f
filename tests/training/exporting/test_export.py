"""An exported model gives the release's own numbers on real patients, and its check sees the smallest change."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from safetensors import safe_open
from safetensors.numpy import load, load_file

from secagg.charter.folder import read_verified
from secagg.errors import InputError, TamperingError
from tests.support.hospitals import BOUNDED, choices_of, settings_for, tabular_spec, training_of, write_tables
from tests.training.conftest import real_data
from training.draft import task_of
from training.export_format import ExportFormat
from training.exporting import export_release, tensors, torchscript, verify_export
from training.exporting.attachment import INTERFACE, MADE_BY, STATEMENT
from training.model_card import model_card
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.standardisation import Standardiser, bounds_scaler
from training.task import TaskSpec
from training.whole_model import whole_model

FORMATS = list(ExportFormat)


@pytest.fixture(scope="module")
def patients(heart_run):
    """Those of Cleveland, as the task reads them, and what the release says of each."""
    charter = read_verified(heart_run / "charter").charter
    task = task_of(charter)
    records = task.read(real_data("uci-heart") / "processed.cleveland.data")
    found = load((heart_run / "release/model.safetensors").read_bytes())
    scaled = Standardiser(found["standardisation.mean"], found["standardisation.std"]).apply(records)
    with torch.inference_mode():
        scores = task.scores(whole_model(heart_run / "release")(torch.from_numpy(scaled.features)))
    return records.features, scores.numpy()


# The same numbers


def test_torchscript_says_of_every_patient_what_the_release_says(exported, patients):
    features, scores = patients
    found = torchscript.score(exported[ExportFormat.TORCHSCRIPT], torch.from_numpy(features))
    assert len(scores) == 303
    np.testing.assert_allclose(found.numpy(), scores, atol=1e-6)


def test_onnx_says_of_every_patient_what_the_release_says(exported, patients):
    features, scores = patients
    session = ReferenceEvaluator(onnx.load_model_from_string(exported[ExportFormat.ONNX]))
    (found,) = session.run(None, {"features": features})
    np.testing.assert_allclose(found, scores, atol=1e-6)


def test_safetensors_says_it_by_what_is_in_the_file_alone(exported, patients, tmp_path):
    features, scores = patients
    (tmp_path / "m.safetensors").write_bytes(exported[ExportFormat.SAFETENSORS])
    with safe_open(tmp_path / "m.safetensors", "np") as file:
        interface = json.loads(file.metadata()[INTERFACE])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert interface["scaling"].startswith("(x - standardisation.mean) / standardisation.std")
    scaled = ((features.astype(np.float64) - found["standardisation.mean"]) / found["standardisation.std"]).astype("f")
    logits = scaled @ found["weight"].T + found["bias"]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0])), scores[:, 1], atol=1e-6)


def test_scaling_by_bounds_goes_along_and_clips_what_lies_outside(tmp_path):
    spec = tabular_spec(**BOUNDED)
    prepare(tmp_path / "run", settings_for(write_tables(tmp_path, 3), choices_of(training_of(rounds=1)), spec))
    run(tmp_path / "run", Observer())
    release = tmp_path / "run/release"
    features = np.array([[1.0, -2.0], [9.0, -9.0], [0.0, 4.0]], np.float32)
    scaler = bounds_scaler(spec.data)
    scaled = 2 * (np.clip(features, scaler.low, scaler.high) - scaler.low) / (scaler.high - scaler.low) - 1
    logits = whole_model(release)(torch.from_numpy(scaled.astype("f")))
    found = torchscript.score(export_release(release, ExportFormat.TORCHSCRIPT)[1], torch.from_numpy(features))
    torch.testing.assert_close(found[:, 1:], torch.sigmoid(logits), atol=1e-6, rtol=0)
    attached, _ = tensors.read(export_release(release, ExportFormat.SAFETENSORS)[1], "m")
    assert json.loads(attached[INTERFACE])["high"] == [4.0, 4.0]


# A task of somebody's own


def released_by(task, folder, sites) -> Path:
    """The release of a short run of a task in `tests.support.custom_tasks`."""
    spec = TaskSpec.from_settings(f"tests.support.custom_tasks:{task}", b'{"evaluation": {"test_fraction": 0}}')
    prepare(folder / "run", settings_for(sites, choices_of(training_of(rounds=1)), spec))
    run(folder / "run", Observer())
    return folder / "run/release"


def files_of_series(folder):
    sites = [folder / f"h{number}.npy" for number in range(3)]
    for number, site in enumerate(sites):
        np.save(site, np.random.default_rng(number).normal(size=(20, 2, 12)).astype(np.float32))
    return sites


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """The release of a task whose records are series."""
    folder = tmp_path_factory.mktemp("series")
    return released_by("series", folder, files_of_series(folder))


def test_a_layer_that_is_called_as_scaling_is_comes_out_of_the_release_as_it_was_trained(tmp_path):
    release = released_by("named_layer", tmp_path, files_of_series(tmp_path))
    trained, whole = load_file(release / "model.safetensors"), whole_model(release)
    assert torch.equal(whole.standardisation.weight, torch.from_numpy(trained["standardisation.weight"]))
    _, found = tensors.read(export_release(release, ExportFormat.SAFETENSORS)[1], "m")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in trained.items()
    }


def test_the_records_of_a_custom_task_have_the_shape_that_its_code_says_and_no_other_is_stated(series):
    release, exported = export_release(series, ExportFormat.SAFETENSORS)
    attached, _ = tensors.read(exported, "m")
    assert json.loads(attached[INTERFACE])["shape"] is None
    card = model_card(release, ExportFormat.SAFETENSORS, "m.safetensors", "00")
    assert (
        "Takes float32 as the task's own code reads records; gives outputs of which the task's own code makes" in card
    )
    assert "pipeline_tag" not in card
    assert "28" not in card.split("## Training")[0]


@pytest.mark.parametrize("kind", [ExportFormat.TORCHSCRIPT, ExportFormat.ONNX])
def test_no_program_is_written_of_a_custom_task_with_records_of_another_shape(series, kind):
    with pytest.raises(InputError) as caught:
        export_release(series, kind)
    assert (caught.value.reason, caught.value.culprit) == ("not-exported", "tests.support.custom_tasks:series")


def test_a_program_is_written_of_a_custom_task_for_images(tmp_path):
    generator = np.random.default_rng(1)
    sites = [tmp_path / f"h{number}.npz" for number in range(3)]
    for site in sites:
        pixels = generator.integers(0, 256, (20, 28, 28), dtype=np.uint8)
        np.savez(site, images=pixels, labels=np.arange(20) % 2)
    release = released_by("images", tmp_path, sites)
    found = torchscript.score(export_release(release, ExportFormat.TORCHSCRIPT)[1], torch.zeros(3, 1, 28, 28))
    assert found.shape == (3, 2)


# Verifying


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_is_verified_with_the_charter_alone(exported, heart_run, tmp_path, kind):
    (tmp_path / "model").write_bytes(exported[kind])
    found = verify_export(tmp_path / "model", read_verified(heart_run / "charter"))
    assert found.kind is kind
    assert len(found.release.statement.predicate.contributors) == 3


def reason(path, charter) -> str:
    with pytest.raises(TamperingError) as caught:
        verify_export(path, charter)
    assert caught.value.exit_code == 4
    return caught.value.reason


@pytest.mark.parametrize("kind", [ExportFormat.SAFETENSORS, ExportFormat.TORCHSCRIPT])
def test_one_altered_byte_anywhere_is_found_out(exported, heart_run, tmp_path, kind):
    charter, data, path = read_verified(heart_run / "charter"), exported[kind], tmp_path / "model"
    # From the first byte after those that say which format it is.
    for position in [9, *range(60, len(data), len(data) // 12), len(data) - 1]:
        altered = bytearray(data)
        altered[position] ^= 1
        path.write_bytes(altered)
        with pytest.raises((TamperingError, InputError)) as caught:
            verify_export(path, charter)
        # Only a changed note of who made it can make a file one that cannot be checked here.
        assert caught.value.exit_code == 4 or caught.value.reason == "made-elsewhere", position


def test_another_program_around_the_true_release_is_found_out(exported, heart_run, tmp_path):
    """Statement and release are genuine; the code gives everybody the probability one half."""
    path = tmp_path / "model.pt"
    source = zipfile.ZipFile(io.BytesIO(exported[ExportFormat.TORCHSCRIPT]))
    with zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(
                name, content.replace(b"torch.sigmoid", b"torch.zeros_like") if name.endswith(".py") else content
            )
    assert reason(path, read_verified(heart_run / "charter")) == "export-altered"


def test_control_whoever_looks_at_the_statement_only_takes_it_for_genuine(exported, tmp_path, heart_run):
    attached = torchscript.read(exported[ExportFormat.TORCHSCRIPT], "model")
    assert attached[STATEMENT].encode() == (heart_run / "release/statement.dsse.json").read_bytes()


def test_another_onnx_graph_around_the_true_release_is_found_out(exported, heart_run, tmp_path):
    proto = onnx.load_model_from_string(exported[ExportFormat.ONNX])
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString(deterministic=True))
    assert reason(tmp_path / "m.onnx", read_verified(heart_run / "charter")) == "export-altered"


def test_a_file_made_by_other_versions_is_not_called_altered_nor_verified(exported, heart_run, tmp_path):
    attached, whole = tensors.read(exported[ExportFormat.SAFETENSORS], "m")
    (tmp_path / "m").write_bytes(tensors.write(whole, dict(attached) | {MADE_BY: '{"safetensors":"0.0.1"}'}))
    with pytest.raises(InputError) as caught:
        verify_export(tmp_path / "m", read_verified(heart_run / "charter"))
    assert caught.value.reason == "made-elsewhere"


def test_tensors_of_another_model_under_the_statement_are_found_out(exported, heart_run, tmp_path):
    attached, whole = tensors.read(exported[ExportFormat.SAFETENSORS], "m")
    (tmp_path / "m").write_bytes(tensors.write(dict(whole) | {"bias": whole["bias"] + 1}, attached))
    assert reason(tmp_path / "m", read_verified(heart_run / "charter")) == "model-altered"


_NESTED = b'{"__metadata__":' + 200_000 * b"["
LISTS_IN_LISTS = len(_NESTED).to_bytes(8, "little") + _NESTED


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "unknown-format"),
        (b"PK\x03\x04", "malformed-export"),
        (b"\x02" + bytes(7) + b"{}", "no-statement"),
        (LISTS_IN_LISTS, "malformed-export"),
    ],
    ids=["nothing", "a cut archive", "tensors alone", "lists in lists"],
)
def test_what_is_no_export_is_an_error_with_a_reason(heart_run, tmp_path, content, expected):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises((InputError, TamperingError)) as caught:
        verify_export(tmp_path / "m", read_verified(heart_run / "charter"))
    assert caught.value.reason == expected


def test_no_file_names_a_path_of_the_machine_that_wrote_it(exported):
    for data in exported.values():
        assert b"/training/" not in data
        assert b'.py"' not in data


def test_without_the_extra_onnx_says_what_to_install(heart_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError) as caught:
        export_release(heart_run / "release", ExportFormat.ONNX)
    assert caught.value.reason == "extra-missing"
    assert "in the checkout, `pip install '.[onnx]'`" in caught.value.remedy
