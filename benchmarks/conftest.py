"""One table at the end: what was measured, beside what it should be. Nothing is asserted about time.

The targets are for the full sizes: in short form they are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from benchmarks.sizes import SHORT

Report = Callable[..., None]


@dataclass(frozen=True)
class Figure:
    """A measured figure; ``target`` is a limit in the same unit, above it or below it."""

    what: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def line(self) -> str:
        shown = f"{self.what:<64}{self.value:>10.2f} {self.unit:<6}"
        if self.at_least is not None:
            return f"{shown} target >= {self.at_least:<6g} {'met' if self.value >= self.at_least else 'NOT MET'}"
        if self.at_most is not None:
            return f"{shown} target <= {self.at_most:<6g} {'met' if self.value <= self.at_most else 'NOT MET'}"
        return shown


FIGURES = pytest.StashKey[list[Figure]]()


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
    if figures:
        terminalreporter.section("figures, short form: no targets" if SHORT else "figures")
        for figure in figures:
            terminalreporter.write_line(figure.line())
