"""The cells that are done, on disk, so that an interrupted study goes on where it was; and what they were made with.

Knows files. Cells of other recipes, versions or machines are refused: a table would not say which is which.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.sweep.environment import processor
from benchmarks.utility.study import Cell, Mode, Recipe, Study
from secagg.errors import InputError
from secagg.files import write_atomically
from secagg.json_documents import MALFORMED, json_for_people

CELLS_FILE: Final = "cells.jsonl"
MADE_FILE: Final = "made-with.json"
_PACKAGES: Final = ("secagg", "torch", "opacus", "dp-accounting", "numpy", "randomgen", "scikit-learn")


class MadeWith(msgspec.Struct, frozen=True):
    """The machine and the versions that cells were made with."""

    processor: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> MadeWith:
        """Of this process."""
        return cls(
            processor=processor(),
            cores=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            packages={name: version(name) for name in _PACKAGES},
        )

    def sentence(self) -> str:
        """For a reader of the tables."""
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return f"{self.processor}, {self.cores} cores, {self.system}; Python {self.python}, {packages}."


class Kept:
    """The cells in a folder: one line each in a file that is only ever added to.

    Raises:
        InputError: ``other-versions``, ``other-recipe``, ``damaged-cells``.
    """

    def __init__(self, folder: Path, studies: Iterable[Study]) -> None:
        self._path = folder / CELLS_FILE
        self.made_with = _same_as_before(folder)
        self.cells = list(_read(self._path))
        known = {study.name: study for study in studies}
        for cell in self.cells:
            if cell.study in known:
                _require_recipe(cell, known[cell.study].recipe(cell.mode, cell.epsilon), folder)

    def has(self, study: str, mode: Mode, epsilon: float | None, seed: int) -> bool:
        """Whether this one is done."""
        return any(cell.key == (study, mode, epsilon, seed) for cell in self.cells)

    def of(self, study: Study) -> Sequence[Cell]:
        """Those of one study."""
        return [cell for cell in self.cells if cell.study == study.name]

    def add(self, cell: Cell) -> None:
        """Keep one more."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(cell) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.cells.append(cell)


def _read(path: Path) -> Iterable[Cell]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            yield msgspec.json.decode(line, type=Cell)
        except MALFORMED as error:
            raise InputError(
                "damaged-cells",
                f"{path}, line {number}, is no cell: {error}.",
                culprit=str(path),
                remedy="Remove the line; its cell is made anew.",
            ) from error


def _same_as_before(folder: Path) -> MadeWith:
    here, path = MadeWith.here(), folder / MADE_FILE
    if path.exists():
        before = _made_with(path)
        if before != here:
            raise InputError(
                "other-versions",
                f"The cells in {folder} were made with: {before.sentence()} Here is: {here.sentence()}",
                culprit=str(path),
                remedy="Choose another folder with --out.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json_for_people(here))
    return here


def _made_with(path: Path) -> MadeWith:
    try:
        return msgspec.json.decode(path.read_bytes(), type=MadeWith)
    except MALFORMED as error:
        raise InputError(
            "damaged-cells",
            f"{path} does not say what the cells beside it were made with: {error}.",
            culprit=str(path),
            remedy="Put a copy of it back, or choose another folder with --out.",
        ) from error


def _require_recipe(cell: Cell, recipe: Recipe | None, folder: Path) -> None:
    if cell.recipe != recipe:
        raise InputError(
            "other-recipe",
            f"In {folder}, {cell.study}, {cell.mode}, was made with {cell.recipe}; now its recipe is {recipe}.",
            culprit=cell.study,
            remedy="Choose another folder with --out, or remove these cells.",
        )
