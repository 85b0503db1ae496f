"""The formats that a model is exported in. Loads nothing that trains."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """What a model is exported as."""

    SAFETENSORS = "safetensors"
    TORCHSCRIPT = "torchscript"
    ONNX = "onnx"
