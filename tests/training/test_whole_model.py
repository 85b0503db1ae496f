"""A release of a part of a model can be used: the rest is built as it was for training, or it is refused."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save
from torch import nn

from secagg.errors import InputError, TamperingError
from tests.support.hospitals import BOUNDED, choices_of, settings_for, tabular_spec, training_of, write_tables
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.task import TaskSpec, build_task
from training.tasks import low_rank
from training.tasks.backbone import FOLDER
from training.whole_model import whole_model


def spec_of(**model) -> TaskSpec:
    spec = tabular_spec(**BOUNDED)
    chosen = msgspec.convert({"name": "mlp", "hidden": [8, 8]} | model, type(spec.model))
    return msgspec.structs.replace(spec, model=chosen)


@pytest.fixture
def released(tmp_path):
    """Trains a task for two short rounds; gives the folder of the release, and the metrics on the test records."""

    def train(spec, privacy="none"):
        choices = choices_of(training_of(rounds=2, local_steps=1), privacy=privacy, sampling_rate=1.0)
        prepare(tmp_path / "run", settings_for(write_tables(tmp_path, 3), choices, spec))
        result = run(tmp_path / "run", Observer())
        return tmp_path / "run" / "release", result

    return train


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """Settings that name a backbone, and the file."""
    data = save(build_task(spec_of(seed=8)).build_model().state_dict())
    (tmp_path / "net.safetensors").write_bytes(data)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return {"backbone": "net.safetensors", "backbone_sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("privacy", ["none", "local", "distributed"])
def test_pairs_that_hospitals_trained_are_added_to_the_layers_they_stood_beside(released, backbone, privacy):
    folder, _ = released(spec_of(train="lora", lora_rank=2, **backbone), privacy)
    trained = load_file(folder / "model.safetensors")
    # Pairs of rank 2 and the last layer; nothing of the backbone.
    assert {name: tensor.shape for name, tensor in trained.items()} == {
        "0.down.weight": (2, 2),
        "0.up.weight": (8, 2),
        "2.down.weight": (2, 8),
        "2.up.weight": (8, 2),
        "4.weight": (1, 8),
        "4.bias": (1,),
    }
    start, whole = build_task(spec_of(seed=8)).build_model(), whole_model(folder)
    assert not whole.training
    assert [type(layer) for layer in whole] == [type(layer) for layer in start]
    # B left zero, so that its layer moved; what has no pair is the backbone's still.
    assert trained["0.up.weight"].any()
    expected = start[0].weight + torch.from_numpy(trained["0.up.weight"] @ trained["0.down.weight"])
    torch.testing.assert_close(whole[0].weight, expected)
    assert torch.equal(whole[0].bias, start[0].bias)
    assert torch.equal(whole[4].weight, torch.from_numpy(trained["4.weight"]))


def test_a_model_whose_last_layer_was_trained_is_whole_again(released):
    spec = spec_of(train="last-layer", seed=3)
    folder, _ = released(spec)
    start, whole = build_task(spec).build_model(), whole_model(folder)
    assert torch.equal(whole[2].weight, start[2].weight)
    assert not torch.equal(whole[4].weight, start[4].weight)


def test_a_model_that_was_trained_as_a_whole_is_the_released_one(released):
    folder, _ = released(spec_of())
    trained = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, torch.from_numpy(trained[name])) for name, value in state_of(folder).items())


def test_what_was_merged_is_a_backbone_of_the_next_run(released, tmp_path):
    folder, _ = released(spec_of(train="lora"))
    assert state_of(folder).keys() == build_task(spec_of()).build_model().state_dict().keys()


def state_of(folder):
    return whole_model(folder).state_dict()


def test_without_the_backbone_there_is_no_model(released, backbone, tmp_path):
    folder, _ = released(spec_of(train="lora", **backbone))
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(InputError) as caught:
        whole_model(folder)
    assert caught.value.reason == "backbone-missing"


def test_frozen_parameters_other_than_those_trained_on_are_refused(released, monkeypatch):
    folder, _ = released(spec_of(train="lora"))
    drawn = nn.Linear.reset_parameters

    def otherwise(layer):
        drawn(layer)
        layer.weight.data *= 1.01

    monkeypatch.setattr(nn.Linear, "reset_parameters", otherwise)
    with pytest.raises(InputError) as caught:
        whole_model(folder)
    assert caught.value.reason == "other-model"


def test_a_release_that_was_altered_is_no_model(released):
    folder, _ = released(spec_of(train="last-layer"))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(TamperingError):
        whole_model(folder)


def test_hospitals_with_another_backbone_do_not_start(tmp_path, backbone):
    choices = choices_of(training_of(rounds=1))
    prepare(tmp_path / "run", settings_for(write_tables(tmp_path, 3), choices, spec_of(train="lora", **backbone)))
    (tmp_path / "net.safetensors").write_bytes(b"another")
    with pytest.raises(InputError) as caught:
        run(tmp_path / "run", Observer())
    assert caught.value.reason == "backbone-altered"


def test_hospitals_that_draw_other_pairs_do_not_start(tmp_path, monkeypatch):
    prepare(tmp_path / "run", settings_for(write_tables(tmp_path, 3), choices_of(), spec_of(train="lora")))
    monkeypatch.setattr(low_rank, "digest", lambda *_: bytes(32))
    with pytest.raises(InputError) as caught:
        run(tmp_path / "run", Observer())
    assert caught.value.reason == "other-model"
