"""What is to be learned, as data: the settings of a task, from a TOML file or from a charter.

This module knows which settings exist and which of them contradict each other. It knows nothing of torch and reads
no hospital's data. One specification always gives the same bytes, because a charter signs them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from secagg.errors import InputError
from secagg.json_documents import MALFORMED
from secagg.toml_text import read_toml
from secagg.utf8 import first_undecodable

TABULAR = "tabular-classification"
IMAGES = "image-classification"

Level = int | float | str
USUAL_BINS: Final = 64
_REMEDY = "Correct that setting of the task."
_LARGEST_RANK = 4096
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What pandas writes the numbers of rows under: to CSV, to Parquet, and to CSV what it read from such a file.
_NAMELESS = re.compile(r"|__index_level_[0-9]+__|Unnamed: [0-9]+(?:\.[0-9]+|_level_[0-9]+)*")


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model, and which part of it is trained.

    Attributes:
        hidden: widths for an mlp; ``channels`` of the convolutions for a cnn.
        seed: of the start.
        train: all parameters; only the last layer's; or that one's and, beside every other linear and convolutional
            layer, a pair of ``lora_rank`` (`training.tasks.low_rank`). What is not trained is frozen.
        backbone: the name of a .safetensors file with pre-trained parameters, which every hospital has; its SHA-256 in
            hexadecimal is ``backbone_sha256``.
    """

    name: Literal["logistic", "mlp", "cnn"] = "logistic"
    hidden: tuple[int, ...] = (32,)
    channels: tuple[int, ...] = (16, 32, 32)
    seed: int = 0
    train: Literal["all", "last-layer", "lora"] = "all"
    lora_rank: int = 4
    backbone: str | None = None
    backbone_sha256: str | None = None


class DataSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a hospital's file becomes features and labels.

    Tables: ``features`` are the input columns in order; empty means all but label, patient and ``drop``, which
    `TaskSpec.bind` writes out in full. ``categorical`` columns become one column a level, the first level left out.
    Images: square, ``image_size`` pixels a side, 1 or 3 ``image_channels``; ``class_names`` are the sub-folders of a
    folder of pictures, in the order of their labels.
    Either: at most ``most_rows`` of each patient are used, as `Records.limit_rows` picks them.
    """

    header: bool = True
    columns: tuple[str, ...] = ()
    label: str = ""
    positive_above: float | None = None
    classes: int = 2
    class_names: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categorical: dict[str, tuple[Level, ...]] = {}
    missing_values: tuple[str, ...] = ()
    missing: Literal["refuse", "drop-row"] = "refuse"
    patient: str | None = None
    most_rows: int | None = None
    standardise: Literal["secure-sum", "bounds", "none"] = "none"
    bounds: dict[str, tuple[float, float]] = {}
    image_size: int = 28
    image_channels: Literal[1, 3] = 1


class EvaluationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured, and on which part of each hospital's patients.

    Attributes:
        bins: of the scores, for a summed AUC. A charter has them written out: see `training.draft`.
    """

    metric: Literal["accuracy", "auc"] = "accuracy"
    bins: int | None = None
    test_fraction: float = 0.2
    test_seed: int = 0
    division: Literal["by-patient", "stratified"] = "by-patient"

    @property
    def bin_count(self) -> int:
        """``bins``, or as many as exact counts have."""
        return USUAL_BINS if self.bins is None else self.bins

    @property
    def train_fraction(self) -> float:
        """The rest of the patients; rounded, so that 1 - 0.34 is 0.66 and not the float just below it."""
        return round(1.0 - self.test_fraction, 12)


class TaskSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A complete task. Made by `load_task_file` or `TaskSpec.from_settings`.

    Raises:
        InputError: ``bad-task`` when a setting is out of range or contradicts another.
    """

    kind: str
    model: ModelSpec
    data: DataSpec
    evaluation: EvaluationSpec

    def __post_init__(self) -> None:
        _check_kind(self)
        _check_model(self.model)
        _check_evaluation(self.evaluation)
        _check_classes(self)
        _check_class_names(self)
        if self.kind == TABULAR:
            _check_columns(self.data)
            _check_categorical(self.data)
            _check_bounds(self.data)

    @classmethod
    def from_settings(cls, kind: str, settings_json: bytes) -> TaskSpec:
        """The task that a charter holds: its kind, and the bytes that `settings_json` gave.

        Raises:
            InputError: ``bad-task``.
        """
        try:
            settings = msgspec.json.decode(settings_json, type=dict[str, Any])
        except MALFORMED as fault:
            raise _bad(f"The task's settings are not a JSON object: {fault}.") from fault
        return _convert(kind, settings)

    def settings_json(self) -> bytes:
        """Everything but the kind, as canonical JSON: equal specifications give equal bytes."""
        settings = {"model": self.model, "data": self.data, "evaluation": self.evaluation}
        return msgspec.json.encode(settings, order="sorted")

    @property
    def is_bound(self) -> bool:
        """Whether the input features are known without looking at any data, so that a model can be built."""
        return self.kind != TABULAR or bool(self.data.features)

    @property
    def is_custom(self) -> bool:
        """Whether the task is code that does not come with secagg."""
        return self.kind not in (TABULAR, IMAGES)

    def bind(self, columns: tuple[str, ...]) -> TaskSpec:
        """The same task with its input columns written out, given all ``columns`` of a file in their order.

        A task that is bound already is returned as it is. A charter stores the bound task.

        Raises:
            InputError: ``bad-task`` when nothing is left to learn from, a named column does not exist, or a column has
                no name and the task does not mention it.
        """
        if self.is_bound:
            return self
        data = self.data
        named = {data.label, *data.drop, *data.categorical, *([data.patient] if data.patient else [])}
        unknown = sorted(named - set(columns))
        if unknown:
            have = ", ".join(columns)
            raise _bad(f"The task names columns that do not exist: {', '.join(unknown)}. There are: {have}.")
        left_out = {data.label, data.patient, *data.drop}
        features = tuple(column for column in columns if column not in left_out)
        if not features:
            raise _bad("The task leaves no column to learn from.")
        _require_names(features, data)
        return msgspec.structs.replace(self, data=msgspec.structs.replace(data, features=features))


def load_task_file(path: Path) -> TaskSpec:
    """Read a task from TOML: ``kind`` and the sections model, data, evaluation. See `TaskSpec`.

    A table whose columns the file itself lists comes back bound.

    Raises:
        InputError: ``unreadable-task`` or ``bad-task``, naming the file.
    """
    try:
        settings = read_toml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as fault:
        line = first_undecodable(path.read_bytes().splitlines())
        raise _unreadable(path, f"line {line} is not UTF-8 text", "Save the file as UTF-8.") from fault
    except OSError as fault:
        # What the system says besides, a number and the path again, nobody needs.
        raise _unreadable(path, fault.strerror, "Check the path.") from fault
    except ValueError as fault:
        raise _unreadable(path, fault, "Check the TOML.") from fault
    kind = settings.pop("kind", "")
    try:
        if not isinstance(kind, str):
            raise _bad("The task's kind must be a string.")
        spec = _convert(kind, settings)
        return spec.bind(spec.data.columns) if spec.data.columns else spec
    except InputError as fault:
        raise _bad(f"{path}: {fault.message}", culprit=str(path)) from fault


def level_key(value: Level) -> str:
    """One spelling for one level: 1, 1.0 and "1.0" are all "1", because hospitals write codes differently."""
    text = str(value).strip()
    # Python reads "30_39" as a number; nobody else does.
    if "_" in text:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return str(int(number)) if number.is_integer() else repr(number)


def input_names(data: DataSpec) -> tuple[str, ...]:
    """The names of the model's inputs: one a number column, one a level but the first of a categorical column."""
    names: list[str] = []
    for column in data.features:
        levels = data.categorical.get(column)
        names.extend([column] if levels is None else [f"{column}={level_key(level)}" for level in levels[1:]])
    return tuple(names)


def _convert(kind: str, settings: Mapping[str, Any]) -> TaskSpec:
    sections = {"model": {}, "data": {}, "evaluation": {}, **settings}
    if isinstance(sections["data"], dict):
        # Unlike everything else, the right way to scale differs between tables and images.
        default = "secure-sum" if kind == TABULAR else "none"
        sections["data"] = {"standardise": default, **sections["data"]}
    try:
        return msgspec.convert({**sections, "kind": kind}, TaskSpec)
    except msgspec.ValidationError as fault:
        raise _bad(f"The task cannot be used: {fault}.") from fault


def _unreadable(path: Path, why: object, remedy: str) -> InputError:
    message = f"Cannot read the task file {path}: {why}."
    return InputError("unreadable-task", message, culprit=str(path), remedy=remedy)


def _bad(message: str, culprit: str | None = None) -> InputError:
    return InputError("bad-task", message, culprit=culprit, remedy=_REMEDY)


def _require_names(features: tuple[str, ...], data: DataSpec) -> None:
    # In a file that is sorted, the number of a row tells the label.
    for column in features:
        if _NAMELESS.fullmatch(column) and column not in data.categorical:
            raise _bad(
                f"The file has a column without a name ({column!r}), perhaps of the rows' numbers: list {column!r} in "
                "data.drop, or name all inputs in data.features."
            )


def _check_kind(spec: TaskSpec) -> None:
    module, colon, function = spec.kind.partition(":")
    names_code = bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
    if spec.is_custom and not names_code:
        raise _bad(f"There is no task kind {spec.kind!r}; use {TABULAR!r}, {IMAGES!r} or 'module:function'.")
    if spec.kind == TABULAR and spec.model.name == "cnn":
        raise _bad("A cnn needs images; a table takes the model 'logistic' or 'mlp'.")
    if spec.kind == IMAGES and spec.data.standardise != "none":
        raise _bad("Images are scaled by their range; standardise must be 'none'.")


def _check_model(model: ModelSpec) -> None:
    if any(width < 1 for width in (*model.hidden, *model.channels)) or not model.channels:
        raise _bad("Every hidden width and number of channels must be at least 1.")
    if not 0 <= model.seed < 2**63:
        raise _bad("The model's seed must be between 0 and 2^63 - 1.")
    if not 1 <= model.lora_rank <= _LARGEST_RANK:
        raise _bad(f"model.lora_rank must be between 1 and {_LARGEST_RANK}.")
    _check_backbone(model)


def _check_backbone(model: ModelSpec) -> None:
    if (model.backbone is None) != (model.backbone_sha256 is None):
        raise _bad("Give model.backbone and model.backbone_sha256 together, or neither.")
    # A charter is written by somebody else: it names a file, but no place on a hospital's disk.
    if model.backbone is not None and not _FILE_NAME.fullmatch(model.backbone):
        raise _bad("model.backbone must be the name of a .safetensors file, without a folder.")
    if model.backbone_sha256 is not None and not _SHA256.fullmatch(model.backbone_sha256):
        raise _bad("model.backbone_sha256 must be 64 hexadecimal digits, in lower case: the output of sha256sum.")


def _check_evaluation(evaluation: EvaluationSpec) -> None:
    if evaluation.bin_count < 2 or evaluation.bin_count % 2:
        raise _bad("evaluation.bins must be even, so that a score of one half is an edge.")
    if not 0.0 <= evaluation.test_fraction < 1.0:
        raise _bad("evaluation.test_fraction must be at least 0 and below 1.")
    if not 0 <= evaluation.test_seed < 2**32:
        raise _bad("evaluation.test_seed must be between 0 and 2^32 - 1.")


def _check_classes(spec: TaskSpec) -> None:
    data = spec.data
    if data.classes < 2:
        raise _bad("data.classes must be at least 2.")
    if spec.evaluation.metric == "auc" and data.classes != 2:
        raise _bad("The metric 'auc' needs exactly two classes; use 'accuracy'.")
    if data.positive_above is not None and data.classes != 2:
        raise _bad("data.positive_above makes two classes; data.classes must be 2.")
    if data.positive_above is not None and not math.isfinite(data.positive_above):
        raise _bad("data.positive_above must be a finite number.")
    if data.most_rows is not None and data.most_rows < 1:
        raise _bad("data.most_rows must be at least 1.")
    if not 4 <= data.image_size <= 4096:
        raise _bad("data.image_size must be between 4 and 4096 pixels.")


def _check_class_names(spec: TaskSpec) -> None:
    names = spec.data.class_names
    if not names:
        return
    if spec.kind == TABULAR:
        raise _bad("data.class_names are folders of pictures; a table has none.")
    if len(names) != spec.data.classes or len(set(names)) != len(names):
        raise _bad(f"data.class_names must be {spec.data.classes} different names, as many as data.classes.")
    for name in names:
        if not name or name.startswith(".") or not name.isprintable() or "/" in name:
            raise _bad(f"data.class_names holds {name!r}, which cannot be the name of a folder of pictures.")


def _check_columns(data: DataSpec) -> None:
    if not data.label:
        raise _bad("A table needs data.label, the name of the column to predict.")
    if data.header == bool(data.columns):
        raise _bad("Give data.columns exactly when the file has no header (header = false).")
    for names in (data.columns, data.features, data.drop):
        if len(set(names)) != len(names):
            raise _bad("A column is named twice in data.columns, data.features or data.drop.")
    kept_back = {data.label, data.patient, *data.drop} & set(data.features)
    if kept_back:
        raise _bad(f"{', '.join(sorted(map(str, kept_back)))} cannot be a feature and a label, patient or drop column.")
    if data.columns:
        patient = [data.patient] if data.patient else []
        unknown = {data.label, *patient, *data.features, *data.drop} - set(data.columns)
        if unknown:
            raise _bad(f"data.columns does not list: {', '.join(sorted(unknown))}.")


def _check_categorical(data: DataSpec) -> None:
    stray = set(data.categorical) - set(data.features) if data.features else set()
    if stray:
        raise _bad(f"Categorical columns are not among the features: {', '.join(sorted(stray))}.")
    for column, levels in data.categorical.items():
        keys = {level_key(level) for level in levels}
        if len(levels) < 2 or len(keys) != len(levels):
            raise _bad(f"Categorical column {column!r} needs at least two different levels.")


def _check_bounds(data: DataSpec) -> None:
    for column, (low, high) in data.bounds.items():
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise _bad(f"The bounds of column {column!r} must be two finite numbers, the lower first.")
    if data.standardise == "bounds":
        unbounded = [column for column in data.features if column not in data.bounds and column not in data.categorical]
        if unbounded:
            raise _bad(f"standardise = 'bounds' needs data.bounds for: {', '.join(unbounded)}.")
