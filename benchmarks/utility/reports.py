"""Writes what a folder of cells comes to: tables in three formats, and a plot for each study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.utility import tables
from benchmarks.utility.cells import Kept
from benchmarks.utility.plots import plot
from benchmarks.utility.rows import Row, rows
from benchmarks.utility.study import Study
from secagg.files import write_atomically


def write_reports(studies: Sequence[Study], kept: Kept, out: Path) -> Iterator[Path]:
    """Write them into ``out``; gives the path of each."""
    found: list[tuple[Study, list[Row]]] = [
        (study, list(rows(study, cells))) for study in studies if (cells := kept.of(study))
    ]
    texts = {
        "utility.md": "\n".join([*(tables.markdown(study, table) for study, table in found), _made(kept)]),
        "utility.tex": "\n".join(tables.latex(study, table) for study, table in found),
        "utility.csv": tables.as_csv([row for _, table in found for row in table]),
    }
    texts |= {f"utility-{study.name}.svg": drawn for study, _ in found if (drawn := plot(study, kept.of(study)))}
    for name, text in texts.items():
        write_atomically(out / name, text.encode())
        yield out / name


def _made(kept: Kept) -> str:
    return f"Made with: {kept.made_with.sentence()}\n"
