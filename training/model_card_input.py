"""The part of a model card on what goes in and what comes out. Knows what a charter says of records and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secagg.charter import Charter
from training.draft import task_spec
from training.export_format import ExportFormat
from training.exporting.attachment import Interface, interface_of
from training.markdown import code
from training.tasks.spec import IMAGES, TABULAR, level_key

BLANK: Final = "**[TO BE FILLED IN BY THE OWNERS]**"
_SHOWN_FEATURES: Final = 60


def input_and_output(charter: Charter, kind: ExportFormat, constant: Sequence[str]) -> str:
    """The section; ``constant``: the columns that the model makes no use of."""
    interface = interface_of(charter, "")
    takes = "float32 as the task's own code reads records"
    if interface.shape is not None:
        takes = " x ".join(map(str, ("float32, n", *interface.shape)))
    lines = [
        "## Input and output",
        "",
        f"Task: {code(charter.task.kind)}. Takes {takes}; gives {_given(charter, interface.classes, kind)}. "
        f"{_before(charter, interface)}",
        "",
        _classes(charter),
    ]
    if interface.features:
        lines += ["", f"Columns, in this order: {_listed(interface.features)}.{_levels(charter)}", "", _holes(charter)]
    if constant:
        lines += [
            "",
            "Left out of account, because all patients of the training had the same value there: "
            f"{_listed(constant)}. A patient with another number in them gets the same probabilities.",
        ]
    if task_spec(charter).is_custom:
        lines += ["", "The task's own code may do otherwise than is said here of classes and columns."]
    return "\n".join(lines)


def _given(charter: Charter, classes: int, kind: ExportFormat) -> str:
    if kind is not ExportFormat.SAFETENSORS:
        return f"{classes} probabilities for each"
    if charter.task.kind not in (TABULAR, IMAGES):
        return f"outputs of which the task's own code makes {classes} probabilities for each"
    if classes == 2:
        return "one number for each, whose sigmoid is the probability of class 1"
    return f"{classes} numbers for each, whose softmax is the probabilities of the classes"


def _classes(charter: Charter) -> str:
    """What the model predicts, as far as the charter says it."""
    spec = task_spec(charter)
    data, last = spec.data, spec.data.classes - 1
    if data.class_names:
        return f"Class {', class '.join(f'{number} is {code(name)}' for number, name in enumerate(data.class_names))}."
    if not data.label or spec.kind == IMAGES:
        return f"What the classes 0 to {last} stand for: {BLANK}."
    if data.positive_above is None:
        return f"The class is the number in the column {code(data.label)}, 0 to {last}. What they stand for: {BLANK}."
    above = f"a number above {level_key(data.positive_above)} in the column {code(data.label)}"
    return f"Class 1 is {above}, class 0 any other. What they stand for: {BLANK}."


def _levels(charter: Charter) -> str:
    """What it means where all columns of a categorical variable are 0."""
    data = task_spec(charter).data
    levels = {name: data.categorical[name] for name in data.features if name in data.categorical}
    first = [f"{name}={level_key(of_it[0])}" for name, of_it in levels.items() if of_it]
    if not first:
        return ""
    return (
        " Where all columns of a categorical variable are 0, its value is the level that has no column: "
        f"{_listed(first)}."
    )


def _holes(charter: Charter) -> str:
    told = "Every column needs a number: what comes out where one is missing (NaN) means nothing."
    left_out = " Rows with a missing value were left out of the training."
    return told + left_out if task_spec(charter).data.missing == "drop-row" else told


def _before(charter: Charter, interface: Interface) -> str:
    """What has to be done to a record first."""
    if charter.task.kind == IMAGES and interface.shape:
        channels, size, _ = interface.shape
        colours = "grey as Pillow's mode L" if channels == 1 else "in the order red, green, blue"
        return (
            f"A picture is resized to {size} x {size} pixels, bilinear as Pillow's `resize` does it, whatever its "
            f"proportions; its pixels, {colours}, of 8 bits from 0 for black to 255, go in as x / 127.5 - 1, which is "
            "from -1 to 1. The file does neither."
        )
    scaled = "is in the file's metadata, `secagg.interface`."
    if interface.features:
        return f"How raw values are scaled {scaled}"
    return f"How a raw record becomes that is in the task's code alone; how its columns are scaled, if at all, {scaled}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_FEATURES
    return ", ".join(map(code, names[:_SHOWN_FEATURES])) + (f" and {more} more" if more > 0 else "")
