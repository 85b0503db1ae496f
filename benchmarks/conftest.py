"""One table at the end: what was measured, beside what it should be. Nothing is asserted about time.

The targets are for the full sizes: in short form they are left out. With ``--keep=FOLDER`` the figures are kept beside
a run of `secagg bench` in the same environment, and its tables are written anew, with those that have a target.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from benchmarks.sizes import SHORT
from benchmarks.sweep.environment import Environment
from benchmarks.sweep.folder import RunWriter, read_run
from benchmarks.sweep.targets import Figure, keep_figures
from cli.bench_files import write_out
from secagg.errors import InputError

Report = Callable[..., None]

FIGURES = pytest.StashKey[list[Figure]]()
NOT_KEPT = pytest.StashKey[InputError]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", type=Path, metavar="FOLDER", help="Keep the figures in a run's folder.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    folder = kept_in(config)
    if folder:
        # That it is of another machine or revision is said now, and not after hours.
        try:
            with RunWriter(folder, Environment.here()):
                pass
        except InputError as error:
            raise pytest.UsageError(f"{error} {error.remedy}") from error


def kept_in(config: pytest.Config) -> Path | None:
    """The run's folder, if figures are to be kept in one."""
    return None if SHORT else config.getoption("--keep")


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
    folder = kept_in(config)
    if folder:
        try:
            keep_figures(folder, figures, Environment.here())
            write_out(folder, read_run(folder))
        except InputError as error:
            # As where code was edited meanwhile. The figures stand above.
            terminalreporter.write_line(f"Not kept: {error.diagnostics()}", red=True)
            config.stash[NOT_KEPT] = error


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Fail where figures were not kept, once all has been told."""
    yield
    if NOT_KEPT in session.config.stash:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
