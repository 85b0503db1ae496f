"""A released model as TorchScript, written so that the same release gives the same bytes.

Knows torch's archive: a zip. A traced function, and not a module, for only its names do not depend on what else was
traced before; without torch's debugging records, which hold paths. An archive is never loaded here, only compared.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from training.exporting.attachment import malformed
from training.exporting.scoring import Scoring

MAKERS: Final = ("torch",)
_EXTRA: Final = "extra/"
_LEFT_OUT: Final = (".debug_pkl", "/serialization_id")
_LARGEST_MEMBER: Final = 1 << 31
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)


def write(scoring: Scoring, example: torch.Tensor, attached: Mapping[str, str]) -> bytes:
    """The archive."""
    with warnings.catch_warnings():
        # Tracing is no longer developed, but what it writes is what others load.
        warnings.simplefilter("ignore")
        unit = torch._C.CompilationUnit()
        trace: Callable[..., Any] = torch.jit.trace
        traced = trace(lambda features: scoring(features), example, _compilation_unit=unit)
        data: bytes = traced.save_to_buffer(_extra_files=dict(attached))
    return _without_paths(data)


def read(data: bytes, place: str) -> Mapping[str, str]:
    """What is attached to an archive; nothing of it is run.

    Raises:
        TamperingError: ``malformed-export``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = {}
            for member in archive.infolist():
                _, is_extra, name = member.filename.partition(_EXTRA)
                if not is_extra:
                    continue
                if member.file_size > _LARGEST_MEMBER or member.compress_type != zipfile.ZIP_STORED:
                    raise malformed(place, f"{name} is too large or packed")
                found[name] = archive.read(member).decode()
            return found
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise malformed(place, error) from error


def score(data: bytes, features: torch.Tensor) -> torch.Tensor:
    """What an archive that was just written here gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores: torch.Tensor = torch.jit.load(io.BytesIO(data))(features)  # type: ignore[no-untyped-call]
    return scores


def _without_paths(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for member in source.infolist():
            if not member.filename.endswith(_LEFT_OUT):
                target.writestr(zipfile.ZipInfo(member.filename, _LONG_AGO), source.read(member))
    return out.getvalue()
