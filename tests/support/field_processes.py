"""Which processes run for a site: those whose command line names its folder, whoever started them."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(folder: Path, *modules: str) -> list[int]:
    """Process numbers, of the modules named only if any are."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        arguments = _command_line(entry)
        named = any(_is_within(argument, folder) for argument in arguments)
        if named and (not modules or any(argument.endswith(modules) for argument in arguments)):
            found.append(int(entry.name))
    return found


def _command_line(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _is_within(argument: str, folder: Path) -> bool:
    return argument == str(folder) or argument.startswith(f"{folder}/")
