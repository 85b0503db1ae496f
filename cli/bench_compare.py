"""`secagg bench compare`: is this run as fast as that one?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from benchmarks.sweep.comparing import LEAST_SECONDS, TOLERANCE, Comparison, FigureRatio, Ratio, compare_figures
from benchmarks.sweep.comparing import compare as compared
from benchmarks.sweep.folder import read_run
from benchmarks.sweep.targets import read_figures
from benchmarks.sweep.written import digits
from cli.output import json_option, print_json
from cli.paths import PLACE
from secagg.errors import SecaggError


@click.command()
@click.argument("first", type=PLACE)
@click.argument("second", type=PLACE)
@json_option
@click.pass_context
def compare(context: click.Context, first: Path, second: Path, as_json: bool) -> None:
    """Compare the CPU times of the runs in the folders FIRST and SECOND, case by case, and what single operations took.

    A ratio is SECOND's time over FIRST's, each in yardsticks: fixed work that was timed beside it, since a machine that
    others use is not as fast at all times. It is one of seconds where a step takes more than two of them, or a run is
    of an earlier version. Those that are off by more than 15 % either way are marked, and cases that
    send other numbers of bytes are named. What takes less than a millisecond in both is left out. Of the figures that
    `make bench` finds of single operations, those that are ratios and have a target are compared likewise. Exit code 1
    if a ratio is off by more than 15 % or there is none, 2 if a folder holds no run or the runs have no case in common.

    \b
    Examples:
      secagg bench compare runs/bench runs/again
      secagg bench compare runs/before runs/after --json
    """
    figures = compare_figures(read_figures(first), read_figures(second))
    found = compared(read_run(first), read_run(second), figures)
    if as_json:
        print_json(found)
    else:
        for line in _lines(found):
            click.echo(line)
        _say(found)
    off = found.exceeding or found.figures_exceeding
    context.exit(SecaggError.exit_code if off or not found.ratios else 0)


def _lines(found: Comparison) -> Iterator[str]:
    """A heading for each case, and a line for each of its times; then one for each figure of a single operation."""
    for case, ratios in groupby(found.ratios, key=lambda one: one.case):
        yield case
        for one in ratios:
            times = f"{1e3 * one.first:10.2f} ms {1e3 * one.second:10.2f} ms   {one.ratio:.2f} in {one.unit}"
            yield f"  {one.phase + ', ' + one.party:<22}{times}{_verdict(one)}"
    if found.figures:
        yield "single operations, ratios with a target"
    for figure in found.figures:
        values = f"{digits(figure.first):>8} {digits(figure.second):>8}   {figure.ratio:.2f}"
        yield f"  {values}{_verdict(figure)}   {figure.what}"


def _verdict(one: Ratio | FigureRatio) -> str:
    return "" if one.within else f"  beyond {100 * TOLERANCE:g} %"


def _say(found: Comparison) -> None:
    for difference in found.environment:
        click.echo(f"The runs differ: {difference}.")
    if found.environment and any(one.unit == "yardsticks" for one in found.ratios):
        click.echo("Where a machine or a library is faster, a yardstick is shorter as well: look at the seconds too.")
    for name in found.bytes_changed:
        click.echo(f"The number of bytes sent differs: {name}.")
    for name in found.turns_changed:
        click.echo(f"The number of turns differs, and in seconds the best of more is shorter: {name}.")
    for which, names in (("first", found.only_first), ("second", found.only_second)):
        if names:
            click.echo(f"Only in the {which}: {', '.join(names)}.")
    count, beyond = len(found.ratios), len(found.exceeding)
    least = f"{1e3 * LEAST_SECONDS:g} ms or more"
    if not count:
        click.echo(f"Nothing was compared: no time is {least}.")
    elif beyond:
        click.echo(f"No: {beyond} of {count} times of {least} differ by more than {100 * TOLERANCE:g} %{_unit(found)}.")
    else:
        click.echo(f"Yes: all {count} times of {least} agree within {100 * TOLERANCE:g} %{_unit(found)}.")
    if found.figures:
        beyond, of = len(found.figures_exceeding), f"{len(found.figures)} ratios of single operations"
        more = f"differ by more than {100 * TOLERANCE:g} %"
        click.echo(f"No: {beyond} of {of} {more}." if beyond else f"Yes: all {of} agree within {100 * TOLERANCE:g} %.")


def _unit(found: Comparison) -> str:
    """In what all were compared; nothing where it is not the same for all: it stands in every line."""
    units = {one.unit for one in found.ratios}
    return f", in {units.pop()}" if len(units) == 1 else ""
