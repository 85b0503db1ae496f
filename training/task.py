"""What hospitals learn together: the one interface that training, privacy and evaluation see of a task.

This module knows how a specification becomes a task. It does not know how files are read or models are built, and it
imports code that the toolkit does not ship in one function only, which must be called on purpose.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from secagg.errors import InputError, SecaggError
from training.records import Records
from training.tasks.images import ImageTask
from training.tasks.spec import IMAGES, TABULAR, DataSpec, EvaluationSpec, ModelSpec, TaskSpec, load_task_file
from training.tasks.tabular import TabularTask, table_columns

__all__ = [
    "DataSpec",
    "EvaluationSpec",
    "ModelSpec",
    "Task",
    "TaskSpec",
    "bind_to_file",
    "build_task",
    "load_custom_task",
    "load_task_file",
]


@runtime_checkable
class Task(Protocol):
    """How to read records, and what model to fit to them."""

    @property
    def spec(self) -> TaskSpec:
        """The settings that this task was made from."""

    def read(self, path: Path) -> Records:
        """A hospital's records. Raises InputError naming the file, and the line and column where there is one."""

    def build_model(self) -> nn.Module:
        """The model that every hospital starts from; the same parameters wherever it is built."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a scalar, of the model's outputs (n, ...) against int64 labels (n,)."""

    def scores(self, outputs: Tensor) -> Tensor:
        """Class probabilities (n, classes) from the model's outputs, each row's from its own."""


def build_task(spec: TaskSpec) -> Task:
    """The task of a specification whose kind comes with the toolkit.

    Raises:
        InputError: ``custom-task`` when the kind names code: nobody's charter may run code here by itself.
    """
    match spec.kind:
        case kind if kind == TABULAR:
            return TabularTask(spec)
        case kind if kind == IMAGES:
            return ImageTask(spec)
        case kind:
            raise InputError(
                "custom-task",
                f"The task {kind!r} is code that does not come with secagg.",
                culprit=kind,
                remedy="Review that code, install it, and allow it explicitly.",
            )


def load_custom_task(spec: TaskSpec) -> Task:
    """Import ``module:function`` of a custom kind and call it with the specification. Runs that code.

    Raises:
        InputError: ``custom-task`` when it cannot be imported, fails, or does not give a task.
    """
    module_name, _, function_name = spec.kind.partition(":")
    try:
        task = getattr(importlib.import_module(module_name), function_name)(spec)
    except SecaggError:
        raise
    # Somebody's own code may raise anything.
    except Exception as fault:
        message = f"Cannot build the task {spec.kind!r}: {type(fault).__name__}: {fault}."
        remedy = (
            "Install the package, or correct its code: `secagg --verbose …` shows where. Its function takes a TaskSpec."
        )
        raise InputError("custom-task", message, culprit=spec.kind, remedy=remedy) from fault
    if not isinstance(task, Task):
        message = f"{spec.kind!r} did not return a task."
        remedy = "Return an object with spec, read, build_model, loss and scores."
        raise InputError("custom-task", message, culprit=spec.kind, remedy=remedy)
    return task


def bind_to_file(spec: TaskSpec, path: Path) -> TaskSpec:
    """The specification with its input columns written out, from the column names of one hospital's file.

    Raises:
        InputError: when the file cannot be read or lacks a column that the task names.
    """
    if spec.is_bound:
        return spec
    columns = table_columns(spec, path)
    try:
        return spec.bind(columns)
    except InputError as fault:
        message = f"{path} does not fit the task: {fault.message}"
        raise InputError(fault.reason, message, culprit=str(path), remedy=fault.remedy) from fault
