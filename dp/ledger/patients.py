"""Who is in a data set: digests of its patients in a file that is named by its content, and who is in several.

Knows digests and files. Knows nothing of records, costs or keys.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
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

    @property
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
        while place < len(data):
            start = place + _COUNT_SIZE
            place = start + DIGEST_SIZE * int.from_bytes(data[place:start], "big")
            if place > len(data):
                raise ValueError("not a list of patients")
            patients.append(tuple(data[at : at + DIGEST_SIZE] for at in range(start, place, DIGEST_SIZE)))
        found = cls(tuple(patients))
        if found.encode() != data or () in found.patients:
            raise ValueError("not a list of patients")
        return found


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
    first: dict[bytes, bytes] = {}

    def leader(digest: bytes) -> bytes:
        while first[digest] != digest:
            first[digest] = digest = first[first[digest]]
        return digest

    for patients in lists.values():
        for digests in patients.patients:
            for digest in digests:
                first.setdefault(digest, digest)
                first[leader(digest)] = leader(digests[0])
    members: dict[bytes, set[str]] = {}
    for data_set, patients in lists.items():
        for digests in patients.patients:
            members.setdefault(leader(digests[0]), set()).add(data_set)
    groups = {one: frozenset(data_sets) for one, data_sets in members.items()}
    return {
        data_set: Counter(groups[leader(digests[0])] for digests in patients.patients)
        for data_set, patients in lists.items()
    }


def _file(folder: Path, data_set: str) -> Path:
    return folder / f"{data_set}.bin"
