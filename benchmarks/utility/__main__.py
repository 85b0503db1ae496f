"""Utility beside cost: how good a model is at an epsilon, for everybody together, one curator, and each hospital alone.

\b
    python -m benchmarks.utility --out runs/utility                              # everything: hours
    python -m benchmarks.utility --out runs/utility --study heart --epsilon 3    # half a minute
    python -m benchmarks.utility --out runs/utility --show                       # tables and plots of what is there

Every cell is trained and measured anew. `distributed`, `local` and `federated` run the whole protocol, with every
hospital's keys, latch and ledger. What is done is kept, so that an interrupted study goes on where it was.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from rich.console import Console

from benchmarks.utility.cells import Kept
from benchmarks.utility.ground import Ground
from benchmarks.utility.reports import write_reports
from benchmarks.utility.studies import STUDIES, named, shortened
from benchmarks.utility.study import EPSILONS, MODES, Mode, Recipe, Study
from benchmarks.utility.training import trained
from secagg.errors import SecaggError


class Epsilon(click.ParamType):  # type: ignore[type-arg]  # Generic only in newer releases.
    """A positive number, or "none"."""

    name = "epsilon"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """None is for training without privacy."""
        if value is None or value == "none":
            return None
        try:
            number = float(str(value))
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is neither a positive number nor none.", param, ctx)
        return number


@dataclass(frozen=True)
class Wanted:
    """One cell that is to be there."""

    study: Study
    mode: Mode
    epsilon: float | None
    seed: int
    recipe: Recipe

    def __str__(self) -> str:
        epsilon = "without privacy" if self.epsilon is None else f"epsilon {self.epsilon:g}"
        return f"{self.study.name}, {self.mode}, {epsilon}, seed {self.seed}"


def wanted(
    studies: Sequence[Study], modes: Sequence[Mode], epsilons: Sequence[float | None], seeds: Sequence[int]
) -> Iterator[Wanted]:
    """All cells of these that a recipe exists for, each once; of no seeds, the study's own."""
    for study in studies:
        for epsilon in dict.fromkeys(epsilons):
            for seed in dict.fromkeys(seeds or range(study.seeds)):
                for mode in dict.fromkeys(modes):
                    if recipe := study.recipe(mode, epsilon):
                        yield Wanted(study, mode, epsilon, seed, recipe)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of public data; SECAGG_DATA if not given.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--study", "names", multiple=True, type=click.Choice([study.name for study in STUDIES]))
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES))
@click.option("--epsilon", "epsilons", multiple=True, type=Epsilon(), help='A number, or "none".')
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(0))
@click.option("--steps", type=click.IntRange(1), help="Of the optimizer at most; only to try the command.")
@click.option("--show", is_flag=True, help="Train nothing; write tables and plots of the cells that are there.")
def utility(
    data: Path | None,
    out: Path,
    names: tuple[str, ...],
    modes: tuple[Mode, ...],
    epsilons: tuple[float | None, ...],
    seeds: tuple[int, ...],
    steps: int | None,
    show: bool,
) -> None:
    torch.set_num_threads(1)
    studies = [named(name) for name in dict.fromkeys(names)] or list(STUDIES)
    studies = [shortened(study, steps) for study in studies] if steps else studies
    kept, console = Kept(out, studies), Console(soft_wrap=True, emoji=False)
    cells = list(wanted(studies, modes or MODES, epsilons or (*EPSILONS, None), seeds))
    missing = [cell for cell in cells if not kept.has(cell.study.name, cell.mode, cell.epsilon, cell.seed)]
    if not show:
        train(missing, kept, data or Path(os.environ.get("SECAGG_DATA", "../shared/data")), out, console)
        missing = []
    for path in write_reports(studies, kept, out):
        console.print(str(path), markup=False)
    for cell in missing:
        console.print(f"Missing: {cell}", markup=False)


def train(missing: Sequence[Wanted], kept: Kept, data: Path, out: Path, console: Console) -> None:
    """Make the cells that are missing, and keep each as soon as it is there."""
    place, ground = None, None
    for number, cell in enumerate(missing, 1):
        if place != (cell.study.name, cell.seed) or ground is None:
            place, ground = (cell.study.name, cell.seed), Ground(cell.study, cell.study.places(data, out, cell.seed))
        console.print(f"[{number}/{len(missing)}] {cell}", markup=False)
        with tempfile.TemporaryDirectory(dir=out, prefix="run-") as folder:
            kept.add(trained(ground, cell.mode, cell.epsilon, cell.seed, cell.recipe, Path(folder)))


if __name__ == "__main__":
    try:
        utility()
    except SecaggError as error:
        print(f"Error: {error.message} {error.remedy or ''} [{error.reason}]", file=sys.stderr)
        sys.exit(2)
