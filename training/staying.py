"""Who of a hospital's patients stays in a run, also where its file has changed since the run began.

Knows records, digests and the sides that the run's patients were on. A run's epsilon holds for who is in training or
held back, and never both: who would now be on the other side takes no further part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dp.ledger import Ledger, PatientList
from dp.ledger.sides import Placed, RunSides
from dp.patient_digests import identity_digest, patient_digests
from secagg.errors import InputError
from secagg.identity import Identity
from training.hospital_setup import HospitalSetup, held_back_of
from training.privacy_plan import privacy_plan
from training.records import Records


@dataclass(frozen=True, eq=False)
class Staying:
    """Records, and whom the ledger recognises in them, by digests that nobody can make without the site's key."""

    records: Records
    patients: PatientList


def everybody(records: Records, identity: Identity) -> Staying:
    """All that are in the file."""
    return Staying(records, PatientList.of(_digests(records, _key(identity))))


def who_stay(setup: HospitalSetup, identity: Identity, ledger: Ledger, sides: RunSides) -> Staying:
    """All but those who may have been on the other side in an earlier state of the file; `sides` knows them then.

    Where noisy counts are released. Elsewhere nobody who is held back pays for anything, and all stay.

    Raises:
        InputError: ``unwritable``; ``empty-site`` where nobody is left.
        TamperingError: ``patients-altered``.
    """
    records = setup.records
    found = everybody(records, identity)
    if not privacy_plan(setup.charter.charter).metric_noise_multiplier:
        return found
    # All of them: by what the file of now says, the ledger knows who is left out for one it has met before.
    ledger.enrol(found.patients)
    placed = _placed(setup, identity)
    moved = sides.moved(placed)
    if moved:
        setup.on_refusal(_left_out(len(moved), records))
        stay = [number for number, patient in enumerate(placed) if patient.identity not in moved]
        found = everybody(records.take(records.rows_of(stay)), identity)
    sides.keep(found.patients.data_set, [patient for patient in placed if patient.identity not in moved])
    if not sides.are_known_beside(found.patients.data_set):
        setup.on_refusal(_unknown(records))
    return found


def _digests(records: Records, key: bytes) -> Sequence[Collection[bytes]]:
    return patient_digests(key, records.features, records.patients, records.feature_names, records.marks)


def _placed(setup: HospitalSetup, identity: Identity) -> list[Placed]:
    """In the order of the patients' numbers."""
    key, identities = _key(identity), setup.records.patient_identities()
    sides = held_back_of(identities, setup.task)
    return [
        Placed(identity_digest(key, who), min(known), bool(held_back))
        for who, known, held_back in zip(identities, _digests(setup.records, key), sides, strict=True)
    ]


def _key(identity: Identity) -> bytes:
    return identity.derive_key("patient digests")


def _left_out(count: int, records: Records) -> InputError:
    return InputError(
        "patients-left-out",
        f"{records.source} has changed since this run began. {count} of its {records.patient_count} patients were, or "
        "may have been, trained on and would now be held back for validation, or the other way round. They take no "
        "further part in this run.",
        culprit=records.source,
        remedy="Nothing has to be done. With the file as it was, they take part again.",
    )


def _unknown(records: Records) -> InputError:
    return InputError(
        "sides-unknown",
        "A list of the patients whom this hospital has trained on, or the note of which of them were held back, is "
        f"missing, and {records.source} has changed since this run began. Its cost counts as if patients had been "
        "trained on and then held back, or the other way round: this hospital may have to refuse the release.",
        culprit=records.source,
        remedy="Put back the folder patients/ and the run's sides.json from a copy.",
    )
