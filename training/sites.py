"""Which records belong to which hospital, where one person has the data of all: simulations and demonstrations.

Knows the ways to divide data. A real hospital reads its own file and never comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from secagg.charter.names import check_name
from secagg.errors import InputError
from training.prepared_task import PreparedTask
from training.records import Records, require_two_classes
from training.splitting import Site, parse_split, split_by_column, split_records
from training.task import Task
from training.tasks.tabular import TabularTask

_FEWEST_RECORDS = 8


class DataSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the records are and how they are divided.

    Attributes:
        paths: one file or folder a hospital, its stem being the name unless one is given, or a single one; each as
            `parse_place` reads it.
        site_column: the column of a single table that names the hospital.
        split: ``iid`` or ``dirichlet:ALPHA``, of a single file.
        hospitals: how many, with ``split``.
        seed: of the split.
        test: records that no hospital trains on; the hospitals' own held-back patients if not given.
        columns_from: the file that the task's features are the columns of, where the task itself lists none.
    """

    paths: tuple[str, ...]
    site_column: str | None = None
    split: str | None = None
    hospitals: int = 0
    seed: int = 0
    test: str | None = None
    columns_from: str | None = None


def parse_place(text: str) -> tuple[str | None, Path]:
    """Read ``NAME=PATH`` or ``PATH``, which has no name. What holds a slash is no name, but part of a path."""
    name, found, path = text.partition("=")
    return (name, Path(path)) if found and "/" not in name else (None, Path(text))


def read_sites(source: DataSource, task: Task) -> Sequence[Site]:
    """Every hospital's records.

    Raises:
        InputError: if the data cannot be read or divided; the message names the file.
    """
    _, path = parse_place(source.paths[0])
    if source.site_column:
        table_task = task.inner if isinstance(task, PreparedTask) else task
        # One that reads in a way of its own, as the hospitals of a charter will, is not read in another here.
        if not isinstance(table_task, TabularTask) or type(table_task).read is not TabularTask.read:
            raise InputError(
                "not-a-table",
                "Only a table that secagg reads itself can be divided by a site column.",
                culprit=str(path),
                remedy="Give each hospital's records with a --data of their own, or use --split.",
            )
        return _with_two_classes(split_by_column(table_task, path, source.site_column))
    if source.split:
        return _deal_out(source, task.read(path))
    if len(source.paths) > 1 or path.is_dir():
        return _read_each(source, task)
    task.read(path)
    raise InputError(
        "one-hospital",
        f"{path} is the data of one hospital; a consortium needs at least three.",
        culprit=str(path),
        remedy="Give one --data for each hospital, a folder of files, --site-column, or --split with --hospitals.",
    )


def read_test(source: DataSource, task: Task) -> Records | None:
    """The records that no hospital trains on, if there are such: of each patient as many rows as the task says."""
    return _read(source, task, Path(source.test)).limit_rows(task.spec.data.most_rows) if source.test else None


def trained_files(source: DataSource) -> Sequence[tuple[str | None, Path]]:
    """The files that hospitals train on, each with the name of its hospital; None where it is divided among them.

    Raises:
        InputError: ``bad-name``.
    """
    if source.site_column or source.split:
        _, path = parse_place(source.paths[0])
        return [(None, path)]
    return _own_files(source)


def _own_files(source: DataSource) -> list[tuple[str, Path]]:
    given = [parse_place(text) for text in source.paths]
    _, first = given[0]
    if len(given) == 1 and first.is_dir():
        given = [(None, file) for file in sorted(first.iterdir()) if not file.name.startswith(".")]
    return [(_name_of(path) if name is None else name, path) for name, path in given]


def _read(source: DataSource, task: Task, path: Path) -> Records:
    """A file's records. Where the task lists no features, nobody has named a column that is missing."""
    try:
        return task.read(path)
    except InputError as error:
        if error.reason != "missing-column" or source.columns_from is None:
            raise
        raise InputError(
            error.reason,
            f"{error.message} The task lists no features, so that they are the columns of {source.columns_from}.",
            culprit=error.culprit,
            remedy="Name the columns alike in all files, or list in data.features those that all files have.",
        ) from error


def _read_each(source: DataSource, task: Task) -> Sequence[Site]:
    sites = [Site(name, _read(source, task, path)) for name, path in _own_files(source)]
    names = [site.name for site in sites]
    if len(set(names)) != len(names):
        raise InputError(
            "duplicate-site",
            f"Two hospitals would be called {max(names, key=names.count)}.",
            remedy="Name them: --data cleveland=path.",
        )
    return _with_two_classes(sites)


def _with_two_classes(sites: Sequence[Site]) -> Sequence[Site]:
    """Refuse a hospital's own file with one class: nearly always a wrong label column. A drawn split may give it."""
    for site in sites:
        require_two_classes(site.records)
    return sites


def _name_of(path: Path) -> str:
    # processed.cleveland.data is Cleveland's: the last part before the suffix.
    name = path.stem.rsplit(".", 1)[-1]
    try:
        check_name(name, f"the hospital whose records are {path}")
    except InputError as error:
        remedy = f"Name the hospital yourself, with --data NAME=PATH, or rename the file. {error.remedy}"
        raise error.with_remedy(remedy, name) from error
    return name


def _deal_out(source: DataSource, records: Records) -> list[Site]:
    if source.hospitals < 1:
        raise InputError("no-hospitals", "A split needs a number of hospitals.", remedy="Add --hospitals 8.")
    split = parse_split(source.split or "iid")
    parts = split_records(records, split, source.hospitals, source.seed, minimum=_FEWEST_RECORDS)
    width = len(str(len(parts)))
    return [Site(f"hospital-{number:0{width}d}", part) for number, part in enumerate(parts, start=1)]
