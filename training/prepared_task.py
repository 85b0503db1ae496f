"""A task whose model is made ready to be trained by many: the one place where models are changed before training.

Knows the order of the changes: BatchNorm is replaced, pre-trained parameters are loaded, what is not to be trained is
frozen. Whoever drafts a charter and every hospital build their models here, so that the charter's digest is that of the
model which is trained, whether the task is the toolkit's or somebody's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from secagg.charter.cautions import Caution
from secagg.errors import InputError, SecaggError
from training.own_code_faults import BUILDING_FAILS, READING_FAILS, by_its_type
from training.records import Records
from training.tasks.backbone import Tensors, load_backbone, read_backbone
from training.tasks.layers import last_layer
from training.tasks.low_rank import add_low_rank
from training.tasks.norms import fix_norms, group_norms
from training.tasks.spec import ModelSpec, TaskSpec

if TYPE_CHECKING:
    from training.task import Task


@dataclass(frozen=True)
class Replaced:
    """How many BatchNorm layers a model had: replaced by GroupNorm, and fixed at a backbone's statistics."""

    grouped: int
    fixed: int

    def cautions(self) -> tuple[Caution, ...]:
        """What is told of it."""
        found = []
        if self.grouped:
            found.append(
                Caution(
                    "batch-norm-replaced",
                    f"{_layers(self.grouped)} replaced by GroupNorm: BatchNorm mixes patients, and its running "
                    "statistics cannot be summed.",
                    "Build the model with GroupNorm to choose its groups yourself.",
                )
            )
        if self.fixed:
            found.append(
                Caution(
                    "batch-norm-fixed",
                    f"{_layers(self.fixed)} fixed at the backbone's statistics, which training does not change.",
                    "Set model.train = 'all' to have GroupNorm instead.",
                )
            )
        return tuple(found)


@dataclass(frozen=True)
class PreparedTask:
    """A `training.task.Task` that is another one but for its model."""

    inner: Task

    @property
    def spec(self) -> TaskSpec:
        """The settings that the task was made from."""
        return self.inner.spec

    def read(self, path: Path) -> Records:
        """A hospital's records.

        Raises:
            InputError: as the task's own; ``reading-fails``, for what else somebody's own code raises; ``no-records``.
        """
        try:
            records = self.inner.read(path)
        except Exception as fault:
            if not self.spec.is_custom or _tells_enough(fault):
                raise
            what = f"read of {self.spec.kind} failed on {path}"
            remedy = "Correct the task's code, or what it reads."
            raise by_its_type(READING_FAILS, what, fault, str(path), remedy) from fault
        # A task's own code may give anything.
        if not isinstance(records, Records):
            raise self._other_than("read", records, "no-records", "training.records.Records")
        return _in_order(records)

    def build_model(self) -> nn.Module:
        """The starting model, with `model.train` of the task's settings trainable and the rest frozen.

        Raises:
            InputError: as the task's own; ``building-fails``, for what else somebody's own code raises; ``no-model``;
                of `read_backbone` and `load_backbone`; ``no-last-layer``; of `add_low_rank`.
        """
        model, _ = self._without_batch_norm()
        spec = self.spec.model
        if spec.backbone is not None:
            load_backbone(model, self._backbone, spec.backbone)
        return _partly_frozen(model, spec)

    def cautions(self) -> tuple[Caution, ...]:
        """What everybody must be told of how the model was changed. Raises what `build_model` raises."""
        return self._without_batch_norm()[1].cautions()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The task's own."""
        return self.inner.loss(outputs, labels)

    def scores(self, outputs: Tensor) -> Tensor:
        """The task's own."""
        return self.inner.scores(outputs)

    @cached_property
    def _backbone(self) -> Tensors:
        return read_backbone(self.spec.model)

    def _without_batch_norm(self) -> tuple[nn.Module, Replaced]:
        model, fixed = self._as_built(), 0
        if not isinstance(model, nn.Module):
            raise self._other_than("build_model", model, "no-model", "torch.nn.Module")
        if self.spec.model.train != "all":
            model, fixed = fix_norms(model, self._backbone.keys())
        model, grouped = group_norms(model)
        return model, Replaced(grouped, fixed)

    def _as_built(self) -> nn.Module:
        try:
            return self.inner.build_model()
        except Exception as fault:
            if not self.spec.is_custom or _tells_enough(fault):
                raise
            kind, remedy = self.spec.kind, "Correct the task's code: `secagg --verbose …` shows where."
            raise by_its_type(BUILDING_FAILS, f"build_model of {kind} failed", fault, kind, remedy) from fault

    def _other_than(self, member: str, given: object, reason: str, wanted: str) -> InputError:
        return InputError(
            reason,
            f"{member} of {self.spec.kind} gave {type(given).__name__} instead of {wanted}.",
            culprit=self.spec.kind,
            remedy="docs/tasks.md says what each member of a task gives.",
        )


def _tells_enough(fault: Exception) -> bool:
    """Whether it is one of ours, or of the system: libraries raise others of that type, which have no number."""
    return isinstance(fault, SecaggError) or (isinstance(fault, OSError) and fault.errno is not None)


def _in_order(records: Records) -> Records:
    """The records, in arrays that torch takes: it takes none that run backwards, as images that were flipped do."""
    features, labels = records.features, records.labels
    if min((*features.strides, *labels.strides), default=0) >= 0:
        return records
    return replace(records, features=np.ascontiguousarray(features), labels=np.ascontiguousarray(labels))


def _partly_frozen(model: nn.Module, spec: ModelSpec) -> nn.Module:
    if spec.train == "all":
        return model
    _, head = last_layer(model)
    if spec.train == "lora":
        model = add_low_rank(model, spec.lora_rank, spec.seed, but=head)
    else:
        model.requires_grad_(requires_grad=False)
    head.requires_grad_(requires_grad=True)
    return model


def _layers(count: int) -> str:
    return "1 BatchNorm layer is" if count == 1 else f"{count} BatchNorm layers are"
