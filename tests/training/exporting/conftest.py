"""A release of three real hospitals, and what it is exported as; made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hospitals import choices_of, settings_for, training_of
from tests.training.conftest import HEART_TASK, real_data
from training.export_format import ExportFormat
from training.exporting import export_release
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.task import load_task_file


@pytest.fixture(scope="session")
def heart_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cleveland, Hungary and Long Beach, two rounds; columns are standardised by secure sums."""
    folder = tmp_path_factory.mktemp("heart")
    (folder / "task.toml").write_text(HEART_TASK)
    data = real_data("uci-heart")
    files = [data / f"processed.{site}.data" for site in ("cleveland", "hungarian", "va")]
    choices = choices_of(training_of(rounds=2), epoch_rounds=4)
    prepare(folder / "run", settings_for(files, choices, load_task_file(folder / "task.toml")))
    run(folder / "run", Observer())
    return folder / "run"


@pytest.fixture(scope="session")
def exported(heart_run: Path) -> dict[ExportFormat, bytes]:
    """The release in every format; ONNX where its packages are installed."""
    return {kind: export_release(heart_run / "release", kind)[1] for kind in ExportFormat}
