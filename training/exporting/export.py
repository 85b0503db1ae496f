"""From a verified release to a file in another format, and from such a file back to who made the model.

Knows the three formats as functions. A file is verified by making it once more from the release that it carries, and
comparing all bytes: what is in it, a program, is never run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor

from secagg.charter import VerifiedCharter
from secagg.errors import InputError, SecaggError
from secagg.files import read_bounded
from secagg.release import SignedStatement, VerifiedRelease, read_envelope, verify_release
from secagg.release.folder import verify_parts
from secagg.release.statement import MODEL_FILE
from secagg.release.unusable import unusable
from training.draft import task_of
from training.export_format import ExportFormat
from training.exporting import onnx, tensors, torchscript
from training.exporting.attachment import attach, interface_of, made_elsewhere, malformed, model_of, statement_of
from training.exporting.looking import looks_at_values
from training.exporting.scoring import Scoring
from training.prepared_task import PreparedTask
from training.standardisation import bounds_scaler
from training.whole_model import SCALING, assembled

LARGEST: Final = 2**31 - 1
_CLOSE: Final = 1e-5
_INSIDE: Final = "inside"


@dataclass(frozen=True)
class VerifiedExport:
    """An exported file whose every byte follows from a release. Made by `verify_export`."""

    release: VerifiedRelease
    kind: ExportFormat


def export_release(folder: Path, kind: ExportFormat) -> tuple[VerifiedRelease, bytes]:
    """A release, verified, and the same model as a file of another format. A custom task's code is run.

    Raises:
        InputError: ``extra-missing``, ``too-large``, ``export-differs``, ``looks-at-numbers``, ``nan-scores``;
            ``not-exported``, for a custom task of which no program can be written; and as
            `training.whole_model.whole_model`.
        TamperingError: as `secagg.release.verify_release`.
    """
    release = verify_release(folder)
    return release, _exported(release, read_bounded(folder / MODEL_FILE, LARGEST), kind, str(folder))


def verify_export(path: Path, charter: VerifiedCharter) -> VerifiedExport:
    """Check that a file is what `export_release` makes of a release that the members of ``charter`` signed.

    Raises:
        InputError: ``unreadable``, ``unknown-format``, ``extra-missing``; ``made-elsewhere``, if other versions of
            packages made the file: then nothing is known of it.
        TamperingError: naming what does not fit.
    """
    data, place = read_bounded(path, LARGEST), str(path)
    kind = _kind_of(data, place)
    attached, model, makers = _taken_apart(data, kind, place)
    signed = read_envelope(statement_of(attached, place), place)
    release = verify_parts(charter, signed, hashlib.sha256(model).hexdigest(), place)
    if _exported(release, model, kind, place) == data:
        return VerifiedExport(release, kind)
    elsewhere = made_elsewhere(attached, *makers)
    if elsewhere is not None:
        raise InputError(
            "made-elsewhere",
            f"{place} says that it was made by {elsewhere}, which is not installed here: it cannot be checked.",
            culprit=place,
            remedy="Install those versions, or export the release again.",
        )
    raise unusable("export-altered", f"{place} differs from what its own release gives: it was changed.", place)


def _exported(release: VerifiedRelease, model: bytes, kind: ExportFormat, place: str) -> bytes:
    task = task_of(release.charter.charter)
    parts = load(model)
    module = assembled(release, parts, place)
    match kind:
        case ExportFormat.SAFETENSORS:
            return _as_tensors(release, task, model, parts, module)
        case ExportFormat.TORCHSCRIPT | ExportFormat.ONNX:
            return _as_program(release, task, Scoring(task, module, parts), model, kind)


def _as_tensors(
    release: VerifiedRelease,
    task: PreparedTask,
    model: bytes,
    parts: dict[str, np.ndarray],
    module: torch.nn.Module,
) -> bytes:
    whole = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    whole |= {name: tensor for name, tensor in parts.items() if name in SCALING}
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    match task.spec.data.standardise:
        case "secure-sum":
            scaling = "(x - standardisation.mean) / standardisation.std in float64, then float32"
        case "bounds":
            scaling = "2 (min(max(x, low), high) - low) / (high - low) - 1 in float64, then float32"
            scaler = bounds_scaler(task.spec.data)
            low, high = tuple(scaler.low.tolist()), tuple(scaler.high.tolist())
        case "none":
            scaling = "none"
    interface = interface_of(release.charter.charter, scaling, low, high)
    # Where all of a model was trained, its tensors are the release's; otherwise those that were trained go along.
    carried = None if save(whole) == model else model
    return tensors.write(whole, attach(_statement(release.signed), interface, carried, *tensors.MAKERS))


def _as_program(
    release: VerifiedRelease, task: PreparedTask, scoring: Scoring, model: bytes, kind: ExportFormat
) -> bytes:
    interface = interface_of(release.charter.charter, _INSIDE)
    writer = onnx if kind is ExportFormat.ONNX else torchscript
    attached = attach(_statement(release.signed), interface, model, *writer.MAKERS)
    image = (task.spec.data.image_channels, task.spec.data.image_size, task.spec.data.image_size)
    try:
        data = _written(scoring, interface.shape or image, kind, attached)
    except SecaggError:
        raise
    except Exception as error:
        # Somebody else's code, tried with records of a shape that it may not take.
        if not task.spec.is_custom:
            raise
        raise InputError(
            "not-exported",
            f"The model of {task.spec.kind} cannot be written as {kind}: {type(error).__name__}, when it was tried.",
            culprit=task.spec.kind,
            remedy="Export to safetensors: programs are for columns (data.features) and images of data.image_size.",
        ) from error
    if len(data) > LARGEST:
        raise InputError("too-large", f"{kind} holds no more than 2 GB.", remedy="Export to safetensors.")
    return data


def _written(scoring: Scoring, shape: tuple[int, ...], kind: ExportFormat, attached: Mapping[str, str]) -> bytes:
    """The program, tried on a few made-up records of ``shape``."""
    writer = onnx if kind is ExportFormat.ONNX else torchscript
    example = scoring.probe(shape, 2)
    if kind is ExportFormat.TORCHSCRIPT and looks_at_values(scoring, example):
        raise InputError(
            "looks-at-numbers",
            "The model's code looks at the numbers of its input. A TorchScript file cannot: it would do for every "
            "patient what it did for the first.",
            remedy="Leave out checks of values, decide with torch.where, or export to safetensors.",
        )
    data: bytes = writer.write(scoring, example, attached)
    for rows in (1, 5):
        features, wanted = _tried(scoring, shape, rows, kind)
        if not torch.allclose(wanted, writer.score(data, features), atol=_CLOSE):
            raise InputError(
                "export-differs",
                f"As {kind} the model would give other numbers than as it was trained.",
                remedy="Its code depends on more than its input; export to safetensors.",
            )
    return data


def _tried(scoring: Scoring, shape: tuple[int, ...], rows: int, kind: ExportFormat) -> tuple[Tensor, Tensor]:
    """Made-up records, and the finite numbers that the model gives for them."""
    # A logarithm or a root takes only numbers above 0.
    for lowest in (-1.0, 0.0):
        features = scoring.probe(shape, rows, lowest)
        scores = scoring(features)
        if scores.isfinite().all():
            return features, scores
    raise InputError(
        "nan-scores",
        f"The model gives no finite numbers for made-up records, so {kind} cannot be compared with it.",
        remedy="If its training diverged, train again. If its code takes only some numbers, export to safetensors.",
    )


def _taken_apart(data: bytes, kind: ExportFormat, place: str) -> tuple[dict[str, str], bytes, tuple[str, ...]]:
    """What is attached, the release's model file, and which packages decide about the bytes."""
    match kind:
        case ExportFormat.SAFETENSORS:
            attached, whole = tensors.read(data, place)
            return dict(attached), model_of(attached, place) or save(dict(whole)), tensors.MAKERS
        case ExportFormat.TORCHSCRIPT | ExportFormat.ONNX:
            reader = onnx if kind is ExportFormat.ONNX else torchscript
            attached = reader.read(data, place)
            model = model_of(attached, place)
            if model is None:
                raise malformed(place, "the release that it was made of is missing")
            return dict(attached), model, reader.MAKERS


def _kind_of(data: bytes, place: str) -> ExportFormat:
    if data.startswith(b"PK\x03\x04"):
        return ExportFormat.TORCHSCRIPT
    if data[8:9] == b"{":
        return ExportFormat.SAFETENSORS
    if data[:1] == b"\x08":
        return ExportFormat.ONNX
    raise InputError(
        "unknown-format",
        f"{place} is neither safetensors nor TorchScript nor ONNX.",
        culprit=place,
        remedy="Give a file that `secagg model export` wrote, or the folder of a release.",
    )


def _statement(signed: SignedStatement) -> bytes:
    return signed.to_json()
