"""A file that changes in the middle of a run: nobody trains and is counted, and the run comes to its release."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from dp.accounting import epsilon_rdp
from dp.ledger import Kind
from dp.ledger.entries import LEDGER
from dp.ledger.sides import RunSides
from secagg.errors import SecaggError
from secagg.identity import Identity
from secagg.release import read_envelope
from secagg.release.statement import read_statement
from secagg.signed_log import read_log
from tests.support.hospitals import BOUNDED, Ward, choices_of, settings_for, tabular_spec, training_of
from training.engines.base import Phase
from training.privacy_plan import privacy_plan
from training.simulation_folder import prepare
from training.task import TaskSpec

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
        """Each patient has a follow-up."""
        for patient in range(30):
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
            assert ward.sums == [ROUNDS - 1] * 4
        return files[0]

    return begun


def goes_on(tmp_path):
    return Ward.open(tmp_path / "run")


def stated(ward) -> float:
    return read_statement(read_envelope(ward.coordinator().run()).payload).predicate.privacy.epsilon


def charged_data_sets(ward) -> set[str]:
    home = ward.home(1)
    entries = read_log(home.ledger, Identity.load(home.identity).public_key, LEDGER)
    return {entry.data_set for entry in entries if entry.kind is Kind.CHARGE}


@pytest.mark.parametrize("kind", [Pictures, Names, FewValues])
def test_a_run_to_whose_file_patients_were_added_comes_to_its_release_with_all_of_them(begun, tmp_path, kind):
    begun(kind).come()
    with goes_on(tmp_path) as ward:
        assert stated(ward) == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(ROUNDS), abs=1e-6)
        assert ward.refused == []
        assert len(charged_data_sets(ward)) == 2
        everybody = ward.hospitals[1]._setup.records.patient_count
        assert ward.hospitals[1]._ledger.account.patients(ward.hospitals[1]._budget._data_set) == everybody


@pytest.mark.parametrize("kind", [Pictures, Names, FewValues])
def test_a_run_whose_file_has_not_changed_stays_one_data_set_and_leaves_nobody_out(begun, tmp_path, kind):
    begun(kind)
    with goes_on(tmp_path) as ward:
        stated(ward)
        assert ward.refused == []
        assert len(charged_data_sets(ward)) == 1


@pytest.mark.parametrize("kind", [Pictures, Names])
def test_who_would_change_sides_is_left_out_and_the_run_comes_to_a_release_that_is_true(begun, tmp_path, kind):
    begun(kind).change()
    with goes_on(tmp_path) as ward:
        data_set = ward.hospitals[1]._budget._data_set
    with goes_on(tmp_path) as ward:
        hospital = ward.hospitals[1]
        assert ward.refused == [("h1", "patients-left-out")]
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
    monkeypatch.setattr(RunSides, "moved", lambda *_: frozenset())
    with goes_on(tmp_path) as ward:
        ward.stop_before(Phase.CONCLUDE, 0)
        plan = privacy_plan(ward.charter.charter)
        truth = epsilon_rdp([*plan.training_events(ROUNDS - 1), *plan.metric_events(1)], plan.delta)
        assert ward.hospitals[1].epsilon >= truth > 1.2 * plan.epsilon_after(ROUNDS)
        with pytest.raises(SecaggError):
            ward.coordinator().run()
        assert ("h1", "understated-rounds") in ward.refused
        # And one that adds up as if nobody had been on both sides signs too small an epsilon.
        monkeypatch.setattr(RunSides, "are_one_each", True)
        assert stated(ward) < truth


def test_where_no_counts_are_released_nobody_is_left_out(begun, tmp_path):
    begun(Names, metrics="none").change()
    with goes_on(tmp_path) as ward:
        assert stated(ward) == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(ROUNDS), abs=1e-6)
        assert ward.refused == []


def test_where_sides_were_lost_and_the_file_has_changed_the_hospital_says_so_and_signs_nothing_false(begun, tmp_path):
    begun(Names).come()
    with goes_on(tmp_path) as ward:
        ward.home(1).sides(ward.charter.digest).unlink()
    with goes_on(tmp_path) as ward:
        assert ward.refused == [("h1", "sides-unknown")]
        with pytest.raises(SecaggError):
            ward.coordinator().run()
        assert ("h1", "understated-rounds") in ward.refused
