"""What privacy costs in accuracy: PneumoniaMNIST at 40 hospitals, `distributed` beside one curator and beside `local`.

    python -m benchmarks.privacy_study --out study          # the whole table: hours
    python -m benchmarks.privacy_study --out study --epsilon 3

Every cell is trained and measured anew, on the archive's validation and test images. What is done is kept, so that an
interrupted study goes on where it was. `distributed` and `local` run the whole protocol, with every hospital's keys,
latch and ledger; `pooled` is DP-SGD on all records at one curator, with the noise of the same epsilon.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Final, Literal

import click
import msgspec
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file

from cli.chart import Line, Panel, svg
from secagg.charter import Encoding, Member, Training
from secagg.charter.model import ServerStep
from secagg.identity import Identity
from training.draft import CharterChoices, draft_charter
from training.evaluation import Metrics, evaluate
from training.model_state import ModelLayout, flatten, load
from training.pooled_steps import PooledSteps
from training.records import Records
from training.simulation import Observer, SimulationSettings, prepare, run
from training.sites import DataSource
from training.task import build_task, load_task_file

Model = npt.NDArray[np.float32]
Mode = Literal["pooled", "distributed", "local"]
MODES: Final[tuple[Mode, ...]] = ("pooled", "distributed", "local")
EPSILONS: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
HOSPITALS: Final = 40
DELTA: Final = 1e-5
TASK: Final = load_task_file(Path(__file__).parent.parent / "docs" / "examples" / "pneumonia.toml")
CPU: Final = torch.device("cpu")
_COLOURS: Final = {"pooled": "#6b7785", "distributed": "#1a4e8a", "local": "#b4530a"}


class Recipe(msgspec.Struct, frozen=True):
    """How a mode trains. ``batch``: patients expected in a step; of all hospitals, or of each under ``local``."""

    rounds: int
    local_steps: int
    batch: int
    learning_rate: float
    clip: float


# Chosen for `pooled` on the validation images, at epsilon 3; `docs/distributed.md` says what else was tried.
RECIPES: Final[dict[Mode, Recipe]] = {
    "pooled": Recipe(rounds=300, local_steps=1, batch=256, learning_rate=1.0, clip=0.5),
    "distributed": Recipe(rounds=300, local_steps=1, batch=256, learning_rate=1.0, clip=0.5),
    "local": Recipe(rounds=60, local_steps=5, batch=6, learning_rate=0.1, clip=1.0),
}


class Cell(msgspec.Struct, frozen=True):
    """One training, measured."""

    mode: Mode
    epsilon: float
    seed: int
    validation: Metrics
    test: Metrics


class Archive:
    """The images of one archive, by split."""

    def __init__(self, path: Path) -> None:
        self.path = path
        task = build_task(TASK)
        self.train, self.validation, self.test = (
            task.read(Path(f"{path}::{split}")) for split in ("train", "val", "test")
        )


def trained(mode: Mode, epsilon: float, seed: int, archive: Archive, folder: Path, steps: int) -> Cell:
    """Train one cell; what it leaves on disk is removed."""
    choices = choices_for(mode, epsilon, archive.train.patient_count, steps)
    if mode == "pooled":
        keys = [Identity.from_seed(number.to_bytes(32, "big")).public_key for number in range(1, HOSPITALS + 1)]
        members = [Member(name=f"h{number}", public_key=key) for number, key in enumerate(keys, 1)]
        charter = draft_charter(choices, members, TASK)
        module = PooledSteps(charter, build_task(TASK), archive.train, choices.expected_batch, CPU).privately()
        model = flatten(module)
    else:
        model = through_the_protocol(choices, seed, archive, folder)
    module = build_task(TASK).build_model()
    load(module, model)
    return Cell(mode, epsilon, seed, measured(module, archive.validation), measured(module, archive.test))


def choices_for(mode: Mode, epsilon: float, patients: int, steps: int) -> CharterChoices:
    """The charter of one cell. A curator's needs no room for noise that is shared out, and none for drop-outs."""
    recipe = RECIPES[mode]
    rounds = max(1, steps // recipe.local_steps)
    shared = mode != "local"
    server = ServerStep(
        optimizer="momentum", learning_rate=recipe.learning_rate, schedule="cosine", warm_up=rounds // 30
    )
    training = Training(
        rounds=rounds,
        local_steps=recipe.local_steps,
        learning_rate=recipe.learning_rate,
        momentum=0.0 if shared else 0.9,
        server=server if shared else ServerStep(),
    )
    everybody = patients if shared else patients / HOSPITALS
    return CharterChoices(
        training=training,
        encoding=Encoding(field_bits=24, max_weight=1024),
        privacy="distributed" if shared else "local",
        epsilon=epsilon,
        delta=DELTA,
        clip_norm=recipe.clip,
        sampling_rate=min(1.0, recipe.batch / everybody),
        expected_batch=recipe.batch if shared else 0,
        epoch_rounds=50,
    )


def through_the_protocol(choices: CharterChoices, seed: int, archive: Archive, folder: Path) -> Model:
    """The model that 40 hospitals make together, as every one of them has it afterwards."""
    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    settings = SimulationSettings(
        task_kind=TASK.kind,
        task_settings=TASK.settings_json().decode(),
        source=DataSource(paths=(f"{archive.path}::train",), split="dirichlet:0.5", hospitals=HOSPITALS, seed=seed),
        choices=choices,
        device="cpu",
        seed=seed,
        compare=False,
    )
    prepare(place, settings)
    run(place, Observer())
    model = released(place)
    shutil.rmtree(place)
    return model


def released(place: Path) -> Model:
    """The parameters of a run's release, float32 (d,)."""
    return ModelLayout.of(build_task(TASK).build_model()).to_vector(load_file(place / "release" / "model.safetensors"))


def measured(module: torch.nn.Module, records: Records) -> Metrics:
    """Accuracy and AUC on these images."""
    return evaluate(build_task(TASK), module, records, CPU)


class Kept:
    """The cells that are done, one line each in a file that is only ever added to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "cells.jsonl"
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        self.cells = [msgspec.json.decode(line, type=Cell) for line in lines if line.strip()]

    def has(self, mode: Mode, epsilon: float, seed: int) -> bool:
        """Whether this one is done."""
        return any((cell.mode, cell.epsilon, cell.seed) == (mode, epsilon, seed) for cell in self.cells)

    def add(self, cell: Cell) -> None:
        """Keep one more."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(cell) + b"\n")
            os.fsync(file.fileno())
        self.cells.append(cell)


def summary(cells: Sequence[Cell]) -> Iterator[tuple[str, ...]]:
    """A row for each epsilon and mode: mean and spread over seeds, in percent and as AUC."""
    for epsilon in sorted({cell.epsilon for cell in cells}):
        for mode in MODES:
            found = [cell for cell in cells if (cell.mode, cell.epsilon) == (mode, epsilon)]
            if found:
                columns = [
                    _spread([100 * (cell.validation.accuracy or 0) for cell in found], 1),
                    _spread([cell.validation.auc or 0 for cell in found], 3),
                    _spread([100 * (cell.test.accuracy or 0) for cell in found], 1),
                    _spread([cell.test.auc or 0 for cell in found], 3),
                ]
                yield f"{epsilon:g}", mode, str(len(found)), *columns


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{fmean(values):.{digits}f} ± {pstdev(values):.{digits}f}"


def plot(cells: Sequence[Cell]) -> str:
    """Accuracy and AUC against epsilon, a line for each mode, a dot for each training; SVG."""
    figures = (
        ("Validation accuracy, %", lambda cell: 100 * (cell.validation.accuracy or 0)),
        ("Test AUC", lambda cell: cell.test.auc or 0),
    )
    panels = []
    for title, value in figures:
        lines = []
        for mode in MODES:
            found = [cell for cell in cells if cell.mode == mode]
            dots = [(cell.epsilon, value(cell)) for cell in found]
            means = [
                (epsilon, fmean(value(cell) for cell in found if cell.epsilon == epsilon))
                for epsilon in sorted({cell.epsilon for cell in found})
            ]
            if means:
                lines.append(Line(mode, means, _COLOURS[mode], dots=dots))
        panels.append(Panel(f"PneumoniaMNIST, {HOSPITALS} hospitals", "epsilon", title, lines, from_zero=False))
    return svg(panels)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="The archive; in SECAGG_DATA if not given.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--epsilon", "epsilons", multiple=True, type=float, default=EPSILONS)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2))
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), default=MODES)
@click.option("--steps", type=click.IntRange(1), default=300, help="Of the optimizer; fewer only to try the command.")
def study(
    data: Path | None,
    out: Path,
    epsilons: tuple[float, ...],
    seeds: tuple[int, ...],
    modes: tuple[Mode, ...],
    steps: int,
) -> None:
    torch.set_num_threads(1)
    usual = Path(os.environ.get("SECAGG_DATA", "../shared/data")) / "pneumoniamnist/pneumoniamnist_reassembled.npz"
    archive, kept, console = Archive(data or usual), Kept(out), Console()
    todo = [(m, e, s) for e in epsilons for s in seeds for m in modes if not kept.has(m, e, s)]
    for number, (mode, epsilon, seed) in enumerate(todo, 1):
        console.print(f"[{number}/{len(todo)}] {mode}, epsilon {epsilon:g}, seed {seed}", markup=False)
        kept.add(trained(mode, epsilon, seed, archive, out, steps))
    table = Table("epsilon", "mode", "runs", "val. %", "val. AUC", "test %", "test AUC")
    for row in summary(kept.cells):
        table.add_row(*row)
    console.print(table)
    (out / "study.svg").write_text(plot(kept.cells))
    console.print(f"The plot: {out / 'study.svg'}")


if __name__ == "__main__":
    study()
