"""Who of a hospital's patients takes part in a run, also where its file has changed since the run began.

Knows records, digests and the ledger. A run's epsilon holds for who is in training or held back, and never both. Who
is held back follows from a patient's name or rows: so in a run with noisy counts the patients, and of each the rows,
are those of the data set that it was first charged on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dp.ledger import Ledger, PatientList
from dp.patient_digests import list_of, row_digests
from secagg.charter.cautions import Caution
from secagg.errors import InputError
from secagg.identity import Identity
from training.hospital_setup import HospitalSetup
from training.privacy_plan import privacy_plan
from training.records import Records


@dataclass(frozen=True, eq=False)
class Staying:
    """Records, and whom the ledger recognises in them, by digests that nobody can make without the site's key."""

    records: Records
    patients: PatientList


def everybody(records: Records, identity: Identity) -> Staying:
    """All that are in the file."""
    return Staying(records, list_of(_digests(records, identity), records.patients))


def who_stay(setup: HospitalSetup, identity: Identity, ledger: Ledger) -> Staying:
    """The patients that the run began with, where noisy counts are released; all of the file, where none are.

    Raises:
        InputError: ``patients-unknown`` where the list of them is missing and the file is another; ``nobody-left``.
    """
    records, run = setup.records, setup.charter.digest.hex()
    digests = _digests(records, identity)
    found = Staying(records, list_of(digests, records.patients))
    first = ledger.account.first_charged(run)
    counted = privacy_plan(setup.charter.charter).metric_noise_multiplier
    if not counted or first is None or first == found.patients.data_set:
        return found
    begun_with = ledger.account.patient_list(first)
    if begun_with is None:
        raise _unknown(records)
    rows = _rows_of(records, digests, begun_with)
    if not rows:
        raise _nobody(records)
    chosen = records.take(rows)
    if chosen.patient_count < records.patient_count:
        setup.on_caution(_left_out(chosen, records))
    return Staying(chosen, list_of([digests[row] for row in rows], chosen.patients))


def _rows_of(records: Records, digests: Sequence[Collection[bytes]], begun_with: PatientList) -> list[int]:
    """The rows, in their order, of the patients that a run began with, as they were then."""
    rows_of: dict[int, list[int]] = {}
    for row, patient in enumerate(records.patients.tolist()):
        rows_of.setdefault(patient, []).append(row)
    # Of equal ones no more than there were. So one patient more in the first file moves at most that one.
    left, owners = Counter(begun_with.patients), _owners(records, begun_with)
    chosen: list[int] = []
    for rows in rows_of.values():
        entry = _entry(rows, digests) if owners is None else owners.get(tuple(digests[rows[0]])[-1], ())
        own = set(entry)
        kept = [row for row in rows if own.issuperset(digests[row])]
        if left[entry] and _entry(kept, digests) == entry:
            left[entry] -= 1
            chosen += kept
    return sorted(chosen)


def _owners(records: Records, begun_with: PatientList) -> Mapping[bytes, tuple[bytes, ...]] | None:
    """By the digest of a name, who had it; None where patients have no names.

    Without names a patient who got a row more could be any of several, and who is there besides would decide which.
    """
    if records.marks is None or records.marks.shape[1] == 1:
        return None
    return {digest: entry for entry in begun_with.patients for digest in entry}


def _entry(rows: Sequence[int], digests: Sequence[Collection[bytes]]) -> tuple[bytes, ...]:
    return tuple(sorted({digest for row in rows for digest in digests[row]}))


def _digests(records: Records, identity: Identity) -> list[tuple[bytes, ...]]:
    key = identity.derive_key("patient digests")
    return row_digests(key, records.features, records.feature_names, records.marks)


def _left_out(chosen: Records, records: Records) -> Caution:
    return Caution(
        "patients-left-out",
        f"{records.source} has changed since this run began. {chosen.patient_count} of its {records.patient_count} "
        "patients are those that the run began with, and take part. The others do not: they are new, or their records "
        "have changed.",
        "Nothing has to be done. With the file as it was, all that the run began with take part.",
    )


def _nobody(records: Records) -> InputError:
    return InputError(
        "nobody-left",
        f"{records.source} has changed since this run began, and has none of the patients that it began with.",
        culprit=records.source,
        remedy="Put the file back as it was until the run is over.",
    )


def _unknown(records: Records) -> InputError:
    return InputError(
        "patients-unknown",
        f"{records.source} has changed since this run began, and the list of the patients that it began with is missing"
        ": nobody knows whom the run's epsilon holds for.",
        culprit=records.source,
        remedy="Put the folder patients/ back from a copy, or the file as it was.",
    )
