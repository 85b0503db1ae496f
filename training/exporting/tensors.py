"""A released model as safetensors: the tensors of the whole model and, as metadata, what is said about it.

Knows the file format: an 8-byte length, a JSON header, the tensors. The header is written here, for the library
does not keep metadata in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from secagg.errors import InputError
from secagg.json_documents import MALFORMED
from training.exporting.attachment import malformed

MAKERS: Final = ("safetensors",)
_METADATA: Final = "__metadata__"
_LARGEST_HEADER: Final = 100_000_000
_ALIGNED: Final = 8


def write(tensors: Mapping[str, np.ndarray], attached: Mapping[str, str]) -> bytes:
    """The file.

    Raises:
        InputError: ``too-large``, if what is attached makes a header that no reader takes.
    """
    header, data = _split(save(dict(tensors)))
    content = {_METADATA: dict(attached), **msgspec.json.decode(header)}
    written = msgspec.json.encode(content)
    written += b" " * (-len(written) % _ALIGNED)
    if len(written) > _LARGEST_HEADER:
        raise InputError(
            "too-large",
            "Safetensors hold 100 MB beside the model's tensors; with the release that it was made of there is more.",
            remedy="Export to torchscript, which has room for 2 GB.",
        )
    return len(written).to_bytes(_ALIGNED, "little") + written + data


def read(data: bytes, place: str) -> tuple[Mapping[str, str], Mapping[str, np.ndarray]]:
    """What is attached to a file, and its tensors.

    Raises:
        TamperingError: ``malformed-export``.
    """
    try:
        header, _ = _split(data)
        found = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        attached = msgspec.json.decode(found.get(_METADATA, b"{}"), type=dict[str, str])
        return attached, load(data)
    except (SafetensorError, ValueError, KeyError, *MALFORMED) as error:
        raise malformed(place, error) from error


def _split(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:_ALIGNED], "little")
    if len(data) < _ALIGNED or length > min(_LARGEST_HEADER, len(data) - _ALIGNED):
        raise ValueError("the header is longer than the file")
    return data[_ALIGNED : _ALIGNED + length], data[_ALIGNED + length :]
