"""A run's folder: what was measured so far, row by row, and on which machine.

Knows files. A row is on disk before the next one is measured, so that a run that is stopped goes on from there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from benchmarks.sweep.environment import Environment
from benchmarks.sweep.measurement import Limits, Measurement, Row
from secagg.errors import InputError
from secagg.files import lock, read_bounded, unwritable, write_atomically
from secagg.json_documents import MALFORMED, json_for_people

ENVIRONMENT_FILE: Final = "environment.json"
ROWS_FILE: Final = "measurements.jsonl"
_LARGEST: Final = 1 << 28
# What may be there before a run is.
_BEFORE_A_RUN: Final = frozenset({f"{ROWS_FILE}.lock"})
_NEW: Final = "Give another folder."
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Run:
    """What a folder holds."""

    environment: Environment
    rows: tuple[Row, ...]

    @property
    def measurements(self) -> list[Measurement]:
        """Of cases, in the order in which they were taken."""
        return [row for row in self.rows if isinstance(row, Measurement)]

    @property
    def limits(self) -> list[Limits]:
        """Of the machine."""
        return [row for row in self.rows if isinstance(row, Limits)]


class RunWriter:
    """Adds rows to a folder; has its lock as long as it is open. Closes it as a context manager.

    Raises:
        InputError: on construction: ``other-environment`` if the folder was measured elsewhere or with other versions;
            ``not-a-run``, ``state-in-use``, ``unwritable``, or what `read_run` raises.
    """

    def __init__(self, folder: Path, environment: Environment) -> None:
        self._folder, self._environment, self._lock = folder, environment, _locked(folder)
        try:
            self.rows = list(_taken_up(folder, environment))
            self._file = (folder / ROWS_FILE).open("ab")
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, OSError):
                raise unwritable(folder, error) from error
            raise

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        os.close(self._lock)

    def add(self, row: Row, environment: Environment) -> None:
        """Write a row, to the disk.

        Args:
            environment: as it is now that the row was measured.

        Raises:
            InputError: ``other-environment`` if code or versions have changed since the folder was opened, or a
                baseline's since its first row; ``unwritable``.
        """
        differences = [*self._environment.differences(environment), *_by_others(row, self.rows)]
        if differences:
            raise _other_environment(self._folder, differences)
        try:
            self._file.write(msgspec.json.encode(row) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(Path(self._file.name), error) from error
        self.rows.append(row)


def read_run(folder: Path) -> Run:
    """All that is in a folder.

    Raises:
        InputError: ``not-a-run``, ``malformed-run``, ``unreadable``, ``file-too-large``.
    """
    if not (folder / ENVIRONMENT_FILE).exists():
        raise InputError(
            "not-a-run",
            f"{folder} is no folder of `secagg bench run`.",
            culprit=str(folder),
            remedy="Make one with `secagg bench run --out FOLDER`.",
        )
    environment = _decoded(folder / ENVIRONMENT_FILE, read_bounded(folder / ENVIRONMENT_FILE, _LARGEST), Environment)
    path = folder / ROWS_FILE
    lines = read_bounded(path, _LARGEST).split(b"\n") if path.exists() else []
    # The last line is whole only once its end is there.
    # A union is no type to mypy, but one to msgspec.
    rows: type[Row] = Row  # type: ignore[assignment]
    return Run(environment, tuple(_decoded(path, line, rows) for line in lines[:-1]))


def _decoded(path: Path, data: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(data, type=kind)
    except MALFORMED as error:
        raise InputError(
            "malformed-run",
            f"{path} holds what no run writes: {error}.",
            culprit=str(path),
            remedy=f"Measure again. {_NEW}",
        ) from error


def _locked(folder: Path) -> int:
    others = {path.name for path in folder.iterdir()} - _BEFORE_A_RUN if folder.is_dir() else set()
    if others and ENVIRONMENT_FILE not in others:
        raise InputError("not-a-run", f"{folder} holds something else than a run.", culprit=str(folder), remedy=_NEW)
    return lock(folder / ROWS_FILE)


def _taken_up(folder: Path, environment: Environment) -> tuple[Row, ...]:
    if not (folder / ENVIRONMENT_FILE).exists():
        write_atomically(folder / ENVIRONMENT_FILE, json_for_people(environment))
        return ()
    run = read_run(folder)
    differences = run.environment.differences(environment)
    if differences:
        raise _other_environment(folder, differences)
    _cut_half_a_row(folder / ROWS_FILE)
    return run.rows


def _by_others(row: Row, earlier: list[Row]) -> Iterator[str]:
    """A baseline's code is not in the environment: it may be in one of its own."""
    if isinstance(row, Measurement):
        for one in earlier:
            if isinstance(one, Measurement) and one.case.scheme == row.case.scheme and one.by != row.by:
                yield f"{row.case.scheme} was {one.by} and is {row.by}"
                return


def _other_environment(folder: Path, differences: list[str]) -> InputError:
    return InputError(
        "other-environment",
        f"{folder} was begun elsewhere or with other versions: {'; '.join(differences)}. Figures of both would be "
        "taken for one machine's.",
        culprit=str(folder),
        remedy=f"{_NEW} Or put back what has changed, and go on with this one.",
    )


def _cut_half_a_row(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
