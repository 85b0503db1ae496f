"""A file that changes in the middle of a run: nobody trains and is counted, and the run comes to its release."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from dp.accounting import epsilon_rdp
from dp.ledger import Account, Kind
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER
from secagg.errors import SecaggError
from secagg.identity import Identity
from secagg.labels import digest
from secagg.release import read_envelope
from secagg.release.statement import read_statement
from secagg.signed_log import read_log
from tests.support.hospitals import BOUNDED, Ward, choices_of, settings_for, tabular_spec, training_of
from training.engines.base import Phase
from training.privacy_plan import privacy_plan
from training.records import Records, number_patients
from training.simulation_folder import prepare
from training.staying import _digests, _rows_of, everybody
from training.task import TaskSpec

SITE = Identity.from_seed(bytes(32))
ROUNDS = 6
# Counts are released with the last sum alone, which costs as much as all steps do.
COUNTED_LAST = choices_of(
    training_of(rounds=ROUNDS, local_steps=1),
    privacy="local",
    epsilon=8.0,
    sampling_rate=0.5,
    metrics="noisy",
    metrics_every=ROUNDS,
    epoch_rounds=ROUNDS - 1,
)
PICTURES = TaskSpec.from_settings(
    "image-classification",
    msgspec.json.encode(
        {
            "model": {"name": "logistic"},
            "data": {"image_size": 4},
            "evaluation": {"metric": "accuracy", "test_fraction": 0.4},
        }
    ),
)
NAMED = tabular_spec(patient="name", test_fraction=0.4, **BOUNDED)
COARSE = tabular_spec(test_fraction=0.4, **BOUNDED)


class Pictures:
    """An archive of a hospital, with a picture of each of 30 patients; others may be added."""

    spec = PICTURES
    suffix = "npz"

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        self._generator = np.random.default_rng(seed)
        self._images = np.empty((0, 4, 4), np.uint8)
        self._patients: list[int] = []
        for patient in range(30):
            self.add(patient)

    def add(self, patient: int) -> None:
        picture = self._generator.integers(0, 256, (1, 4, 4), np.uint8)
        self._images = np.concatenate([self._images, picture])
        self._patients.append(patient)
        labels = np.array(self._patients) % 2
        np.savez(self._path, images=self._images, labels=labels, patients=np.array(self._patients))

    def come(self) -> None:
        """Five new patients."""
        for patient in range(100, 105):
            self.add(patient)

    def change(self) -> None:
        """Half of the patients have a follow-up."""
        for patient in range(15):
            self.add(patient)


class Names:
    """A table of a hospital with a name for each patient."""

    spec = NAMED
    suffix = "csv"

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        values = np.random.default_rng(seed).normal(0, 1, (30, 2))
        self._rows = [[f"P-{number}", *map(str, row), str(number % 2)] for number, row in enumerate(values)]
        self._write()

    def come(self) -> None:
        """Five new patients, and a visit more of each of the others."""
        self._rows += [[f"N-{number}", str(number / 7), "0.5", "1"] for number in range(5)]
        self._rows += [[name, "0.25", str(number / 100), ill] for number, (name, _, _, ill) in enumerate(self._rows)]
        self._write()

    def change(self) -> None:
        """Other pseudonyms for half of the patients."""
        self._rows = [[name.replace("P", "Q") if int(name[2:]) < 15 else name, *row] for name, *row in self._rows]
        self._write()

    def come_back(self) -> None:
        """As it was before `number_anew`."""
        self._rows = [[f"P-{number}", *row] for number, (_, *row) in enumerate(self._rows[1:])]
        self._write()

    def number_anew(self) -> None:
        """A new patient on top of a table whose names are the numbers of its rows."""
        rows = [["", "0.125", "0.5", "1"], *self._rows]
        self._rows = [[f"P-{number}", *row] for number, (_, *row) in enumerate(rows)]
        self._write()

    def _write(self) -> None:
        lines = [["name", "age", "dose", "ill"], *self._rows]
        self._path.write_text("".join(",".join(line) + "\n" for line in lines))


class FewValues:
    """A table without names, of a few coarse values: by its cells alone many patients are one to the ledger."""

    spec = COARSE
    suffix = "csv"

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        values = np.random.default_rng(seed).integers(0, 3, (30, 2))
        self._lines = ["age,dose,ill", *(f"{age},{dose},{row % 2}" for row, (age, dose) in enumerate(values))]
        self._write()

    def come(self) -> None:
        """A patient more of every kind."""
        self._lines += [f"{age},{dose},{(age + dose) % 2}" for age in range(4) for dose in range(4)]
        self._write()

    def _write(self) -> None:
        self._path.write_text("\n".join(self._lines) + "\n")


class Nightly(Names):
    """A table with names, of two coarse columns."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(path, seed)
        self._generator = np.random.default_rng(seed)
        self._rows = [self._row(number) for number in range(40)]
        self._write()

    def night(self) -> None:
        """Three patients go, and six come."""
        last = int(self._rows[-1][0][2:])
        self._rows = self._rows[3:] + [self._row(last + more) for more in range(1, 7)]
        self._write()

    def _row(self, number: int) -> list[str]:
        return [f"P-{number}", *map(str, self._generator.integers(0, 3, 2)), str(number % 2)]


@pytest.fixture
def begun(tmp_path):
    """Begins a run, of which only the last sum is missing, and closes it; the file of the first hospital."""

    def begun(kind, **choices):
        files = [kind(tmp_path / f"h{number}.{kind.suffix}", number) for number in range(1, 5)]
        prepare(
            tmp_path / "run", settings_for([file._path for file in files], replace(COUNTED_LAST, **choices), kind.spec)
        )
        for policy in (tmp_path / "run").glob("hospitals/*/policy.toml"):
            policy.write_text(policy.read_text().replace("maximum_epsilon = 8.0", "maximum_epsilon = 100.0"))
        with Ward.open(tmp_path / "run") as ward:
            ward.coordinator().run_epoch()
            assert ward.sums == [choices.get("epoch_rounds", ROUNDS - 1)] * 4
        return files[0]

    return begun


def goes_on(tmp_path):
    return Ward.open(tmp_path / "run")


def stated(ward) -> float:
    return read_statement(read_envelope(ward.coordinator().run()).payload).predicate.privacy.epsilon


def sides_of(ward) -> tuple[set[bytes], set[bytes]]:
    """The rows that the first hospital trains on, and those of which it counts."""
    of = ward.hospitals[1]._contributor
    return tuple({row.tobytes() for row in side.features} for side in (of.train, of.validation))


def taking_part(ward) -> int:
    of = ward.hospitals[1]._contributor
    return of.train.patient_count + of.validation.patient_count


def charged_data_sets(ward) -> set[str]:
    home = ward.home(1)
    entries = read_log(home.ledger, Identity.load(home.identity).public_key, LEDGER)
    return {entry.data_set for entry in entries if entry.kind is Kind.CHARGE}


@pytest.mark.parametrize("kind", [Pictures, Names, FewValues])
def test_a_run_to_whose_file_patients_were_added_comes_to_its_release_with_those_it_began_with(begun, tmp_path, kind):
    begun(kind).come()
    with goes_on(tmp_path) as ward:
        assert stated(ward) == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(ROUNDS), abs=1e-6)
        assert (ward.refused, ward.cautions) == ([], [("h1", "patients-left-out")])
        assert len(charged_data_sets(ward)) == 1
        assert taking_part(ward) == 30


def test_nobody_who_gets_the_name_of_another_trains_and_is_counted(begun, tmp_path):
    file = begun(Names)
    with goes_on(tmp_path) as ward:
        before = sides_of(ward)
    file.number_anew()
    with pytest.raises(SecaggError) as caught, goes_on(tmp_path):
        pass
    assert caught.value.reason == "nobody-left"
    file.come_back()
    with goes_on(tmp_path) as ward:
        assert sides_of(ward) == before
        assert stated(ward) == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(ROUNDS), abs=1e-6)


def test_a_table_that_changes_every_night_comes_to_a_release(begun, tmp_path):
    file = begun(Nightly, epoch_rounds=1)
    for sums in range(2, ROUNDS):
        file.night()
        with goes_on(tmp_path) as ward:
            ward.coordinator().run_epoch()
            assert ward.sums == [sums] * 4
            assert taking_part(ward) == 40 - 3 * (sums - 1)
    with goes_on(tmp_path) as ward:
        assert stated(ward) == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(ROUNDS), abs=1e-6)
        assert len(charged_data_sets(ward)) == ROUNDS - 1


@pytest.mark.parametrize(("named", "rows"), [(True, 1), (True, 2), (False, 1), (False, 2)])
def test_one_patient_more_in_the_first_file_moves_at_most_that_one_later(named, rows):
    generator = np.random.default_rng(3)
    first = [coarse(generator, number, rows) for number in range(60)]
    later = [*first[20:], *(coarse(generator, number, rows) for number in range(60, 120))]
    with_all = staying(later, first, named)
    assert with_all
    for one in first:
        others, now = ([who for who in state if who is not one] for state in (first, later))
        assert sum(((staying(now, others, named) - with_all) + (with_all - staying(now, others, named))).values()) <= 1


def test_of_a_named_patient_with_a_row_more_the_rows_of_the_beginning_take_part():
    generator = np.random.default_rng(3)
    first = [coarse(generator, number, 2) for number in range(60)]
    later = [(name, [*rows, (9, 9, 9, 9)]) for name, rows in first]
    assert staying(later, first, named=True) == staying(first, first, named=True)
    assert staying(later, first, named=False) == Counter()


def coarse(generator, number: int, rows: int):
    return f"P-{number}", [tuple(row) for row in generator.integers(0, 2, (rows, 4)).tolist()]


def staying(now, first, named: bool) -> Counter:
    """How many patients there are with which rows, of those who are still there as they were."""
    records, begun_with = (_records(state, named) for state in (now, first))
    rows = _rows_of(records, _digests(records, SITE), everybody(begun_with, SITE).patients)
    return Counter(everybody(records.take(rows), SITE).patients.patients) if rows else Counter()


def _records(state, named: bool) -> Records:
    rows = [(name, row) for name, rows in state for row in rows]
    features = np.array([row for _, row in rows], np.float32)
    names = [digest("patient name", name.encode()) for name, _ in rows]
    cells = [digest("cells", repr(row).encode()) for row in rows]
    joined = b"".join(one + other for one, other in zip(cells, names, strict=True))
    marks = np.frombuffer(joined, np.uint8).reshape(len(rows), 2, 32) if named else None
    patients = number_patients([name for name, _ in rows])
    return Records(features, np.zeros(len(rows), np.int64), patients, tuple("abcd"), "a file", marks)


@pytest.mark.parametrize("kind", [Pictures, Names, FewValues])
def test_a_run_whose_file_has_not_changed_stays_one_data_set_and_leaves_nobody_out(begun, tmp_path, kind):
    begun(kind)
    with goes_on(tmp_path) as ward:
        stated(ward)
        assert (ward.refused, ward.cautions) == ([], [])
        assert len(charged_data_sets(ward)) == 1


@pytest.mark.parametrize("kind", [Pictures, Names])
def test_who_is_not_as_at_the_beginning_is_left_out_and_the_run_comes_to_a_release_that_is_true(begun, tmp_path, kind):
    begun(kind).change()
    with goes_on(tmp_path) as ward:
        data_set = ward.hospitals[1]._budget._data_set
    with goes_on(tmp_path) as ward:
        hospital = ward.hospitals[1]
        assert (ward.refused, ward.cautions) == ([], [("h1", "patients-left-out")])
        account = hospital._ledger.account
        staying = account.patients(hospital._budget._data_set)
        assert 5 < staying < 30
        assert hospital._contributor.train.patient_count + hospital._contributor.validation.patient_count == staying
        assert stated(ward) == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(ROUNDS), abs=1e-6)
        assert data_set in charged_data_sets(ward)


@pytest.mark.parametrize("kind", [Pictures, Names])
def test_control_a_hospital_that_leaves_nobody_out_signs_nothing_that_costs_more_than_it_says(
    begun, tmp_path, monkeypatch, kind
):
    begun(kind).change()
    monkeypatch.setattr("training.hospital.who_stay", lambda setup, identity, _: everybody(setup.records, identity))
    with goes_on(tmp_path) as ward:
        ward.stop_before(Phase.CONCLUDE, 0)
        plan = privacy_plan(ward.charter.charter)
        truth = epsilon_rdp([*plan.training_events(ROUNDS - 1), *plan.metric_events(1)], plan.delta)
        assert ward.hospitals[1].epsilon >= truth > 1.2 * plan.epsilon_after(ROUNDS)
        with pytest.raises(SecaggError):
            ward.coordinator().run()
        assert ("h1", "understated-rounds") in ward.refused
        # And one that adds up as if nobody had been on both sides signs too small an epsilon.
        monkeypatch.setattr(Account, "keeps_its_patients", lambda *_: True)
        assert stated(ward) < truth


def test_where_no_counts_are_released_nobody_is_left_out(begun, tmp_path):
    begun(Names, metrics="none").change()
    with goes_on(tmp_path) as ward:
        assert stated(ward) == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(ROUNDS), abs=1e-6)
        assert (ward.refused, ward.cautions) == ([], [])


def test_where_the_list_of_a_runs_patients_is_missing_it_goes_on_with_the_file_that_it_began_with_alone(
    begun, tmp_path
):
    file = begun(Names)
    with goes_on(tmp_path) as ward:
        (name,) = charged_data_sets(ward)
        path = patients_folder(ward.home(1).ledger) / f"{name}.bin"
    path.unlink()
    file.number_anew()
    with pytest.raises(SecaggError) as caught, goes_on(tmp_path):
        pass
    assert caught.value.reason == "patients-unknown"
    file.come_back()
    with goes_on(tmp_path) as ward:
        stated(ward)
        assert (ward.refused, ward.cautions) == ([], [])
    assert path.exists()
