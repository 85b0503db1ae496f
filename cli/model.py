"""`secagg model`: look at a release, and check it."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from cli.lazy import LazyCommand, LazyGroup
from cli.output import console, counted, epsilon, json_option, print_json
from cli.paths import EXISTING_FOLDER, FOLDER, PLACE
from secagg.charter.folder import read_charter, read_verified
from secagg.errors import SecaggError
from secagg.files import require_there
from secagg.release import VerifiedRelease, verify_release
from secagg.release.folder import read_release
from secagg.release.statement import Statement
from training.patient_unit import patient_unit

_FOLDER = click.argument("folder", type=FOLDER, default="release")


@click.group(cls=LazyGroup)
def model() -> None:
    """Show, verify and export the released model.

    \b
    Example:
      secagg model verify run/release
    """


model.add_command(
    LazyCommand("export", "cli.model_export:export", "Write a release as safetensors, TorchScript or ONNX.")
)


@model.command(short_help="Show the statement about a model.")
@_FOLDER
@json_option
def show(folder: Path, as_json: bool) -> None:
    """Show the statement about the model in FOLDER. It is not verified: see `secagg model verify`.

    \b
    Example:
      secagg model show run/release
    """
    signed, statement = read_release(folder)
    if as_json:
        print_json(statement)
        return
    console.print(_table(statement, _whom(folder, statement)))
    console.print(f"{counted(len(signed.signatures), 'signature')}, not verified here.")


@model.command(short_help="Check a release, or a file exported from one.")
@click.argument("place", type=PLACE, default="release")
@click.option(
    "--charter",
    type=EXISTING_FOLDER,
    help="Folder of the charter that the model was trained under; for an exported file only.",
)
@json_option
def verify(place: Path, charter: Path | None, as_json: bool) -> None:
    """Check the release in PLACE: charter signed by all, statement by every contributor, model unaltered.

    PLACE may also be a file that `secagg model export` wrote. It is made again from the release that it carries, and
    compared byte by byte; nothing in it is run. This takes the versions of torch, onnx and onnxscript that wrote it.

    \b
    Examples:
      secagg model verify run/release
      secagg model verify heart.onnx --charter run/charter
    """
    require_there(place)
    if place.is_file():
        _verify_file(place, charter, as_json)
    elif charter:
        raise click.UsageError("A release has its charter in its folder: leave out --charter.")
    else:
        _tell(verify_release(place), place / "model.safetensors", as_json)


def _verify_file(path: Path, charter: Path | None, as_json: bool) -> None:
    from training.exporting import verify_export

    if charter is None:
        raise click.UsageError("An exported file is checked with its charter: add --charter.")
    found = verify_export(path, read_verified(charter))
    _tell(found.release, path, as_json)


def _tell(release: VerifiedRelease, path: Path, as_json: bool) -> None:
    predicate = release.statement.predicate
    names = [contributor.name for contributor in predicate.contributors]
    if as_json:
        print_json({"verified": True, "model_sha256": release.statement.model_sha256, "signed_by": names})
        return
    click.echo(f"Yes: {path} is the model that {len(names)} hospitals made and signed.")
    click.echo(f"charter {predicate.charter}")
    rounds = f"{counted(predicate.sums, 'sum')} in {counted(predicate.rounds, 'round')}"
    click.echo(f"epsilon {epsilon(predicate.privacy.epsilon)}, {rounds}")


def _whom(folder: Path, statement: Statement) -> str:
    """Whom its epsilon is for, by the charter beside it where it is the one that was trained under."""
    try:
        charter = read_charter(folder)
    except SecaggError:
        charter = None
    if charter is None or charter.digest().hex() != statement.predicate.charter:
        return "patient, as its charter counts them"
    return patient_unit(charter).one


def _table(statement: Statement, whom: str) -> Table:
    predicate = statement.predicate
    table = Table(title=f"Release of {predicate.charter_name}", title_justify="left", show_header=False)
    table.add_column()
    # A hash is of use only if it is whole.
    table.add_column(overflow="fold")
    privacy = predicate.privacy
    guarantee = "none"
    if privacy.epsilon is not None:
        guarantee = f"{privacy.mode}: epsilon {epsilon(privacy.epsilon)}, delta {privacy.delta:g} for each {whom}"
    for term, value in (
        ("model file, SHA-256", statement.model_sha256),
        ("model digest", predicate.model_digest),
        ("charter", predicate.charter),
        ("differential privacy", guarantee),
        ("sums", f"{predicate.sums}, in {counted(predicate.rounds, 'round')}"),
        ("contributors", ", ".join(f"{entry.name} ({entry.sums})" for entry in predicate.contributors)),
    ):
        table.add_row(term, value)
    return table
