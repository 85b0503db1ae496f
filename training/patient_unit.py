"""What one patient is to a charter's task: whom epsilon is promised to, and what whoever signs has to know.

Knows the task's settings and no records. Whether a hospital's archive of images names patients is not in the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secagg.charter import Charter
from secagg.errors import InputError
from training.tasks.spec import IMAGES, TaskSpec


@dataclass(frozen=True)
class PatientUnit:
    """What is sampled, clipped, kept back and charged as one.

    Attributes:
        one, many: what to call it: "for each row", "on rows that ...".
        whole: all that a promise to one covers: "one row at the hospital".
        told: the end of the sentence "A patient is ...".
        premise: what has to be so for the promise to be one to a person.
    """

    one: str
    many: str
    whole: str
    told: str
    premise: str


_ROWS: Final = PatientUnit(
    one="row",
    many="rows",
    whole="one row at the hospital",
    told="each row: the task names no patient column",
    premise="Each row is another person's: the task names no patient column. Of somebody with several rows these "
    "figures hold for each row, and together they may cost a multiple.",
)
_PICTURES: Final = PatientUnit(
    one="picture (patient, where an archive names patients)",
    many="pictures (patients, where an archive names them)",
    whole="one picture at the hospital (where its archive names patients, one patient with all of the patient's "
    "pictures there)",
    told="each picture; where a hospital's archive names patients, all of its pictures with one name",
    premise="Each picture is another person's, or the archive that holds it names patients and tells them apart. Of "
    "somebody with several pictures and no name these figures hold for each, and together they may cost a multiple.",
)
_BY_CODE: Final = PatientUnit(
    one="patient (as the task's own code counts them)",
    many="patients (as the task's own code counts them)",
    whole="one patient (as the task's own code counts them) with all of the patient's records at the hospital",
    told="whoever the task's own code counts as one",
    premise="The task's own code really tells patients apart.",
)
# A charter that nobody can train under: whoever would, is told why.
_UNKNOWN: Final = PatientUnit(
    one="patient",
    many="patients",
    whole="one patient with all of the patient's records at the hospital",
    told="not known: the task cannot be used",
    premise="The task tells patients apart.",
)


def patient_unit(charter: Charter) -> PatientUnit:
    """What the charter's task counts as one patient."""
    try:
        spec = TaskSpec.from_settings(charter.task.kind, charter.task.settings_json())
    except InputError:
        return _UNKNOWN
    if spec.is_custom:
        return _BY_CODE
    if spec.kind == IMAGES:
        return _PICTURES
    return _ROWS if spec.data.patient is None else _named_in(spec.data.patient)


def _named_in(column: str) -> PatientUnit:
    return PatientUnit(
        one="patient",
        many="patients",
        whole="one patient with all of the patient's rows at the hospital",
        told=f"all rows at a hospital with one {column!r}",
        premise=f"The column {column!r} really tells patients apart.",
    )
