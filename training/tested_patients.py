"""Whether patients that a simulation tests on are also among those that it trains on: its figures would be too high.
And whether two hospitals train on the same ones: they pay at both.

Knows what patients are recognised by: a name where a column has it, and each row's features. Only somebody who has
everybody's records can compare them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final, Literal

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
AT_TWO: Final = "patients-at-two-hospitals"

_MOST_NAMES: Final = 3
_Marks = Literal["names", "records"]


@dataclass(frozen=True)
class Overlap:
    """Who is tested on and trained on.

    Attributes:
        patients: how many are tested on; ``found``: how many of them are trained on too, as far as can be told.
        hospitals: whose records they are in.
        alike: what of them is the same.
        tells_apart: whether at most hospitals most patients have names, or rows, that no other patient has: not where
            each hospital numbers its own from 1.
        is_certain: whether they are surely the same people.
    """

    source: str
    patients: int
    found: int
    hospitals: tuple[str, ...]
    alike: _Marks
    tells_apart: bool
    is_certain: bool = False

    @property
    def is_most(self) -> bool:
        """A few rows may be alike by chance."""
        return self.tells_apart and 2 * self.found > self.patients

    def cautions(self) -> tuple[Caution, ...]:
        """What is to be told where it may be chance."""
        if not self.found:
            return ()
        return (Caution(TRAINED_ON, f"{self._told()} Figures are too high if they are the same people.", _REMEDY),)

    def refusal(self) -> InputError:
        """The same where it is certain."""
        otherwise = _NAMES_ALIKE if self.alike == "names" else _ROWS_ALIKE
        return InputError(TRAINED_ON, self._told(), culprit=self.source, remedy=f"{_REMEDY} {otherwise}")

    def _told(self) -> str:
        whose = some(self.hospitals, _MOST_NAMES)
        return (
            f"Of the {self.patients} patients in {self.source}, on whom the model is tested, the {self.alike} of "
            f"{self.found} are also those of patients that it is trained on, at {whose}."
        )


def trained_on(sites: Sequence[Site], task: Task) -> list[HospitalPatients]:
    """Whom each hospital trains on, as the task divides its patients."""
    return [HospitalPatients(site.name, split_patients(site.records, task)[0]) for site in sites]


def overlap(test: Records, hospitals: Sequence[HospitalPatients], homes: Sequence[str] = ()) -> Overlap:
    """Compare patients that are tested on with those that hospitals train on; with ``homes``, that others train on.

    A patient without a name, or where names tell nobody apart, is found by one row that is the same in all features,
    whatever the label. So are patients with other names, if they are most of them: an extract may have new names.

    Args:
        homes: for each patient that is tested on, the hospital that it is of, if it is of one.
    """
    rows = _compare("records", test, hospitals, homes)
    if not all(_has_names(records) for records in (test, *(hospital.train for hospital in hospitals))):
        return replace(rows, is_certain=rows.is_most)
    names = _compare("names", test, hospitals, homes)
    if not names.tells_apart:
        return names if names.found and not rows.is_most else replace(rows, is_certain=rows.is_most)
    if names.found:
        return replace(names, is_certain=True)
    return rows if rows.is_most else names


def require_untrained(test: Records, hospitals: Sequence[HospitalPatients]) -> None:
    """Refuse to test on patients who are surely trained on.

    Raises:
        InputError: ``test-patients-trained-on``.
    """
    found = overlap(test, hospitals)
    if found.is_certain:
        raise found.refusal()


def of_the_held_back(
    held_back: Records, homes: Sequence[str], hospitals: Sequence[HospitalPatients]
) -> tuple[Caution, ...]:
    """What is to be told where patients whom one hospital holds back may be trained on at another.

    Rows that are alike are nothing to tell of unless most are, and unless rows tell a hospital's own patients apart:
    of a few yes/no answers most people share theirs with somebody.

    Args:
        homes: for each held-back patient, the hospital that holds it back.
    """
    found = overlap(replace(held_back, source="the hospitals' held-back parts"), hospitals, homes)
    if found.alike == "records" and (2 * found.found <= found.patients or not _rows_tell_apart(hospitals)):
        return ()
    return tuple(replace(caution, remedy=_HELD_BACK) for caution in found.cautions())


def at_two_hospitals(hospitals: Sequence[HospitalPatients]) -> tuple[Caution, ...]:
    """What is to be told where most rows that one hospital trains on are another's too, under differential privacy.

    Names are not looked at: each hospital may number its own patients from 1. So patients of whom two hospitals have
    different rows are not found.
    """
    homes: defaultdict[bytes, list[str]] = defaultdict(list)
    rows: Counter[str] = Counter()
    for hospital in hospitals:
        if _rows_tell_apart([hospital]):
            own = {mark for _, mark in _recognised_by("records", hospital.train)}
            rows[hospital.name] = len(own)
            for mark in own:
                homes[mark].append(hospital.name)
    shared = Counter(pair for names in homes.values() for pair in combinations(names, 2))
    alike = [f"{one} and {other}" for (one, other), count in shared.items() if 2 * count > min(rows[one], rows[other])]
    if not alike:
        return ()
    message = (
        f"Two hospitals train on rows that are mostly the same: {some(alike, _MOST_NAMES)}. If they are the same "
        "patients, these pay at both, and epsilon, which is counted at each hospital by itself, is not all they spend."
    )
    return (Caution(AT_TWO, message, _ONE_HOSPITAL),)


def _rows_tell_apart(hospitals: Sequence[HospitalPatients]) -> bool:
    """Whether at most hospitals most patients have rows that nobody else has there; what others have is left out."""
    most = [hospital for hospital in hospitals if _compare("records", hospital.train, [hospital]).tells_apart]
    return 2 * len(most) > len(hospitals)


def _has_names(records: Records) -> bool:
    return records.marks is not None and records.marks.shape[1] > 1


def _compare(marks: _Marks, test: Records, hospitals: Sequence[HospitalPatients], homes: Sequence[str] = ()) -> Overlap:
    tested: dict[bytes, set[int]] = defaultdict(set)
    for patient, mark in _recognised_by(marks, test):
        tested[mark].add(patient)
    owners: dict[bytes, tuple[str, int]] = {}
    trained: dict[bytes, set[str]] = defaultdict(set)
    found, alike, whose = set[int](), set[tuple[str, int]](), set[str]()
    for hospital in hospitals:
        for patient, mark in _recognised_by(marks, hospital.train):
            somebody = (hospital.name, patient)
            owner = owners.setdefault(mark, somebody)
            if owner != somebody:
                alike |= {owner, somebody}
            if mark in tested:
                trained[mark].add(hospital.name)
    for mark, at in trained.items():
        for patient in tested[mark]:
            elsewhere = at - {homes[patient]} if homes else at
            if elsewhere:
                found.add(patient)
                whose |= elsewhere
    names = tuple(hospital.name for hospital in hospitals if hospital.name in whose)
    return Overlap(test.source, test.patient_count, len(found), names, marks, _tells_apart(alike, hospitals))


def _recognised_by(marks: _Marks, records: Records) -> Iterator[tuple[int, bytes]]:
    rows = records.marks[:, 1] if marks == "names" and records.marks is not None else records.features
    for patient, row in zip(records.patients.tolist(), rows, strict=True):
        # -0.0 becomes 0.0: the same number has the same bytes.
        yield patient, digest("patient row", (row + np.zeros((), row.dtype)).tobytes())


def _tells_apart(alike: set[tuple[str, int]], hospitals: Sequence[HospitalPatients]) -> bool:
    # By hospital, not by patient: of numbers from 1, most of a hospital's much larger than the others are its own.
    count = Counter(name for name, _ in alike)
    most = [hospital for hospital in hospitals if 2 * count[hospital.name] < hospital.train.patient_count]
    return 2 * len(most) > len(hospitals)


_REMEDY: Final = "Test on patients that no hospital's records hold."
_ONE_HOSPITAL: Final = (
    "Leave each patient at one hospital; or read in the report what a patient known to two spends, under what the "
    "promise rests on."
)
_HELD_BACK: Final = (
    "Name in data.patient a column that tells patients apart, the same at all hospitals, and set division = "
    '"by-patient": whoever is held back at one of them is so at all.'
)
_NAMES_ALIKE: Final = (
    "If they are different people, as where each hospital numbers its own, give them names that differ between files."
)
_ROWS_ALIKE: Final = "If they are different people in a table, name in data.patient a column that tells them apart."
