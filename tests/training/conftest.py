"""Real data for the tests of this folder, read where it lies and never copied."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from secagg.files import write_atomically
from secagg.policy import load_policy, render_policy
from tests.support.hospitals import Ward, choices_of, prepared
from training.task import TaskSpec, load_task_file

HEART_TASK = """
kind = "tabular-classification"

[model]
name = "logistic"

[data]
header = false
columns = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak",
           "slope", "ca", "thal", "num"]
label = "num"
positive_above = 0
drop = ["slope", "ca", "thal"]
missing_values = ["?"]
missing = "drop-row"

[data.categorical]
cp = [1, 2, 3, 4]
restecg = [0, 1, 2]

[evaluation]
metric = "auc"
test_fraction = 0.34
test_seed = 43
"""


def real_data(name: str) -> Path:
    root = os.environ.get("SECAGG_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data"
    path = Path(root) / name
    if not path.exists():
        pytest.skip(f"no real data at {path}; set SECAGG_DATA to its folder")
    return path


@pytest.fixture(scope="session")
def heart_files() -> tuple[Path, ...]:
    folder = real_data("uci-heart")
    return tuple(folder / f"processed.{site}.data" for site in ("cleveland", "hungarian", "switzerland", "va"))


@pytest.fixture(scope="session")
def pneumonia_file() -> Path:
    return real_data("pneumoniamnist/pneumoniamnist_reassembled.npz")


@pytest.fixture(scope="session")
def breast_file() -> Path:
    return real_data("breastmnist/breastmnist.npz")


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[[str], TaskSpec]:
    def write(text: str) -> TaskSpec:
        path = tmp_path / "task.toml"
        path.write_text(text, encoding="utf-8")
        return load_task_file(path)

    return write


@pytest.fixture
def heart_spec(write_task: Callable[[str], TaskSpec]) -> TaskSpec:
    return write_task(HEART_TASK)


@pytest.fixture
def open_ward(tmp_path: Path) -> Iterator[Callable[..., Ward]]:
    """Hospitals of a new run, or of the run that this test prepared before; closed at the end."""
    with ExitStack() as stack:

        def open_ward(hospitals: int = 4, choices=None, spec=None, policy=None, **more) -> Ward:
            run = tmp_path / "run"
            if not run.exists():
                prepared(tmp_path, hospitals, choices or choices_of(), spec, **more)
            for path in run.glob("hospitals/*/policy.toml") if policy else ():
                write_atomically(path, render_policy(policy(load_policy(path))))
            return stack.enter_context(Ward.open(run))

        yield open_ward
