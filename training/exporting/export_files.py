"""Writes an export and its card: files that were not there before, and nothing if either cannot be made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors.numpy import load_file

from secagg.errors import InputError
from secagg.files import create_atomically
from secagg.release.statement import MODEL_FILE
from training.export_format import ExportFormat
from training.exporting.export import export_release
from training.model_card import model_card
from training.whole_model import constant_columns


def write_export(folder: Path, kind: ExportFormat, out: Path, card: Path | None = None) -> str:
    """Export the release in ``folder`` to the new file ``out``, with a card if one is wanted; the file's SHA-256.

    Raises:
        InputError: ``same-file``, ``exists``, ``unwritable``, and as `export_release`.
        TamperingError: if the release is not what was signed.
    """
    if card and card.resolve() == out.resolve():
        raise InputError(
            "same-file",
            f"{card} cannot be both the export and its card.",
            culprit=str(card),
            remedy="Choose another path for the card.",
        )
    for path in (out, card):
        # Before the work; what is created afterwards is checked once more.
        if path and path.exists():
            raise InputError(
                "exists",
                f"{path} exists already and is left as it is.",
                culprit=str(path),
                remedy="Choose another path.",
            )
    release, data = export_release(folder, kind)
    sha256 = hashlib.sha256(data).hexdigest()
    constant = constant_columns(release, load_file(folder / MODEL_FILE))
    # The file's name need not be text.
    told = model_card(release, kind, out.name, sha256, constant).encode(errors="backslashreplace")
    create_atomically(out, data)
    if card:
        try:
            create_atomically(card, told)
        except BaseException:
            # Made here, a moment ago, where nothing was.
            out.unlink(missing_ok=True)
            raise
    return sha256
