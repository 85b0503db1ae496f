"""Who is in a data set: digests of its patients in a file that is named by its content, and who is in several.

Knows digests and files. Knows nothing of records, costs or keys.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final, Self

from secagg.errors import TamperingError
from secagg.files import PRIVATE, read_bounded, unreadable, write_atomically

DIGEST_SIZE: Final = 16
_START: Final = b"secagg patients 1\n"
_COUNT_SIZE: Final = 4
_LARGEST_FILE: Final = 1 << 30
_NAME: Final = re.compile(r"[0-9a-f]{64}\.bin")

Group = frozenset[str]
"""Data sets that a patient is in."""


@dataclass(frozen=True)
class PatientList:
    """The patients of one data set, each with the digests of 16 bytes that it is recognised by; all in order."""

    patients: tuple[tuple[bytes, ...], ...]

    @classmethod
    def of(cls, patients: Iterable[Collection[bytes]]) -> Self:
        """In whatever order they come."""
        return cls(tuple(sorted(tuple(sorted(digests)) for digests in patients)))

    @cached_property
    def data_set(self) -> str:
        """What the ledger calls the data set: SHA-256 of the file, hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """The file: for each patient the number of digests, 32 bits, most significant byte first, and the digests."""
        entries = (len(digests).to_bytes(_COUNT_SIZE, "big") + b"".join(digests) for digests in self.patients)
        return _START + b"".join(entries)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """What `encode` made.

        Raises:
            ValueError: if it is something else.
        """
        patients, place = [], len(_START)
        if not data.startswith(_START):
            raise ValueError("not a list of patients")
        while place < len(data):
            start = place + _COUNT_SIZE
            place = start + DIGEST_SIZE * int.from_bytes(data[place:start], "big")
            if not start < place <= len(data):
                raise ValueError("not a list of patients")
            patients.append(tuple(data[at : at + DIGEST_SIZE] for at in range(start, place, DIGEST_SIZE)))
        return cls(tuple(patients))


def keep_patients(folder: Path, patients: PatientList) -> None:
    """Write the list, durably, unless it is there.

    Raises:
        InputError: ``unwritable``.
        TamperingError: ``patients-altered``.
    """
    path = _file(folder, patients.data_set)
    if path.exists():
        read_patients(folder, patients.data_set)
    else:
        write_atomically(path, patients.encode(), PRIVATE)


def read_patients(folder: Path, data_set: str) -> PatientList | None:
    """The patients of a data set; None if there is no list of them.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``patients-altered``, if the file is not what its name says.
    """
    path = _file(folder, data_set)
    if not path.exists():
        return None
    data = read_bounded(path, _LARGEST_FILE)
    try:
        if hashlib.sha256(data).hexdigest() != data_set:
            raise ValueError("its hash is another")
        return PatientList.decode(data)
    except ValueError as error:
        raise TamperingError(
            "patients-altered",
            f"{path} is not the list of patients that its name says: {error}.",
            culprit=str(path),
            remedy="Put any copy of that file back, or remove it: data set and all others then count as one.",
        ) from error


def read_lists(folder: Path) -> Mapping[str, PatientList]:
    """All lists in a folder, by data set: also of data sets from which nothing has been spent.

    Raises:
        InputError: ``unreadable``.
        TamperingError: ``patients-altered``.
    """
    try:
        names = sorted(path.stem for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(folder, error) from error
    found = ((name, read_patients(folder, name)) for name in names)
    return {name: patients for name, patients in found if patients is not None}


def groups_of(lists: Mapping[str, PatientList]) -> Mapping[str, Mapping[Group, int]]:
    """For each data set, which data sets its patients are in, and how many patients are in just these.

    Two entries that share a digest are one patient, and so are two that share one with a third.
    """
    # Entries by number, over all lists: a forest in which all of one patient have one root.
    above: list[int] = []
    first: dict[bytes, int] = {}

    def root(entry: int) -> int:
        while above[entry] != entry:
            above[entry] = entry = above[above[entry]]
        return entry

    for patients in lists.values():
        for entry, digests in enumerate(patients.patients, len(above)):
            above.append(entry)
            for digest in digests:
                other = first.setdefault(digest, entry)
                if other != entry:
                    above[root(entry)] = root(other)
    roots = [root(entry) for entry in range(len(above))]
    ends = accumulate((len(patients.patients) for patients in lists.values()), initial=0)
    own = {data_set: roots[start:end] for data_set, (start, end) in zip(lists, pairwise(ends), strict=True)}
    # A bit for each list: among a million patients there are few groups.
    found_in = [0] * len(above)
    for place, found in enumerate(own.values()):
        for one in found:
            found_in[one] |= 1 << place
    counts = {data_set: Counter(found_in[one] for one in found) for data_set, found in own.items()}
    return {
        data_set: {_named(bits, lists): count for bits, count in counted.items()}
        for data_set, counted in counts.items()
    }


def _named(bits: int, lists: Iterable[str]) -> Group:
    return frozenset(data_set for place, data_set in enumerate(lists) if bits >> place & 1)


def _file(folder: Path, data_set: str) -> Path:
    return folder / f"{data_set}.bin"
