"""What a privacy budget costs in accuracy: one simulation an epsilon, from Python.

    python docs/examples/epsilon_sweep.py runs/sweep cleveland.csv hungarian.csv va.csv

Each run is a folder as `secagg simulate` makes it: every command works on it, and `simulate --resume` goes on with it.
"""

import sys
from pathlib import Path

from secagg.charter import Training
from training.choices import CharterChoices
from training.simulation import Observer, run
from training.simulation_folder import SimulationSettings, prepare
from training.sites import DataSource
from training.task import load_task_file

TASK = load_task_file(Path(__file__).parent / "heart-bounds.toml")
EPSILONS = (1.0, 3.0, 8.0)


def settings(epsilon: float, data: tuple[str, ...]) -> SimulationSettings:
    """Ten rounds of local DP-SGD. The fields are the options of `secagg simulate`, and have the same defaults."""
    training = Training(rounds=10, local_steps=5, learning_rate=0.5)
    choices = CharterChoices(training=training, privacy="local", epsilon=epsilon, sampling_rate=0.3)
    return SimulationSettings(
        task_kind=TASK.kind,
        task_settings=TASK.settings_json().decode(),
        source=DataSource(paths=data),
        choices=choices,
        compare=False,
    )


def main(folder: Path, data: tuple[str, ...]) -> None:
    """A line an epsilon: accuracy and AUC on the patients that no hospital trained on."""
    print("epsilon  accuracy    AUC")
    for epsilon in EPSILONS:
        place = folder / f"epsilon-{epsilon:g}"
        prepare(place, settings(epsilon, data))
        measured = run(place, Observer()).federated
        print(f"{epsilon:7g}  {measured.accuracy:8.1%}  {measured.auc:5.3f}")


# Needed: large models are masked by worker processes, which import this file.
if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]))
