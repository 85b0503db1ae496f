"""`secagg bench plot`: what a round costs against parameters and hospitals, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from benchmarks.sweep.case import Case
from benchmarks.sweep.folder import Run, read_run
from benchmarks.sweep.measurement import Party
from benchmarks.sweep.results import Result, results_of
from cli.chart import Line, Panel, Point, Scale, svg
from cli.output import json_option, print_json
from cli.paths import FOLDER, PLACE
from secagg.errors import InputError
from secagg.files import unwritable, write_atomically

_COLOURS: Final = {
    "plain": "#6b7785",
    "mask": "#1a4e8a",
    "mask-graph": "#3c8dbc",
    "double-lock": "#2f6f4f",
    "bfv": "#7a9a2e",
    "ckks": "#b4530a",
    "flower": "#b00020",
    "nvflare": "#7b3294",
}
_Others = tuple[tuple[str, int | float | str], ...]
# A line has two points or more.
_FEWEST: Final = 2


@click.command()
@click.argument("folder", type=PLACE)
@click.option("--out", type=FOLDER, help="Folder for the drawings; FOLDER/plots if not given.")
@json_option
def plot(folder: Path, out: Path | None, as_json: bool) -> None:
    """Draw the run in FOLDER: CPU time of a round against parameters, hospitals and drop-outs, one SVG each.

    A scheme is drawn where it was measured at two points or more.

    \b
    Examples:
      secagg bench plot runs/full
      secagg bench plot runs/full --out figures
    """
    written = write_plots(out or folder / "plots", read_run(folder))
    if not written:
        raise InputError(
            "nothing-to-plot",
            f"{folder} has no scheme that was measured at two or more numbers of parameters, hospitals or drop-outs.",
            culprit=str(folder),
            remedy="Measure more cases into it: `secagg bench run --hospitals 10 --hospitals 40 --out FOLDER`.",
        )
    if as_json:
        print_json([str(path) for path in written])
        return
    for path in written:
        click.echo(path)


def write_plots(folder: Path, run: Run) -> list[Path]:
    """Draw all that the run has lines for; what is there is replaced.

    Raises:
        InputError: ``unwritable``.
    """
    results = results_of(run)
    if not results:
        return []
    axes: dict[str, tuple[str, Callable[[Case], float]]] = {
        "parameters": ("parameters", lambda case: case.parameters),
        "hospitals": ("hospitals", lambda case: case.hospitals),
        "dropout": ("share of hospitals that drop out", lambda case: case.dropout),
    }
    written = []
    for name, (across, place) in axes.items():
        panels = list(_panels(results, name, across, place))
        if not panels:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
        path = folder / f"{name}.svg"
        write_atomically(path, svg(panels).encode())
        written.append(path)
    return written


def _panels(results: Sequence[Result], name: str, across: str, place: Callable[[Case], float]) -> Iterator[Panel]:
    fixed = _most_measured(results, name)
    chosen = [result for result in results if _others(result.case, name) == fixed]
    for party in ("hospital", "coordinator"):
        lines = list(_lines(chosen, party, place))
        if lines:
            scale: Scale = "linear" if name == "dropout" else "log"
            yield Panel(f"A round at the {party}, {_told(fixed)}", across, "CPU, ms", lines, scale=scale)


def _lines(results: Sequence[Result], party: Party, place: Callable[[Case], float]) -> Iterator[Line]:
    by_scheme: dict[str, list[Point]] = {}
    for result in results:
        cpu = result.cost("round", party).cpu
        if cpu:
            by_scheme.setdefault(result.case.scheme, []).append((float(place(result.case)), 1e3 * cpu))
    for scheme, points in by_scheme.items():
        ordered = sorted(points)
        if len(ordered) >= _FEWEST:
            yield Line(scheme, ordered, _COLOURS[scheme], dots=ordered)


def _most_measured(results: Sequence[Result], axis: str) -> _Others:
    """Of all else the values at which there is most to draw along this axis."""
    places: dict[_Others, set[tuple[str, float]]] = {}
    for result in results:
        case = result.case
        places.setdefault(_others(case, axis), set()).add((case.scheme, getattr(case, axis)))
    return max(places, key=lambda others: len(places[others]))


def _others(case: Case, axis: str) -> _Others:
    fields = {"hospitals": case.hospitals, "parameters": case.parameters, "dropout": case.dropout, "dp": case.dp}
    return tuple((name, value) for name, value in fields.items() if name != axis)


def _told(others: _Others) -> str:
    words = {
        "hospitals": "{} hospitals",
        "parameters": "{:,} parameters",
        "dropout": "{:.0%} drop out",
        "dp": "dp {}",
    }
    return ", ".join(words[name].format(value) for name, value in others if value not in (0.0, "none"))
