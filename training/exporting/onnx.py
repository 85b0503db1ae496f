"""A released model as ONNX, written so that the same release gives the same bytes. An extra: ``secagg[onnx]``.

Knows torch's exporter and the fields of the file. A file is parsed here, and never run.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch

from secagg.errors import InputError
from training.exporting.attachment import malformed
from training.exporting.scoring import Scoring

MAKERS: Final = ("torch", "onnx", "onnxscript")
INPUT: Final = "features"
OUTPUT: Final = "probabilities"


def require_onnx() -> None:
    """Make sure that ONNX can be written.

    Raises:
        InputError: ``extra-missing``.
    """
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                "extra-missing",
                f"The package {name}, which writes ONNX, is not installed.",
                culprit=name,
                remedy="Add the extra `onnx` to this installation: in the checkout, `pip install '.[onnx]'`.",
            )


def write(scoring: Scoring, example: torch.Tensor, attached: Mapping[str, str]) -> bytes:
    """The file. Raises InputError ``extra-missing``."""
    require_onnx()
    with _quiet():
        program = torch.onnx.export(
            scoring,
            (example,),
            dynamo=True,
            dynamic_shapes={"features": {0: "batch"}},
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    if program is None:
        raise InputError("not-exported", "torch gave no ONNX program.", remedy="Export to another format.")
    proto = program.model_proto
    _forget_places(proto)
    for key, value in attached.items():
        proto.metadata_props.add(key=key, value=value)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def read(data: bytes, place: str) -> Mapping[str, str]:
    """What is attached to a file.

    Raises:
        InputError: ``extra-missing``.
        TamperingError: ``malformed-export``.
    """
    require_onnx()
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError) as error:
        raise malformed(place, error) from error
    return {entry.key: entry.value for entry in proto.metadata_props}


def score(data: bytes, features: torch.Tensor) -> torch.Tensor:
    """What a file that was just written here gives, by ONNX's own reference."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(onnx.ModelProto.FromString(data))
    (scores,) = session.run(None, {INPUT: features.numpy()})
    return torch.from_numpy(scores)


def _forget_places(proto: Any) -> None:
    """Without the lines of source that made each node: they name paths, and say nothing of the model."""
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    for part in (*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    del proto.graph.value_info[:]
    for function in proto.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
            node.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells what other packages it does not find."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
