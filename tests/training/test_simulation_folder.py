"""A run's folder is laid out from its settings, and tells no more of the patients than it has to."""

from __future__ import annotations

import pytest

from secagg.charter.folder import read_verified
from tests.support.hospitals import BOUNDED, choices_of, settings_for, tabular_spec, write_tables
from training.choices import rounded_batch
from training.simulation_folder import prepare


@pytest.fixture
def batch_size(tmp_path):
    """The batch size in the charter of three hospitals with so many training patients, all of whom are in each step."""
    tables = write_tables(tmp_path / "data", 3, rows=40)
    spec = tabular_spec(test_fraction=0.0, **BOUNDED)

    def batch_size(patients, **given):
        lines = tables[-1].read_text().splitlines(keepends=True)
        others = sum(len(table.read_text().splitlines()) - 1 for table in tables[:-1])
        tables[-1].write_text("".join(lines[: 1 + patients - others]))
        choices = choices_of(privacy="distributed", epsilon=50.0, sampling_rate=1.0, **given)
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        prepare(folder, settings_for(tables, choices, spec))
        return read_verified(folder / "charter").charter.training.batch_size

    return batch_size


def test_a_batch_size_that_simulate_computes_is_the_same_with_one_patient_more(batch_size):
    assert batch_size(132) == batch_size(131) == 130


def test_one_that_was_given_is_kept(batch_size):
    assert batch_size(132, expected_batch=131) == 131


@pytest.mark.parametrize(
    ("expected", "batch"), [(0.2, 1), (1.4, 1), (24.3, 24), (99.4, 99), (132, 130), (104.9, 100), (47_080, 47_000)]
)
def test_a_batch_size_is_rounded_to_two_digits(expected, batch):
    assert rounded_batch(expected) == batch


def test_from_a_hundred_on_a_step_is_no_more_than_a_twentieth_longer_or_shorter():
    assert max(abs(expected / rounded_batch(expected) - 1) for expected in range(100, 10_001)) < 0.0501
