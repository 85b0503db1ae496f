"""One place that has the records takes the same steps as the consortium."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secagg.charter.folder import read_verified
from secagg.charter.sections import ServerStep
from tests.support.hospitals import PRIVATE_TASK, choices_of, settings_for, training_of, write_tables
from training import comparison
from training.comparison import Comparison, HospitalPatients
from training.devices import resolve_device
from training.draft import task_of
from training.model_state import flatten
from training.simulation_folder import prepare
from training.sites import read_sites


def prepared(folder, sites, choices, sums):
    """The comparison of a run that is prepared in ``folder``, and the patients of its hospitals."""
    settings = settings_for(sites, choices, PRIVATE_TASK)
    prepare(folder, settings)
    charter = read_verified(folder / "charter").charter
    task = task_of(charter)
    found = [HospitalPatients(site.name, site.records) for site in read_sites(settings.source, task)]
    return Comparison(charter, task, found[0].train, resolve_device("cpu"), 0, sums), found


@pytest.fixture
def curators_model(tmp_path, monkeypatch):
    """The parameters that one curator ends with, under a charter with these settings and always the same noise."""
    monkeypatch.setattr(comparison, "secure_generator", lambda: np.random.default_rng(1))
    monkeypatch.setattr(comparison, "evaluate", lambda _task, module, *_: flatten(module))
    sites = write_tables(tmp_path, 3)

    def curators_model(sums=4, **training):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        choices = choices_of(training_of(rounds=4, **training), privacy="local", epsilon=8.0, sampling_rate=0.5)
        compared, found = prepared(folder, sites, choices, sums)
        return compared.curator(found)

    return curators_model


def test_one_curator_takes_the_step_of_the_server_too(curators_model):
    adam = curators_model(server=ServerStep(optimizer="adam", learning_rate=0.1))
    assert not np.array_equal(adam, curators_model())


def test_a_server_that_halves_every_update_halves_it_for_one_curator_as_well(curators_model):
    whole, half = (curators_model(sums=1, server=ServerStep(learning_rate=rate)) for rate in (1.0, 0.5))
    start = curators_model(sums=0)
    assert np.allclose(half - start, (whole - start) / 2, atol=1e-6)


def test_schedules_are_those_of_the_charters_rounds_however_early_a_run_has_ended(curators_model):
    falling, constant = (
        curators_model(sums=1, server=ServerStep(schedule=schedule)) for schedule in ("linear", "constant")
    )
    assert np.array_equal(falling, constant)


def test_with_shared_noise_all_records_in_one_place_are_divided_by_the_charters_batch_size_as_a_sum_is(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(comparison, "evaluate", lambda _task, module, *_: flatten(module))
    sites = write_tables(tmp_path, 3)

    def pooled(batch, sums):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        choices = choices_of(privacy="distributed", epsilon=8.0, sampling_rate=1.0, expected_batch=batch)
        compared, found = prepared(folder, sites, choices, sums)
        return compared.pooled(found)

    start = pooled(50, 0)
    assert np.allclose(pooled(100, 1) - start, (pooled(50, 1) - start) / 2, atol=1e-6)
    assert not np.allclose(pooled(50, 1), start, atol=1e-3)


def test_with_noise_at_each_hospital_a_batch_in_one_place_has_as_many_rows_as_those_of_all_hospitals(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(comparison, "evaluate", lambda _task, module, *_: flatten(module))
    choices = choices_of(training_of(local_steps=1), privacy="local", epsilon=8.0, sampling_rate=1.0)
    compared, found = prepared(tmp_path / "run", write_tables(tmp_path, 3), choices, 1)
    of_three_rows = [replace(own, train=replace(own.train, patients=np.arange(len(own.train)) // 3)) for own in found]
    # All patients are in every step, and so are all rows: whatever their order, it is the same step.
    one, other = (replace(compared, seed=seed).pooled(of_three_rows) for seed in (0, 1))
    assert np.allclose(one, other, atol=1e-6)
