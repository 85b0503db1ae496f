"""`secagg charter new`: from a task and a few choices to a charter that can be signed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.charter import charter_folder, show_charter
from cli.effect import require_effect
from cli.identity import public_key_of
from cli.options import CHARTER_USES, charter_options, choices_from
from cli.output import json_option
from cli.paths import FILE, PLACE
from secagg.charter import Member
from secagg.charter.folder import CHARTER_FILE, write_charter
from secagg.errors import InputError


@click.command()
@charter_folder
@click.option("--name", default="consortium", show_default=True, help="Name of the consortium.")
@click.option("--task", "task_file", type=FILE, required=True, help="Task file (TOML); see docs/tasks.md.")
@click.option("--columns-from", type=PLACE, help="File of records whose columns become the task's features.")
@click.option(
    "--member", "members", multiple=True, required=True, help="NAME=PUBLIC-KEY of a hospital; repeat it for each."
)
@charter_options
@json_option
@click.pass_context
def new(
    context: click.Context,
    /,
    folder: Path,
    name: str,
    task_file: Path,
    columns_from: Path | None,
    members: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Draft a charter from a task and the choices below, and write it into FOLDER, unsigned.

    \b
    Example:
      secagg charter new charter --task heart.toml --dp local --epsilon 8 \\
          --member cleveland=uVe… --member hungarian=9Kx… --member va=x3B…
    """
    from training.draft import draft_charter, task_of
    from training.task import bind_to_file, load_task_file

    require_effect(context, CHARTER_USES)
    if (folder / CHARTER_FILE).exists():
        raise InputError(
            "charter-exists",
            f"{folder / CHARTER_FILE} exists already and is left as it is.",
            culprit=str(folder),
            remedy="Choose another folder: a charter that others may have signed is not overwritten.",
        )
    spec = load_task_file(task_file)
    if columns_from:
        if spec.is_bound:
            raise click.UsageError(f"--columns-from has no effect: {task_file} lists its features. Leave it out.")
        spec = bind_to_file(spec, columns_from)
    if not spec.is_bound:
        raise InputError(
            "columns-unknown",
            f"{task_file} does not list its features, so the model's size is unknown.",
            culprit=str(task_file),
            remedy="List data.features in the task, or give a file with --columns-from.",
        )
    drafted = draft_charter(choices_from(name, options), [_member(text) for text in members], spec)
    write_charter(folder, drafted)
    show_charter(folder, drafted, (), as_json, task_of(drafted).cautions())


def _member(text: str) -> Member:
    name, _, key = text.partition("=")
    what = f"The member {name!r} was given without a public key (32 bytes in base64)."
    remedy = "Copy it from the output of `secagg identity show`, as --member NAME=KEY."
    return Member(name=name, public_key=public_key_of(key, what, name, remedy))
