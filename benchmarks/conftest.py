"""One table at the end: what was measured, beside what it should be. Nothing is asserted about time.

The targets are for the full sizes: in short form they are left out. With ``--keep=FOLDER`` the figures are kept beside
a run of `secagg bench`, whose tables then hold those that have a target.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.sizes import SHORT
from benchmarks.sweep.targets import Figure, keep_figures

Report = Callable[..., None]

FIGURES = pytest.StashKey[list[Figure]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", type=Path, metavar="FOLDER", help="Keep the figures in a run's folder.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Report:
    """Note a figure for the table at the end."""

    def note(what: str, value: float, unit: str, **target: float) -> None:
        request.config.stash[FIGURES].append(Figure(what, value, unit, **({} if SHORT else target)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if not figures:
        return
    terminalreporter.section("figures, short form: no targets" if SHORT else "figures")
    for figure in figures:
        terminalreporter.write_line(f"{figure.what:<72}{figure.measured:>14}  {figure.target:<16}{figure.verdict}")
    folder = config.getoption("--keep")
    if folder and not SHORT:
        keep_figures(folder, figures)
