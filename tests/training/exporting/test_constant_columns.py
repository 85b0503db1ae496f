"""A column that was the same for all patients of the training moves no score of the released model, in any format."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

import training.scaling
from secagg.charter.folder import read_verified
from tests.support.hospitals import FEATURES, choices_of, settings_for, tabular_spec, training_of
from training.export_format import ExportFormat
from training.exporting import export_release, tensors, torchscript, verify_export
from training.exporting.attachment import INTERFACE
from training.exporting.export_files import write_export
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.standardisation import Moments, Standardiser, standardiser_of
from training.whole_model import whole_model

COLUMNS = (*FEATURES, "tube|voltage")
TRAINED_AT = 120.0
OTHERS = (TRAINED_AT, 140.0, 0.0, -1e30)


@pytest.fixture(scope="module")
def prepare_run(tmp_path_factory):
    """Makes the folder of a run at three sites, all of whose patients had 120 kV."""

    def prepare_run():
        folder = tmp_path_factory.mktemp("constant")
        generator = np.random.default_rng(2)
        sites = [folder / f"h{number}.csv" for number in range(3)]
        for site in sites:
            table = generator.normal(size=(20, len(FEATURES)))
            rows = [",".join(map(str, (*row, TRAINED_AT, int(sum(row) > 0)))) for row in table.tolist()]
            site.write_text("\n".join([",".join((*COLUMNS, "ill")), *rows]))
        spec = tabular_spec(features=COLUMNS, standardise="secure-sum")
        prepare(folder / "run", settings_for(sites, choices_of(training_of(rounds=2)), spec))
        return folder / "run"

    return prepare_run


@pytest.fixture(scope="module")
def finished(prepare_run):
    """A run, and what its observer was told of its statistics."""
    folder, told = prepare_run(), []
    result = run(folder, Observer(on_statistics=told.extend))
    return folder, told, result


def patients(voltage: float) -> np.ndarray:
    """Some who differ in the other columns, all examined at this voltage."""
    others = np.random.default_rng(3).normal(size=(4, len(FEATURES)))
    return np.column_stack([others, np.full(4, voltage)]).astype(np.float32)


def by_tensors(release, features):
    attached, found = tensors.read(export_release(release, ExportFormat.SAFETENSORS)[1], "m")
    assert json.loads(attached[INTERFACE])["scaling"].startswith("(x - standardisation.mean) / standardisation.std")
    scaled = ((features.astype(np.float64) - found["standardisation.mean"]) / found["standardisation.std"]).astype("f")
    return scaled @ found["weight"].T + found["bias"]


def by_torchscript(release, features):
    return torchscript.score(export_release(release, ExportFormat.TORCHSCRIPT)[1], torch.from_numpy(features)).numpy()


def by_onnx(release, features):
    session = ReferenceEvaluator(onnx.load_model_from_string(export_release(release, ExportFormat.ONNX)[1]))
    return session.run(None, {"features": features})[0]


@pytest.mark.parametrize("score", [by_tensors, by_torchscript, by_onnx])
def test_a_column_that_did_not_vary_in_training_moves_no_score_whatever_stands_in_it_later(finished, score):
    release = finished[0] / "release"
    assert abs(whole_model(release).weight[0, -1].item()) > 0.01, "its weight is the one that was drawn at the start"
    scores = [score(release, patients(voltage)) for voltage in OTHERS]
    assert np.isfinite(scores).all()
    assert all(np.array_equal(scores[0], other) for other in scores[1:])
    assert not np.array_equal(scores[0][0], scores[0][1])


def test_whoever_runs_a_simulation_is_told_which_column_it_is(finished):
    _, told, result = finished
    assert [caution.code for caution in told] == ["constant-columns"]
    assert "tube|voltage" in told[0].message
    assert told[0] in result.warnings


def test_so_is_whoever_reads_the_card(finished, tmp_path):
    write_export(finished[0] / "release", ExportFormat.ONNX, tmp_path / "m.onnx", tmp_path / "m.md")
    assert "had the same value there: `tube|voltage`. A patient with another number" in (tmp_path / "m.md").read_text()


def test_a_release_whose_constant_column_was_left_unscaled_is_exported_and_verified_as_it_is(
    prepare_run, tmp_path, monkeypatch
):
    """Those of earlier versions are."""

    def as_before(moments: Moments) -> Standardiser:
        found = standardiser_of(moments)
        return Standardiser(found.mean, np.where(found.constant, 1.0, found.std))

    folder = prepare_run()
    with monkeypatch.context() as earlier:
        earlier.setattr(training.scaling, "standardiser_of", as_before)
        run(folder, Observer())
    assert load_file(folder / "release/model.safetensors")["standardisation.std"][-1] == 1.0
    for kind in ExportFormat:
        (tmp_path / kind).write_bytes(export_release(folder / "release", kind)[1])
        assert verify_export(tmp_path / kind, read_verified(folder / "charter")).kind is kind
    first, second = (by_torchscript(folder / "release", patients(voltage)) for voltage in (120.0, 140.0))
    assert not np.allclose(first, second), "its weight was never trained, and counts"
