"""`secagg bench`: what protection costs on this machine, beside what people would use instead."""

from __future__ import annotations

import click

from cli.lazy import LazyCommand, LazyGroup


@click.group(cls=LazyGroup)
def bench() -> None:
    """Benchmark each scheme on this machine against plain averaging, NVFlare and Flower.

    \b
    Examples:
      secagg bench run --out runs/bench
      secagg bench run --scheme mask --hospitals 40 --parameters 25000000 --out runs/large
      secagg bench table runs/bench
      secagg bench compare runs/bench runs/again
    """


for _name, _help in (
    ("run", "Measure whole rounds of each scheme, into a folder."),
    ("compare", "Compare the CPU times of two runs, case by case."),
    ("plot", "Draw a run as SVG."),
    ("table", "Print a run's tables as Markdown, LaTeX or CSV."),
):
    bench.add_command(LazyCommand(_name, f"cli.bench_{_name}:{_name}", _help))
