from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor, nn

from secagg.charter import Training
from secagg.errors import InputError
from training.evaluation import cell_count, count_cells, evaluate, metrics_from_cells
from training.local_sgd import train_locally
from training.metrics import Metrics
from training.records import Records
from training.task import DataSpec, EvaluationSpec, ModelSpec, TaskSpec, build_task
from training.tasks.tabular import TabularTask

CPU = torch.device("cpu")
MODEL = nn.Identity()


def spec_of(metric: str, classes: int = 2, bins: int = 64) -> TaskSpec:
    data = DataSpec(label="y", features=("score",), classes=classes)
    return TaskSpec("tabular-classification", ModelSpec(), data, EvaluationSpec(metric=metric, bins=bins))


@dataclass(frozen=True)
class ReadsScores(TabularTask):
    """The feature is the probability of class 1 itself."""

    def scores(self, outputs: Tensor) -> Tensor:
        return torch.cat([1 - outputs, outputs], dim=1)


def scored(scores: list[float], labels: list[int], patients: list[int] | None = None) -> Records:
    people = np.arange(len(labels)) if patients is None else np.array(patients)
    features = np.array(scores, np.float32)[:, None]
    return Records(features, np.array(labels, np.int64), people.astype(np.int64), ("score",), "a.csv")


def test_accuracy_is_two_cells_wrong_and_right() -> None:
    records = scored([0.9, 0.2, 0.7], [1, 0, 0])
    cells = count_cells(ReadsScores(spec_of("accuracy")), MODEL, records, CPU)
    assert cells.dtype == np.int64
    assert cells.tolist() == [1, 2]
    assert metrics_from_cells(spec_of("accuracy"), cells) == Metrics(2 / 3, None, 3)


def test_rows_of_one_patient_count_once_by_their_mean_score_and_largest_label() -> None:
    records = scored([0.9, 0.3, 0.1], [0, 1, 0], [0, 0, 1])
    task = ReadsScores(spec_of("accuracy"))
    assert count_cells(task, MODEL, records, CPU).tolist() == [0, 2]
    assert evaluate(task, MODEL, records, CPU).patients == 2


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=40),
    st.sampled_from(["accuracy", "auc"]),
)
def test_every_patient_adds_one_to_one_cell(rows: list[tuple[float, int, int]], metric: str) -> None:
    scores, labels, identities = zip(*rows, strict=True)
    people = np.unique(identities, return_inverse=True)[1].tolist()
    spec = spec_of(metric)
    cells = count_cells(ReadsScores(spec), MODEL, scored(list(scores), list(labels), people), CPU)
    assert cells.shape == (cell_count(spec),)
    assert cells.min() >= 0
    assert cells.sum() == len(set(identities))


def test_one_half_is_an_edge_between_bins() -> None:
    cells = count_cells(ReadsScores(spec_of("auc", bins=4)), MODEL, scored([0.499, 0.5, 0, 1], [0, 0, 1, 1]), CPU)
    assert cells.tolist() == [0, 1, 1, 0, 1, 0, 0, 1]


def test_binned_auc_counts_ties_half() -> None:
    spec = spec_of("auc", bins=2)
    assert metrics_from_cells(spec, np.array([3, 1, 1, 3])).auc == pytest.approx((9 + 0.5 * (3 + 3)) / 16)
    assert metrics_from_cells(spec, np.array([4, 0, 0, 4])) == Metrics(1.0, 1.0, 8)


def test_results_are_shares_whatever_noise_makes_of_counts() -> None:
    metrics = metrics_from_cells(spec_of("accuracy"), np.array([-3, 10]))
    assert metrics == Metrics(1.0, None, 7)
    assert metrics_from_cells(spec_of("accuracy"), np.array([-3, -1])) == Metrics(None, None, 0)


def counts_of(patients: int, bins: int, auc: float = 0.85) -> np.ndarray:
    """Cells of a model with this AUC, two fifths of the patients ill, without any chance in them."""
    shift = np.sqrt(2) * norm.ppf(auc)
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    # The inverse of how scores are put into bins, of logits that are twice the standard normal's.
    logits = 2 * (2 * edges - 1) / (1 - np.abs(2 * edges - 1)) / 2
    cumulated = [norm.cdf(np.r_[-np.inf, logits, np.inf] + own * shift / 2) for own in (1, -1)]
    healthy, ill = (np.diff(values) for values in cumulated)
    return np.rint(np.r_[0.6 * patients * healthy, 0.4 * patients * ill]).astype(np.int64)


def noisy_results(patients: int, deviation: float, bins: int, auc: float = 0.85, times: int = 400) -> list[Metrics]:
    generator = np.random.default_rng(1)
    cells = counts_of(patients, bins, auc)
    noise = np.rint(generator.normal(size=(times, len(cells))) * deviation).astype(np.int64)
    return [metrics_from_cells(spec_of("auc", bins=bins), cells + drawn, deviation**2) for drawn in noise]


def known(results: list[float | None]) -> np.ndarray:
    return np.array([value for value in results if value is not None])


@pytest.mark.parametrize("bins", [16, 64])
def test_noise_moves_what_is_computed_from_counts_to_neither_side(bins: int) -> None:
    exact = metrics_from_cells(spec_of("auc", bins=bins), counts_of(1000, bins))
    assert exact.auc == pytest.approx(0.85, abs=0.01)
    found = noisy_results(1000, 4.8, bins)
    assert known([metrics.auc for metrics in found]).mean() == pytest.approx(exact.auc, abs=0.02)
    assert known([metrics.accuracy for metrics in found]).mean() == pytest.approx(exact.accuracy, abs=0.02)


def test_the_more_bins_the_noisier_the_auc() -> None:
    few, many = (known([metrics.auc for metrics in noisy_results(1000, 4.8, bins)]).std() for bins in (16, 64))
    assert many > 1.7 * few


@pytest.mark.parametrize(("patients", "known_share"), [(1000, (1, 1)), (300, (0.3, 0.9)), (60, (0, 0.05))])
def test_what_noise_hides_is_none(patients: int, known_share: tuple[float, float]) -> None:
    """Noise of 16 counts, of standard deviation 9.5: 38 patients a class."""
    found = noisy_results(patients, 9.5, 16)
    low, high = known_share
    assert low <= len(known([metrics.auc for metrics in found])) / len(found) <= high


def test_what_noise_hides_of_one_class_is_none_of_the_auc_alone() -> None:
    spec = spec_of("auc", bins=2)
    assert metrics_from_cells(spec, np.array([60, 20, 1, 4]), 1.0).auc == pytest.approx(0.775)
    assert metrics_from_cells(spec, np.array([60, 20, 1, 4]), 4.0) == Metrics(64 / 85, None, 85)
    assert metrics_from_cells(spec, np.array([60, 20, -3, 8]), 0.0).auc == 1.0


def chance(target: float, releases: int, deviation: float) -> float:
    """That noise takes a model of AUC 0.80 to the target in one release or more, with 1,000 patients held back."""
    reached = known([metrics.auc for metrics in noisy_results(1000, deviation, 16, auc=0.8)]) >= target
    return 1 - (1 - float(reached.mean())) ** releases


def test_limit_a_target_above_what_the_model_reaches_is_mostly_met_by_luck_where_counts_are_released_often() -> None:
    """The figures of docs/sharp-edges.md, "A target that noise reaches"."""
    assert chance(0.85, releases=10, deviation=14) == pytest.approx(0.92, abs=0.01)
    assert chance(0.95, releases=10, deviation=14) == pytest.approx(0.22, abs=0.01)
    # The same budget, spent on two releases.
    assert chance(0.85, releases=2, deviation=14 / 5**0.5) == pytest.approx(0.07, abs=0.01)


def test_counts_too_large_for_any_float_give_the_same_everywhere() -> None:
    huge = 2**61
    assert metrics_from_cells(spec_of("auc", bins=2), np.array([huge, 1, 1, huge])).auc == 1.0


def test_what_is_not_defined_is_none() -> None:
    one_class = scored([0.2, 0.9], [1, 1])
    task = ReadsScores(spec_of("auc"))
    assert evaluate(task, MODEL, one_class, CPU).auc is None
    assert metrics_from_cells(task.spec, count_cells(task, MODEL, one_class, CPU)) == Metrics(0.5, None, 2)


def test_cells_of_another_task_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        metrics_from_cells(spec_of("auc"), np.array([1, 2]))
    assert caught.value.reason == "bad-cells"


def test_scores_that_are_no_numbers_are_refused() -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, float("nan"))
    with pytest.raises(InputError) as caught:
        evaluate(TabularTask(spec_of("auc")), model, scored([0.1], [1]), CPU)
    assert caught.value.reason == "nan-scores"


@pytest.mark.parametrize("metric", ["accuracy", "auc"])
def test_a_patient_more_moves_nobody_else_from_one_count_to_another_by_how_numbers_round(metric: str) -> None:
    """Each bias puts one patient onto the edge between two counts, where the last bit decides."""
    torch.manual_seed(3)
    task, model = TabularTask(spec_of(metric)), nn.Linear(30, 1)
    nn.init.normal_(model.weight, std=30)
    features = torch.randn(70, 30)
    names = tuple(f"f{number}" for number in range(30))

    def counts(first: int, last: int) -> np.ndarray:
        rows = features[first:last].numpy()
        records = Records(rows, np.ones(len(rows), np.int64), np.arange(len(rows)), names, "a.csv")
        return count_cells(task, model, records, CPU)

    for patient in range(1, 70):
        nn.init.zeros_(model.bias)
        nn.init.constant_(model.bias, -float(model(features).detach()[patient]))
        for patients in (2, 7, 70):
            # Those of whom the patient is one.
            first = max(0, patient - patients + 1)
            apart = counts(first, first + patients) - counts(first + 1, first + patients)
            assert np.abs(apart).sum() == 1


def test_large_images_are_scored_a_few_at_a_time_and_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TaskSpec("image-classification", ModelSpec(name="cnn"), DataSpec(image_size=32), EvaluationSpec())
    task = build_task(spec)
    model, batches = task.build_model(), []
    model.register_forward_hook(lambda _model, inputs, _output: batches.append(len(inputs[0])))
    features = np.random.default_rng(1).normal(size=(20, 1, 32, 32)).astype(np.float32)
    records = Records(features, np.arange(20) % 2, np.arange(20), (), "images")
    at_once = count_cells(task, model, records, CPU).tolist()
    assert batches == [1, 32]
    monkeypatch.setattr("dp.patients._MOST_NUMBERS", 1 << 20)
    assert count_cells(task, model, records, CPU).tolist() == at_once
    assert max(batches[2:]) == 5
    assert sum(batches[2:]) == 21


@pytest.mark.parametrize("metric", ["accuracy", "auc"])
def test_a_patient_without_a_score_is_counted_as_one_for_whom_the_model_is_wrong_and_is_no_error(metric: str) -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, float("nan"))
    task = TabularTask(spec_of(metric))
    cells = count_cells(task, model, scored([0.1, 0.2, 0.3], [1, 0, 0]), CPU)
    assert cells.sum() == 3
    assert metrics_from_cells(task.spec, cells) == Metrics(0.0, None if metric == "accuracy" else 0.0, 3)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0, 25.0])
def test_binned_auc_is_close_to_the_exact_one_however_confident_the_model(sharpness: float) -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 4000)
    logits = sharpness * (generator.normal(size=4000) + 2 * labels - 1)
    features = logits.astype(np.float32)[:, None]
    records = Records(features, labels.astype(np.int64), np.arange(4000, dtype=np.int64), ("score",), "a.csv")
    task = TabularTask(spec_of("auc"))
    binned = metrics_from_cells(task.spec, count_cells(task, MODEL, records, CPU))
    exact = evaluate(task, MODEL, records, CPU)
    assert binned.auc == pytest.approx(exact.auc, abs=0.01)
    assert binned.accuracy == exact.accuracy


def test_a_short_training_on_x_rays_is_far_better_than_chance(
    write_task: Callable[[str], TaskSpec], pneumonia_file: Path
) -> None:
    spec = write_task(
        'kind = "image-classification"\n[model]\nname = "cnn"\nchannels = [8, 8]\n[evaluation]\nmetric = "auc"\n'
    )
    task = build_task(spec)
    train, test = (task.read(Path(f"{pneumonia_file}::{split}")) for split in ("train", "test"))
    model = task.build_model()
    training = Training(rounds=1, local_steps=40, batch_size=64, learning_rate=0.1, momentum=0.9)
    train_locally(model, train, task.loss, training, np.random.default_rng(0), CPU)
    exact = evaluate(task, model, test, CPU)
    assert exact.auc is not None
    assert exact.auc > 0.85
    assert metrics_from_cells(spec, count_cells(task, model, test, CPU)).auc == pytest.approx(exact.auc, abs=0.01)
