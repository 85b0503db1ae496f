"""Whether patients that a simulation tests on are also among those that it trains on: its figures would be too high.

Knows what patients are recognised by: a name where a column has it, else each row's features. Only somebody who has
everybody's records can compare them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg.charter.cautions import Caution
from secagg.errors import InputError
from secagg.labels import digest
from training.comparison import HospitalPatients
from training.hospital_setup import split_patients
from training.records import Records
from training.round_record import some
from training.splitting import Site
from training.task import Task

TRAINED_ON: Final = "test-patients-trained-on"

_MOST_NAMES: Final = 3
_Owners = Mapping[bytes, set[tuple[str, int]]]


@dataclass(frozen=True)
class Overlap:
    """Who is tested on and trained on.

    Attributes:
        patients: how many are tested on; ``found``: how many of them are trained on too, as far as can be told.
        hospitals: whose records they are in.
        by_name: whether a column names patients everywhere, so that nobody else is taken for one.
        rows_differ: whether most patients have rows that no other has, so that rows tell who is who.
    """

    source: str
    patients: int
    found: int
    hospitals: tuple[str, ...]
    by_name: bool
    rows_differ: bool

    @property
    def is_certain(self) -> bool:
        """A few rows may be alike by chance, and names not."""
        return self.found > 0 if self.by_name else self.rows_differ and 2 * self.found > self.patients

    def cautions(self) -> tuple[Caution, ...]:
        """What is to be told where it may be chance."""
        if not self.found:
            return ()
        return (Caution(TRAINED_ON, f"{self._told()} Figures are too high if they are the same people.", _REMEDY),)

    def refusal(self) -> InputError:
        """The same where it is certain."""
        alike = _NAMES_ALIKE if self.by_name else _ROWS_ALIKE
        return InputError(TRAINED_ON, self._told(), culprit=self.source, remedy=f"{_REMEDY} {alike}")

    def _told(self) -> str:
        whose, what = some(self.hospitals, _MOST_NAMES), "names" if self.by_name else "records"
        return (
            f"Of the {self.patients} patients in {self.source}, on whom the model is tested, the {what} of {self.found}"
            f" are also those of patients that it is trained on, at {whose}."
        )


def trained_on(sites: Sequence[Site], task: Task) -> list[HospitalPatients]:
    """Whom each hospital trains on, as the task divides its patients."""
    return [HospitalPatients(site.name, split_patients(site.records, task)[0]) for site in sites]


def overlap(test: Records, hospitals: Sequence[HospitalPatients]) -> Overlap:
    """Compare patients that are tested on with those that hospitals train on.

    A patient without a name is found by one row that is the same in all features, whatever the label.
    """
    by_name = all(_has_names(records) for records in (test, *(hospital.train for hospital in hospitals)))
    owners: dict[bytes, set[tuple[str, int]]] = defaultdict(set)
    for hospital in hospitals:
        for patient, mark in _recognised_by(hospital.train, by_name):
            owners[mark].add((hospital.name, patient))
    found, whose = set(), set()
    for patient, mark in _recognised_by(test, by_name):
        if mark in owners:
            found.add(patient)
            whose |= {name for name, _ in owners[mark]}
    names = tuple(hospital.name for hospital in hospitals if hospital.name in whose)
    return Overlap(test.source, test.patient_count, len(found), names, by_name, _rows_differ(owners))


def require_untrained(test: Records, hospitals: Sequence[HospitalPatients]) -> Overlap:
    """Refuse to test on patients who are surely trained on; who may be by chance is told of.

    Raises:
        InputError: ``test-patients-trained-on``.
    """
    found = overlap(test, hospitals)
    if found.is_certain:
        raise found.refusal()
    return found


def _has_names(records: Records) -> bool:
    return records.marks is not None and records.marks.shape[1] > 1


def _recognised_by(records: Records, by_name: bool) -> Iterator[tuple[int, bytes]]:
    rows = records.marks[:, 1] if by_name and records.marks is not None else records.features
    for patient, row in zip(records.patients.tolist(), rows, strict=True):
        # -0.0 becomes 0.0: the same number has the same bytes.
        yield patient, digest("patient row", (row + np.zeros((), row.dtype)).tobytes())


def _rows_differ(owners: _Owners) -> bool:
    everybody = set().union(*owners.values())
    alike = set().union(*(some_of for some_of in owners.values() if len(some_of) > 1))
    return 2 * len(alike) < len(everybody)


_REMEDY: Final = "Test on patients that no hospital's records hold."
_NAMES_ALIKE: Final = (
    "If they are different people, as where each hospital numbers its own, give them names that differ between files."
)
_ROWS_ALIKE: Final = "If they are different people in a table, name in data.patient a column that tells them apart."
