"""Whoever builds a task's model builds the one that is trained, and is told how it was changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from PIL import UnidentifiedImageError
from safetensors.torch import save
from torch import nn

from secagg.errors import InputError
from training.draft import make_task
from training.model_state import ModelLayout, flatten, load, model_digest
from training.prepared_task import PreparedTask
from training.task import Task, TaskSpec
from training.tasks.backbone import FOLDER
from training.tasks.images import ImageTask
from training.tasks.norms import FixedNorm


def spec_of(kind="image-classification", **model) -> TaskSpec:
    data = {"image_size": 8} if kind == "image-classification" else {"label": "ill", "features": ["age", "dose"]}
    return TaskSpec.from_settings(kind, msgspec.json.encode({"model": model, "data": data}))


@dataclass(frozen=True)
class Normed(ImageTask):
    """A task of somebody's own, with BatchNorm."""

    def build_model(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(7)
            blocks = [
                layer
                for width, inputs in ((8, 1), (16, 8), (16, 16))
                for layer in (nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
            ]
            return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(1024, 1))


def normed(**model) -> PreparedTask:
    return PreparedTask(Normed(spec_of(**model)))


def digest_of(task: Task) -> bytes:
    module = task.build_model()
    return model_digest(ModelLayout.of(module), flatten(module))


def trainable(module: nn.Module) -> list[str]:
    return [name for name, tensor in module.named_parameters() if tensor.requires_grad]


@pytest.fixture
def with_backbone(tmp_path, monkeypatch):
    """Writes a state_dict as the backbone of a task; gives the settings that name it."""

    def write(tensors):
        data = save(tensors)
        (tmp_path / "net.safetensors").write_bytes(data)
        monkeypatch.setenv(FOLDER, str(tmp_path))
        return {"backbone": "net.safetensors", "backbone_sha256": hashlib.sha256(data).hexdigest()}

    return write


def test_a_prepared_task_is_a_task():
    assert isinstance(normed(), Task)
    assert make_task(spec_of(name="cnn")).spec == spec_of(name="cnn")


def test_batch_norm_is_replaced_the_same_way_every_time_and_told():
    task = normed()
    assert digest_of(task) == digest_of(normed())
    assert sum(isinstance(layer, nn.GroupNorm) for layer in task.build_model().modules()) == 3
    (told,) = task.cautions()
    assert told.code == "batch-norm-replaced"
    assert told.message.startswith("3 BatchNorm layers are replaced by GroupNorm: BatchNorm mixes patients")


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn"])
def test_a_model_without_batch_norm_that_is_trained_as_a_whole_is_left_as_it_was_built(name):
    task = make_task(spec_of(name=name))
    assert digest_of(task) == digest_of(task.inner)
    assert task.cautions() == ()


@pytest.mark.parametrize(
    ("name", "last_layer", "lora"),
    # mlp: pairs of 4 * (64 + 32); cnn: of 4 * (9 + 16), 4 * (144 + 32) and 4 * (288 + 32); the last layer beside them.
    [("logistic", 65, 65), ("mlp", 33, 384 + 33), ("cnn", 33, 100 + 704 + 1280 + 33)],
)
def test_the_built_in_models_train_their_last_layer_or_pairs_beside_the_others(name, last_layer, lora):
    sizes = [ModelLayout.of(make_task(spec_of(name=name, train=train)).build_model()).size for train in MODES[1:]]
    assert sizes == [last_layer, lora]


MODES = ("all", "last-layer", "lora")


def test_the_parts_of_a_table_s_model_can_be_trained_too():
    task = make_task(spec_of("tabular-classification", name="mlp", train="last-layer"))
    assert trainable(task.build_model()) == ["2.weight", "2.bias"]


def test_all_ways_to_train_start_from_a_model_that_computes_the_same():
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    whole, head, pairs = (make_task(spec_of(name="cnn", train=train)).build_model()(images) for train in MODES)
    torch.testing.assert_close(whole, head)
    torch.testing.assert_close(whole, pairs)


def test_the_digest_is_also_that_of_what_is_frozen():
    one, other = (make_task(spec_of(name="mlp", train="last-layer")).build_model() for _ in range(2))
    with torch.no_grad():
        other[1][0].weight[0, 0] += 1.0
    assert (flatten(one) == flatten(other)).all()
    assert model_digest(ModelLayout.of(one), flatten(one)) != model_digest(ModelLayout.of(other), flatten(other))


def test_frozen_parameters_stay_when_a_vector_is_loaded():
    module = make_task(spec_of(name="mlp", train="last-layer")).build_model()
    frozen = module[1][0].weight.clone()
    load(module, flatten(module) + 1.0)
    assert torch.equal(module[1][0].weight, frozen)


def test_a_backbone_is_under_all_that_is_trained(with_backbone):
    pretrained = make_task(spec_of(name="mlp", seed=9)).build_model()
    named = with_backbone(pretrained.state_dict())
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for train in MODES:
        module = make_task(spec_of(name="mlp", train=train, **named)).build_model()
        torch.testing.assert_close(module(images), pretrained(images))


def test_another_backbone_is_another_model_though_what_is_trained_is_the_same(with_backbone):
    start = make_task(spec_of(name="mlp")).build_model().state_dict()
    digests = []
    for change in (0.0, 1.0):
        named = with_backbone(start | {"1.0.weight": start["1.0.weight"] + change})
        digests.append(digest_of(make_task(spec_of(name="mlp", train="last-layer", **named))))
    assert digests[0] != digests[1]


def test_a_frozen_backbone_keeps_the_statistics_of_its_batch_norms(with_backbone):
    pretrained = Normed(spec_of()).build_model()
    images = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 3
    pretrained(images)
    named = with_backbone(pretrained.state_dict())
    expected = pretrained.eval()(images)
    for train in ("last-layer", "lora"):
        task = normed(train=train, **named)
        module = task.build_model()
        assert sum(isinstance(layer, FixedNorm) for layer in module.modules()) == 3
        torch.testing.assert_close(module(images), expected)
        assert [told.code for told in task.cautions()] == ["batch-norm-fixed"]
    # Trained as a whole, the layers' own statistics would change with the patients.
    assert [told.code for told in normed(**named).cautions()] == ["batch-norm-replaced"]


def test_a_backbone_is_read_once_for_all_the_models_of_a_task(with_backbone, tmp_path):
    named = with_backbone(make_task(spec_of(name="mlp")).build_model().state_dict())
    task = make_task(spec_of(name="mlp", train="lora", **named))
    first = digest_of(task)
    (tmp_path / "net.safetensors").unlink()
    assert digest_of(task) == first


@dataclass(frozen=True)
class GivesNothing(ImageTask):
    """Of somebody who forgot what its members give."""

    def read(self, _path: Path) -> Any:
        return [], [], []

    def build_model(self) -> Any:
        return nn.Linear


@pytest.mark.parametrize(
    ("call", "reason", "given"),
    [(lambda task: task.read(Path("a")), "no-records", "tuple"), (lambda task: task.build_model(), "no-model", "type")],
)
def test_what_is_not_records_or_not_a_model_is_told_as_what_it_is(call, reason, given):
    with pytest.raises(InputError, match=f"gave {given} instead of") as caught:
        call(PreparedTask(GivesNothing(spec_of())))
    assert caught.value.reason == reason


@dataclass(frozen=True)
class Failing(ImageTask):
    """Reading and building raise what it was given."""

    fault: Exception

    def read(self, _path: Path) -> Any:
        raise self.fault

    def build_model(self) -> Any:
        raise self.fault


def test_of_what_somebodys_own_reading_raises_a_hospital_is_told_the_file_and_the_type_alone():
    with pytest.raises(InputError, match=r"failed on a\.npz \(KeyError\)\.") as caught:
        PreparedTask(Failing(spec_of("own:task"), KeyError("P-17"))).read(Path("a.npz"))
    assert (caught.value.reason, caught.value.culprit) == ("reading-fails", "a.npz")
    assert "P-17" not in caught.value.diagnostics()


CALLS = [lambda task: task.read(Path("a.npz")), lambda task: task.build_model()]


@pytest.mark.parametrize("call", CALLS, ids=["read", "build_model"])
@pytest.mark.parametrize(
    "fault", [InputError("no-label", "There is none."), FileNotFoundError(2, "No such file or directory", "a.npz")]
)
def test_what_tells_enough_by_itself_is_passed_on(fault, call):
    with pytest.raises(type(fault)) as caught:
        call(PreparedTask(Failing(spec_of("own:task"), fault)))
    assert caught.value is fault


@pytest.mark.parametrize(
    ("call", "reason"),
    list(zip(CALLS, ["reading-fails", "building-fails"], strict=True)),
    ids=["read", "build_model"],
)
def test_what_a_library_raises_as_one_of_the_system_without_a_files_name_is_the_codes_own_fault(call, reason):
    with pytest.raises(InputError, match=r"\(UnidentifiedImageError\)\.") as caught:
        call(PreparedTask(Failing(spec_of("own:task"), UnidentifiedImageError("P-17 is no image"))))
    assert caught.value.reason == reason
    assert "P-17" not in caught.value.diagnostics()


def test_of_what_somebodys_own_model_raises_a_hospital_is_told_the_type_alone():
    with pytest.raises(InputError, match=r"build_model of own:task failed \(KeyError\)\.") as caught:
        PreparedTask(Failing(spec_of("own:task"), KeyError("P-17"))).build_model()
    assert (caught.value.reason, caught.value.culprit) == ("building-fails", "own:task")
    assert "P-17" not in caught.value.diagnostics()


@pytest.mark.parametrize("call", CALLS, ids=["read", "build_model"])
def test_a_fault_of_the_toolkits_own_task_is_not_told_as_somebodys(call):
    with pytest.raises(KeyError):
        call(PreparedTask(Failing(spec_of(), KeyError("P-17"))))
