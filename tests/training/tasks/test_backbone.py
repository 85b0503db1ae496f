"""Pre-trained parameters come from the one file that the task names, or training does not begin."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from secagg.errors import InputError
from training.tasks.backbone import FOLDER, load_backbone, read_backbone
from training.tasks.spec import ModelSpec


def model(classes=2):
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, classes))


def pretrained(classes=2):
    return {name: tensor + 1.0 for name, tensor in model(classes).state_dict().items()}


def spec_of(data: bytes) -> ModelSpec:
    return ModelSpec(backbone="net.safetensors", backbone_sha256=hashlib.sha256(data).hexdigest())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def refused(spec: ModelSpec) -> InputError:
    with pytest.raises(InputError) as caught:
        read_backbone(spec)
    return caught.value


def test_a_task_without_a_backbone_reads_nothing():
    assert read_backbone(ModelSpec()) == {}


def test_the_file_is_read_where_the_hospital_says_that_it_lies(folder):
    data = save(pretrained())
    (folder / "net.safetensors").write_bytes(data)
    assert set(read_backbone(spec_of(data))) == set(model().state_dict())


def test_without_a_place_it_is_read_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    data = save(pretrained())
    Path("net.safetensors").write_bytes(data)
    assert read_backbone(spec_of(data))


def test_a_missing_file_is_refused_and_the_place_named(folder):
    error = refused(spec_of(b""))
    assert error.reason == "backbone-missing"
    assert error.culprit == str(folder / "net.safetensors")
    assert FOLDER in str(error.remedy)


def test_a_file_of_which_one_bit_differs_is_refused(folder):
    data = save(pretrained())
    (folder / "net.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert refused(spec_of(data)).reason == "backbone-altered"


@pytest.mark.parametrize("data", [b"", b"\x80\x04N.", b"\xff" * 64, save(pretrained())[:-4]])
def test_what_is_no_safetensors_file_is_refused_also_where_its_digest_is_right(folder, data):
    (folder / "net.safetensors").write_bytes(data)
    assert refused(spec_of(data)).reason == "backbone-unusable"


def test_all_parameters_are_set():
    found, tensors = model(), pretrained()
    load_backbone(found, tensors | {"running_mean": torch.zeros(3)}, "net")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("tensors", [pretrained(5), {k: v for k, v in pretrained().items() if k[0] == "0"}])
def test_a_last_layer_of_other_classes_starts_anew_as_a_whole(tensors):
    found = model()
    before = [tensor.clone() for tensor in found[2].parameters()]
    load_backbone(found, tensors, "net")
    assert torch.equal(found[0].weight, tensors["0.weight"])
    assert all(torch.equal(old, new) for old, new in zip(before, found[2].parameters(), strict=True))


@pytest.mark.parametrize(
    "changed", [{"0.bias": torch.zeros(5)}, {"0.bias": torch.zeros(4, dtype=torch.int64)}, {"0.bias": None}]
)
def test_a_file_of_another_model_is_refused_and_the_parameter_named(changed):
    tensors = {name: tensor for name, tensor in (pretrained() | changed).items() if tensor is not None}
    with pytest.raises(InputError, match=r"net does not fit the model: 0\.bias is of shape \(4,\)") as caught:
        load_backbone(model(), tensors, "net")
    assert caught.value.reason == "backbone-unusable"


@pytest.mark.parametrize("number", [torch.nan, torch.inf, 1e39])
def test_a_file_with_numbers_that_no_model_can_use_is_refused_and_the_parameter_named(number):
    tensors = pretrained()
    tensors["0.weight"] = tensors["0.weight"].double()
    tensors["0.weight"][1, 2] = number
    with pytest.raises(InputError, match=r"holds NaN or infinity in 0\.weight") as caught:
        load_backbone(model(), tensors, "net")
    assert caught.value.reason == "backbone-unusable"


def test_control_a_mask_that_is_infinite_from_the_start_may_be_so_in_the_file():
    masked = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    masked.register_parameter("mask", nn.Parameter(torch.tensor([0.0, -torch.inf]), requires_grad=False))
    load_backbone(masked, {name: tensor.clone() for name, tensor in masked.state_dict().items()}, "net")
    assert masked.mask.tolist() == [0.0, -torch.inf]
