"""The kinds of path that commands are given, and the option that several of them have."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import click

PLACE: Final = click.Path(path_type=Path)
FOLDER: Final = click.Path(path_type=Path, file_okay=False)
FILE: Final = click.Path(path_type=Path, dir_okay=False)
EXISTING_FOLDER: Final = click.Path(path_type=Path, file_okay=False, exists=True)
EXISTING_FILE: Final = click.Path(path_type=Path, dir_okay=False, exists=True)

charter_option = click.option(
    "--charter", "charter_folder", type=FOLDER, required=True, help="Folder of the charter, signed by all."
)


def quoted(path: Path) -> str:
    """A path as it is typed into a shell, for a command that is to be copied."""
    return shlex.quote(str(path))
