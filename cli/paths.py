"""The kinds of path that commands are given, and the option that several of them have."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

import click


class NamedPath(click.Path):
    """A path that is not empty: as a path that would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType.convert`."""
        if value == "":
            self.fail("it is empty, as a variable that is not set: give a path.", param, ctx)
        return super().convert(value, param, ctx)


PLACE: Final = NamedPath(path_type=Path)
FOLDER: Final = NamedPath(path_type=Path, file_okay=False)
FILE: Final = NamedPath(path_type=Path, dir_okay=False)
EXISTING_FOLDER: Final = NamedPath(path_type=Path, file_okay=False, exists=True)
EXISTING_FILE: Final = NamedPath(path_type=Path, dir_okay=False, exists=True)

charter_option = click.option(
    "--charter", "charter_folder", type=FOLDER, required=True, help="Folder of the charter, signed by all."
)


def quoted(path: Path) -> str:
    """A path as it is typed into a shell, for a command that is to be copied."""
    return shlex.quote(str(path))
