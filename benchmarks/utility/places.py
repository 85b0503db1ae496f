"""Where each study's records are: public data in a folder of their own, divided between hospitals.

Knows the data sets' files. Tables that are not divided as hospitals have them are written anew, and never committed.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.utility.study import Places
from cli.demo_data import HOSPITALS, hospital_files
from secagg.errors import InputError
from secagg.files import write_atomically
from training.sites import DataSource

HEART: Final = ("cleveland", "hungarian", "switzerland", "va")
# As FLamby numbers them.
REGIONS: Final = ("northeast", "south", "west", "midwest", "europe", "canada")


def heart(data: Path, _folder: Path, _seed: int) -> Places:
    """UCI Heart Disease: a file for each of the four hospitals, which keep a third of their patients back."""
    files = [data / "uci-heart" / f"processed.{name}.data" for name in HEART]
    return Places(DataSource(paths=_existing(files)))


def breast_cancer(_data: Path, folder: Path, _seed: int) -> Places:
    """Wisconsin breast cancer, dealt out to eight invented hospitals as in the demo; they keep a fifth back."""
    files = [folder / "breast-cancer" / f"{name}.csv" for name in HOSPITALS]
    for file, content in zip(files, hospital_files(), strict=True):
        write_atomically(file, content)
    return Places(DataSource(paths=tuple(map(str, files))))


def tcga_brca(data: Path, folder: Path, _seed: int) -> Places:
    """TCGA-BRCA: six regions, with FLamby's division into training and test patients."""
    source = data / "tcga-brca"
    table, division = _existing([source / "brca.csv", source / "train_test_split.csv"])
    fold_of = {row["pid"]: row["fold2"] for row in _rows(Path(division))}
    parts = defaultdict(list)
    for row in _rows(Path(table)):
        # Eight patients are in no fold: FLamby leaves them out, because nobody knows their region.
        part, _, region = fold_of.get(row.pop("pid"), "none_0").partition("_")
        parts[part, int(region)].append({**row, "died": row.pop("E"), "days": row.pop("T")})
    place = folder / "tcga-brca"
    files = [place / f"{name}.csv" for name in REGIONS]
    for number, file in enumerate(files):
        _write(file, parts["train", number])
    test = place / "test.csv"
    _write(test, [row for number in range(len(REGIONS)) for row in parts["test", number]])
    return Places(DataSource(paths=tuple(map(str, files))), test=str(test))


def breastmnist(data: Path, _folder: Path, seed: int) -> Places:
    """BreastMNIST over five hospitals that differ in how many of their patients are ill."""
    return _archive(data / "breastmnist" / "breastmnist.npz", hospitals=5, seed=seed)


def pneumoniamnist(data: Path, _folder: Path, seed: int) -> Places:
    """PneumoniaMNIST over forty such hospitals."""
    return _archive(data / "pneumoniamnist" / "pneumoniamnist_reassembled.npz", hospitals=40, seed=seed)


def _archive(path: Path, hospitals: int, seed: int) -> Places:
    (archive,) = _existing([path])
    source = DataSource(paths=(f"{archive}::train",), split="dirichlet:0.5", hospitals=hospitals, seed=seed)
    return Places(source, validation=f"{archive}::val", test=f"{archive}::test")


def _existing(files: Sequence[Path]) -> tuple[str, ...]:
    for file in files:
        if not file.is_file():
            raise InputError(
                "no-data",
                f"There is no {file}.",
                culprit=str(file),
                remedy="Set SECAGG_DATA to the folder of public data sets, or choose other studies with --study.",
            )
    return tuple(map(str, files))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, file.getvalue().encode())
