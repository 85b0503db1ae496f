"""All files that a run's folder is written out to: what others read, and what people look at."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.sweep.folder import Run
from benchmarks.sweep.markup import comma_separated, latex, markdown
from benchmarks.sweep.pytest_json import results_json
from benchmarks.sweep.tables import Table, case_tables, profile_table, target_table
from benchmarks.sweep.targets import read_figures
from cli.bench_plot import write_plots
from secagg.files import write_atomically


def tables_of(folder: Path, run: Run) -> list[Table]:
    """Those of all cases, then the targets and profiles, where the folder holds any.

    Raises:
        InputError: ``malformed-targets``, ``unreadable``.
    """
    figures = read_figures(folder)
    tables = [*case_tables(run), target_table(figures), profile_table(figures)]
    return [table for table in tables if table.rows]


def write_out(folder: Path, run: Run) -> list[Path]:
    """Write results.json (pytest-benchmark's), results.csv, results.md, results.tex and plots; what is there goes.

    Raises:
        InputError: ``malformed-targets``, ``unreadable``, ``unwritable``.
    """
    tables = tables_of(folder, run)
    contents = {
        "results.json": results_json(run, datetime.now(UTC)),
        "results.csv": comma_separated(run).encode(),
        "results.md": markdown(tables).encode(),
        "results.tex": latex(tables).encode(),
    }
    for name, data in contents.items():
        write_atomically(folder / name, data)
    return [*(folder / name for name in contents), *write_plots(folder / "plots", run)]
