"""Distributed differential privacy: the sampler, noise and encoding beside a step, a secure step beside a plain one.

Images of the size of PneumoniaMNIST's, 118 patients a hospital, a batch of 256 among 40 hospitals: random pixels take
as long as real ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer

from benchmarks.measure import cpu_seconds
from benchmarks.sizes import size
from dp.integer_noise import integer_noise
from dp.randomness import secure_generator
from dp.rounding import round_rows
from secagg.charter import Charter, Training
from secagg.charter.sections import ServerStep
from tests.support.hospitals import Ward, settings_for
from training.choices import CharterChoices
from training.draft import task_of
from training.engines.base import Phase
from training.engines.embedded import EmbeddedEngine
from training.noise import ShareOfNoise
from training.simulation_folder import prepare
from training.step_vector import StepVector
from training.task import load_task_file

HOSPITALS = size(40, 5)
PATIENTS = 118
# What `secagg plan` recommends to them.
EPOCH_ROUNDS = size(20, 2)
EPOCHS = size(3, 1, 1)
BATCH = 256 * HOSPITALS // 40
STEPS = size(40, 3)
# Steps between two hospitals of a secure one.
INTERLUDE = size(5, 1)
# Steps in a turn, and turns, of comparing noise with them.
TURN = size(5, 1)
TURNS = size(100, 1, 25)
NUMBERS = size(1 << 22, 1 << 16)
TASK = load_task_file(Path(__file__).parent.parent / "docs" / "examples" / "pneumonia.toml")


def choices(**changes: object) -> CharterChoices:
    # One epoch more than is measured: a release is made once in a run, not in each so many steps.
    training = Training(rounds=(EPOCHS + 1) * EPOCH_ROUNDS, server=ServerStep(optimizer="momentum", learning_rate=0.3))
    private = {"privacy": "distributed", "epsilon": 3.0, "sampling_rate": BATCH / (PATIENTS * HOSPITALS)}
    settled = {"training": training, "expected_batch": BATCH, "epoch_rounds": EPOCH_ROUNDS}
    return CharterChoices(**(settled | private | changes))


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    generator, folder = np.random.default_rng(1), tmp_path_factory.mktemp("wards")
    places = []
    for number in range(1, HOSPITALS + 1):
        place = folder / f"h{number:02d}.npz"
        images = generator.integers(0, 256, (PATIENTS, 28, 28), np.uint8)
        np.savez(place, images=images, labels=np.arange(PATIENTS) % 2)
        places.append(place)
    prepare(folder / "run", settings_for(places, choices(), TASK))
    with Ward.open(folder / "run") as ward:
        yield ward


class PlainTraining:
    """Plain DP-SGD at one hospital: Opacus as it comes, a row a patient, torch's own noise.

    Nothing of this toolkit is in it, and no data loader: sampled rows are taken out of one tensor.
    """

    def __init__(self, charter: Charter) -> None:
        self._generator = torch.Generator().manual_seed(2)
        self._images = torch.randn((PATIENTS, 1, 28, 28), generator=self._generator)
        self._labels = torch.arange(PATIENTS) % 2
        self._task, self._rate = task_of(charter), charter.privacy.sampling_rate
        self._module = GradSampleModule(self._task.build_model())
        self._optimizer = DPOptimizer(
            torch.optim.SGD(self._module.parameters(), lr=0.1),
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            expected_batch_size=round(self._rate * PATIENTS),
        )
        self.seconds(STEPS)

    def seconds(self, steps: int) -> float:
        """CPU seconds of so many steps."""
        return cpu_seconds(lambda: [self._step() for _ in range(steps)])

    def _step(self) -> None:
        sample = torch.rand(PATIENTS, generator=self._generator) < self._rate
        self._optimizer.zero_grad()
        self._task.loss(self._module(self._images[sample]), self._labels[sample]).backward()
        self._optimizer.step()


class Interludes:
    """An engine's listener: some plain steps in every round, between two hospitals, so that all are disturbed alike.

    The first step after another's work is slower, and a hospital that trains has nobody else on its core: not counted.
    """

    def __init__(self, plain: PlainTraining) -> None:
        self._plain = plain
        self.in_all = self.of_steps = 0.0
        self.steps = 0

    def hear(self, phase: Phase, member: int) -> None:
        if (phase, member) == (Phase.MASK, HOSPITALS // 2):
            first, more = self._plain.seconds(1), self._plain.seconds(INTERLUDE)
            self.in_all += first + more
            self.of_steps += more
            self.steps += INTERLUDE


def bench_sampler(benchmark, figure):
    generator = secure_generator()
    for noise in ("skellam", "discrete-gaussian"):
        integer_noise(generator, noise, 1, 50_000)
    benchmark.pedantic(lambda: integer_noise(generator, "skellam", NUMBERS, 50_000), rounds=5)
    for noise in ("skellam", "discrete-gaussian"):
        for variance in (50_000, 200_000_000):
            taken = min(cpu_seconds(lambda: integer_noise(generator, noise, NUMBERS, variance)) for _ in range(3))  # noqa: B023
            target = {"at_least": 10} if noise == "skellam" else {}
            figure(f"{noise} of variance {variance:g}, one core", NUMBERS / taken / 1e6, "M/s", **target)


def bench_noise_and_encoding(benchmark, figure, ward):
    """Of a hospital's step: drawing every component of the noise, rounding its patients' gradients, encoding."""
    torch.set_num_threads(1)
    charter = ward.charter.charter
    noise = ShareOfNoise(charter)
    codec, generator, d = StepVector(charter, noise.shares), secure_generator(), charter.model.parameters
    patients = max(1, round(charter.privacy.sampling_rate * PATIENTS))
    rows = np.random.default_rng(3).normal(size=(patients, d)).astype(np.float32)
    rows *= noise.shares.steps_per_clip / np.linalg.norm(rows, axis=1, keepdims=True) * 0.99

    def drawn() -> None:
        gradients = round_rows(rows, noise.shares.steps_per_clip, generator).sum(axis=0).astype(np.int64)
        components = [noise.drawn(component, secure_generator()) for component in range(len(noise.shares.variances))]
        codec.encode(gradients, np.zeros(0, np.int64), sum(components))

    benchmark.pedantic(drawn, rounds=20, warmup_rounds=2)
    # By turns, as below; a single one is off by a fifth either way.
    plain = PlainTraining(charter)
    turns = [cpu_seconds(lambda: [drawn() for _ in range(TURN)]) / plain.seconds(TURN) for _ in range(TURNS)]
    share = statistics.median(turns)
    what = f"noise of {len(noise.shares.variances)} components, rounding {patients} patients, encoding"
    figure(f"{what}: of a step", 100 * share, "%", at_most=10)


def bench_secure_step(benchmark, figure, ward):
    """All parties' CPU in whole epochs, key set-ups included, by party and step; beside a plain step of DP-SGD."""
    torch.set_num_threads(1)
    charter, interludes = ward.charter.charter, Interludes(PlainTraining(ward.charter.charter))
    coordinator = ward.coordinator(engine=EmbeddedEngine(ward.hospitals, on_answer=interludes.hear))
    spent: list[float] = []
    benchmark.pedantic(lambda: spent.append(cpu_seconds(coordinator.run_epoch)), rounds=EPOCHS)
    assert [record.step for record in coordinator.rounds] == list(range(1, EPOCHS * EPOCH_ROUNDS + 1))
    step = interludes.of_steps / interludes.steps
    secure = (sum(spent) - interludes.in_all) / (HOSPITALS * EPOCHS * EPOCH_ROUNDS)
    what = f"{HOSPITALS} hospitals, {charter.model.parameters} parameters"
    figure(f"plain step of DP-SGD at a hospital, {what}", 1e3 * step, "ms")
    keys = f"coordinator and a key set-up each {EPOCH_ROUNDS} steps included"
    figure(f"secure step by hospital, {keys}, {what}", 1e3 * secure, "ms")
    figure(f"secure step / plain step, {what}", secure / step, "", at_most=2)
