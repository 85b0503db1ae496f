"""One place that has the records trains as the consortium does, less what only makes sense between hospitals."""

from __future__ import annotations

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


@pytest.fixture
def curators_model(tmp_path, monkeypatch):
    """The parameters that one curator ends with, under a charter with these settings and always the same noise."""
    monkeypatch.setattr(comparison, "secure_generator", lambda: np.random.default_rng(1))
    monkeypatch.setattr(comparison, "evaluate", lambda _task, module, *_: flatten(module))
    sites = write_tables(tmp_path, 3)

    def curators_model(**training):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        choices = choices_of(training_of(rounds=4, **training), privacy="local", epsilon=8.0, sampling_rate=0.5)
        settings = settings_for(sites, choices, PRIVATE_TASK)
        prepare(folder, settings)
        charter = read_verified(folder / "charter").charter
        task = task_of(charter)
        found = [HospitalPatients(site.name, site.records) for site in read_sites(settings.source, task)]
        return Comparison(charter, task, found[0].train, resolve_device("cpu"), 0).curator(found)

    return curators_model


def test_one_curator_is_not_held_to_the_model_that_all_started_from(curators_model):
    """FedProx pulls to the model of the round; in one place there is one round, and it would pull to the start."""
    assert np.array_equal(curators_model(prox_mu=1.0), curators_model(prox_mu=0.0))


def test_one_curator_applies_to_gradients_the_momentum_that_hospitals_apply_to_their_mean_update(curators_model):
    of_the_server = curators_model(server=ServerStep(optimizer="momentum", momentum=0.9))
    assert np.array_equal(of_the_server, curators_model(momentum=0.9))
    assert not np.array_equal(of_the_server, curators_model())
