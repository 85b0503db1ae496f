"""A step over n hospitals is a step of DP-SGD on their pooled records, with the same samples and the same noise."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from dp.randomness import secure_generator
from dp.rounding import round_rows
from dp.sampling import poisson_sample
from dp.torch_draws import drawing_from
from secagg.charter import Charter, Encoding, Member
from secagg.charter.sections import ServerStep
from secagg.encoding import Ring
from tests.support.hospitals import BOUNDED, choices_of, tabular_spec, training_of
from training.draft import draft_charter
from training.model_state import flatten, load
from training.noise import ShareOfNoise
from training.pooled_steps import PooledSteps
from training.records import Records
from training.server_optimizer import apply, initial_state
from training.step_vector import StepVector
from training.step_work import StepRecords, StepWork
from training.task import build_task
from training.tasks.tabular import TabularTask

CPU = torch.device("cpu")
SPEC = msgspec.structs.replace(
    tabular_spec(**BOUNDED), model=msgspec.structs.replace(tabular_spec().model, name="mlp", hidden=(8,))
)
TASK = build_task(SPEC)


def charter_for(hospitals: int, rounds: int, optimizer: str = "momentum", bits: int = 32) -> Charter:
    members = [Member(name=f"h{number}", public_key=bytes([number] * 32)) for number in range(1, hospitals + 1)]
    server = ServerStep(optimizer=optimizer, learning_rate=0.05, schedule="cosine")
    choices = choices_of(
        training_of(rounds=rounds, server=server),
        privacy="distributed",
        epsilon=4.0,
        sampling_rate=0.2,
        clip_norm=0.7,
        expected_batch=24,
        max_colluding=1,
        noise_levels=(),
        encoding=Encoding(field_bits=bits),
    )
    return draft_charter(choices, members, SPEC)


def records_of(hospitals: int, split: str) -> list[Records]:
    """120 patients, of two rows each, dealt out evenly or each hospital twice as many as the one before."""
    generator = np.random.default_rng(11)
    weights = np.ones(hospitals) if split == "even" else 2.0 ** np.arange(hospitals)
    sizes = np.maximum(1, (120 * weights / weights.sum()).astype(int))
    found = []
    for size in sizes:
        patients = np.repeat(np.arange(size), 2)
        labels = (patients % 2).astype(np.int64)
        features = generator.normal(labels[:, None] * 1.5, 1.0, (len(patients), 2)).astype(np.float32)
        found.append(Records(features, labels, patients, ("age", "dose"), "made"))
    return found


class Hospitals:
    """Every hospital's part of each step, with dice that the pooled training throws again."""

    def __init__(self, charter: Charter, records: list[Records]) -> None:
        self.noise = ShareOfNoise(charter)
        self.codec = StepVector(charter, self.noise.shares)
        self.works = [
            StepWork(charter, TASK, StepRecords(part, None), self.noise.shares, CPU, dice(number))
            for number, part in enumerate(records)
        ]
        self.shaking = [dice(100 + number) for number in range(len(records))]
        self.ring = Ring(charter.encoding.field_bits)

    def step(self, model: np.ndarray, survivors: list[int]) -> np.ndarray:
        """The mean update that the survivors' vectors, summed in the ring, say. All have worked, as in a round."""
        total = self.ring.zeros(len(model) + 1)
        for number, (work, shaking) in enumerate(zip(self.works, self.shaking, strict=True)):
            vector = self.codec.encode(work.gradients(model), np.zeros(0, np.int64), self.noise.drawn(0, shaking))
            if number in survivors:
                total += vector
        self.ring.reduce(total)
        return self.codec.decode(total).update

    def close(self) -> None:
        for work in self.works:
            work.close()


class Pooled:
    """One curator: the same patients' gradients, in floating point, each clipped; the same noise, all at once."""

    def __init__(self, charter: Charter, records: list[Records]) -> None:
        self.charter, self.records = charter, records
        self.shares = ShareOfNoise(charter).shares
        self.noise = ShareOfNoise(charter)
        self.dice = [dice(number) for number in range(len(records))]
        self.shaking = [dice(100 + number) for number in range(len(records))]

    def step(self, model: np.ndarray, survivors: list[int]) -> np.ndarray:
        total = np.zeros(len(model))
        for number, part in enumerate(self.records):
            sample = poisson_sample(self.dice[number], part.patient_count, self.charter.privacy.sampling_rate)
            # The hospital sets torch's state and rounds with the same dice; here they are thrown for nothing.
            if len(sample):
                with drawing_from(self.dice[number], CPU):
                    pass
                round_rows(np.zeros((len(sample), len(model))), self.shares.steps_per_clip, self.dice[number])
            noise = self.noise.drawn(0, self.shaking[number])[: len(model)] / self.shares.scale
            if number in survivors:
                total += clipped_sum(part, sample, model, self.charter.privacy.clip_norm) + noise
        return -total / self.charter.training.batch_size


def clipped_sum(records: Records, sample: np.ndarray, model: np.ndarray, clip: float) -> np.ndarray:
    module = TASK.build_model()
    load(module, model)
    total = np.zeros(len(model))
    for patient in sample:
        rows = records.rows_of([patient])
        module.zero_grad()
        TASK.loss(module(torch.from_numpy(records.features[rows])), torch.from_numpy(records.labels[rows])).backward()
        gradient = np.concatenate(
            [tensor.grad.numpy().reshape(-1) for _, tensor in sorted(module.named_parameters())]
        ).astype(np.float64)
        total += gradient * min(1.0, clip / np.linalg.norm(gradient))
    return total


def dice(number: int) -> np.random.Generator:
    return secure_generator(number.to_bytes(16, "little"))


def survivors_of(hospitals: int, step: int, drop_outs: bool) -> list[int]:
    gone = {step % hospitals} if drop_outs and step % 3 == 0 else set()
    return [number for number in range(hospitals) if number not in gone]


def predictions(model: np.ndarray, records: list[Records]) -> np.ndarray:
    module = TASK.build_model()
    load(module, model)
    with torch.inference_mode():
        return np.concatenate([TASK.scores(module(torch.from_numpy(part.features))).numpy() for part in records])


@pytest.mark.parametrize("drop_outs", [False, True], ids=["all survive", "some drop out"])
@pytest.mark.parametrize("split", ["even", "uneven"])
@pytest.mark.parametrize("hospitals", [3, 5, 8])
def test_one_step_is_the_pooled_one_to_within_the_grid(hospitals, split, drop_outs):
    charter, records = charter_for(hospitals, 10), records_of(hospitals, split)
    together, pooled = Hospitals(charter, records), Pooled(charter, records)
    model = flatten(TASK.build_model())
    patients = sum(part.patient_count for part in records)
    step_of_the_grid = 1 / (together.noise.shares.scale * charter.training.batch_size)
    for step in range(4):
        survivors = survivors_of(hospitals, step, drop_outs)
        difference = np.abs(together.step(model, survivors) - pooled.step(model, survivors)).max()
        assert difference <= patients * step_of_the_grid + 1e-7
    together.close()


@pytest.mark.parametrize(
    ("hospitals", "split", "drop_outs", "optimizer", "steps"),
    [
        (5, "even", True, "adam", 300),
        # The optimizers alone differ here, and for them fewer steps do.
        (3, "uneven", False, "momentum", 80),
        (4, "uneven", True, "fedavg", 80),
    ],
)
def test_over_300_steps_the_models_predict_the_same(hospitals, split, drop_outs, optimizer, steps):
    charter, records = charter_for(hospitals, steps, optimizer), records_of(hospitals, split)
    together, pooled = Hospitals(charter, records), Pooled(charter, records)
    start = flatten(TASK.build_model())
    ours, theirs = (initial_state(len(start)), start), (initial_state(len(start)), start)
    for step in range(steps):
        survivors = survivors_of(hospitals, step, drop_outs)
        ours = apply(charter.training.server, *ours, together.step(ours[1], survivors), steps)
        theirs = apply(charter.training.server, *theirs, pooled.step(theirs[1], survivors), steps)
    together.close()
    assert np.abs(predictions(ours[1], records) - predictions(start, records)).max() > 0.1
    assert np.abs(predictions(ours[1], records) - predictions(theirs[1], records)).max() <= 1e-3


def test_control_other_noise_gives_another_model():
    charter, records = charter_for(3, 20), records_of(3, "even")
    together, pooled = Hospitals(charter, records), Pooled(charter, records)
    pooled.shaking = [dice(200 + number) for number in range(3)]
    model = flatten(TASK.build_model())
    assert np.abs(together.step(model, [0, 1, 2]) - pooled.step(model, [0, 1, 2])).max() > 1e-3
    together.close()


class DropsAll(TabularTask):
    """Drops every number out while it is trained, and gives its model in evaluation mode."""

    def build_model(self):
        layer = nn.Linear(2, 1)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Dropout(1.0), layer).eval()


def test_without_noise_too_a_model_is_trained_in_training_mode_however_it_was_built():
    pooled = PooledSteps(charter_for(3, 2), DropsAll(SPEC), records_of(1, "even")[0], 24.0, CPU, 2)
    trained = pooled.openly(np.random.default_rng(1))
    assert torch.equal(trained[1].weight, torch.ones(1, 2))
    assert trained[1].bias != 0


class DropsHalf(TabularTask):
    """Drops half of the numbers out while it is trained, at random."""

    def build_model(self):
        return nn.Sequential(nn.Dropout(0.5), super().build_model()).eval()


def test_without_noise_the_same_seed_gives_the_same_model_and_leaves_what_others_draw():
    pooled = PooledSteps(charter_for(3, 5), DropsHalf(SPEC), records_of(1, "even")[0], 24.0, CPU, 5)
    before = torch.get_rng_state()
    one, again, other = (flatten(pooled.openly(np.random.default_rng(seed))) for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
