"""Where records are stored. Knows paths, and nothing of what is in a file."""

from __future__ import annotations

from pathlib import Path


def split_of(path: Path) -> tuple[Path, str]:
    """The file or folder, and the name of the part of it that is meant: of ``archive.npz::train`` the split ``train``.

    The name is empty where all of it is meant.
    """
    name, _, split = path.name.partition("::")
    return (path.with_name(name), split) if name else (path, split)
