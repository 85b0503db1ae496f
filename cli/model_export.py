"""`secagg model export`: a release in the formats that others use, and a card for it."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import json_option, print_json
from cli.paths import FILE, FOLDER, quoted
from training.export_format import ExportFormat


@click.command()
@click.argument("folder", type=FOLDER, default="release")
@click.option(
    "--format",
    "kind",
    type=click.Choice([kind.value for kind in ExportFormat]),
    required=True,
    help="Format of the file; onnx needs the extra `onnx`: in the checkout, `pip install '.[onnx]'`.",
)
@click.option("--out", type=FILE, required=True, help="The file to write.")
@click.option("--card", type=FILE, help="Also write a model card to this file, in Markdown.")
@json_option
def export(folder: Path, kind: str, out: Path, card: Path | None, as_json: bool) -> None:
    """Verify the release in FOLDER and write it to a file of another format, with the signed statement inside.

    TorchScript and ONNX models take features as the task reads them: scaling is part of them. safetensors holds
    tensors, and says in its metadata how features must be scaled. A custom task's code is run: review it first.

    The card is filled in from what was signed. What only the owners can say is left open: search for TO BE FILLED IN.

    \b
    Examples:
      secagg model export run/release --format onnx --out heart.onnx --card heart.md
      secagg model verify heart.onnx --charter run/charter
    """
    from training.exporting.export_files import write_export

    sha256 = write_export(folder, ExportFormat(kind), out, card)
    if as_json:
        print_json({"path": str(out), "format": kind, "sha256": sha256, "card": card and str(card)})
        return
    click.echo(f"Written to {out}, SHA-256 {sha256}.")
    if card:
        click.echo(f"Written to {card}. Fill in what it leaves open.")
    click.echo(f"Check it: secagg model verify {quoted(out)} --charter {quoted(folder)}")
