"""The kinds of path that commands are given, and the option that several of them have."""

from __future__ import annotations

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
