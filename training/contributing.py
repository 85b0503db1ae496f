"""What a hospital puts into its vector when a round asks for it: an update, its part of a step, or feature moments.

Knows the task, this hospital's patients, and how each kind of vector is encoded. Knows nothing of messages, of masks or
of the budget: who calls has charged for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from dp.randomness import secure_generator
from secagg.charter import Charter
from secagg.encoding.ring import RingVector
from training.hospital_state import HospitalState
from training.local_work import LocalWork
from training.model_state import ModelLayout
from training.moment_vector import MomentVector
from training.noise import ShareOfNoise
from training.progress import counts_are_due
from training.records import Records
from training.scaling import Scaling
from training.step_vector import StepVector
from training.step_work import StepRecords, StepWork
from training.task import Task
from training.vector_layout import UpdateVector


@dataclass(frozen=True, eq=False)
class Vector:
    """What is masked: ring elements, shape (session.length,).

    Attributes:
        removable: components of the noise in it that may be removed from the sum, each of the same shape.
    """

    elements: RingVector
    removable: tuple[RingVector, ...] = ()


@dataclass(eq=False)
class Contributor:
    """One hospital's patients and what it makes of them.

    Attributes:
        train, validation: not scaled.
        shuffle: draws batches where there is no differential privacy; cryptographic if not given.
    """

    charter: Charter
    task: Task
    train: Records
    validation: Records | None
    scaling: Scaling
    layout: ModelLayout
    device: torch.device
    shuffle: np.random.Generator | None = None
    _steps: StepWork | None = field(default=None, init=False)
    _opened: ExitStack = field(default_factory=ExitStack, init=False)

    def moments(self) -> Vector:
        """This hospital's feature moments."""
        codec = MomentVector(self.charter, self.train.feature_names)
        return Vector(codec.encode(self.train))

    def update(self, state: HospitalState, step: int, noise_keys: Sequence[bytes]) -> Vector:
        """This hospital's update, or its part of a step.

        Args:
            step: which sum it is for, from 1.
            noise_keys: of the components of noise that may be removed.
        """
        if self.charter.privacy.mode == "distributed":
            return self._part_of_step(state, step, noise_keys)
        contribution = self._local_work(state).contribute(state.model, step)
        codec = UpdateVector(self.charter, self.layout)
        return Vector(codec.encode(contribution.update, self.train.patient_count, contribution.cells))

    def close(self) -> None:
        """Let go of what is kept from step to step."""
        self._opened.close()
        self._steps = None

    def _part_of_step(self, state: HospitalState, step: int, noise_keys: Sequence[bytes]) -> Vector:
        noise, work = self._noise, self._steps or self._open_steps(state)
        due = counts_are_due(self.charter, step)
        cells = work.cells(state.model) if due else np.zeros(self.charter.metrics.cells, np.int64)
        staying = noise.drawn(0, self._noise_generator)
        elements = StepVector(self.charter, noise.shares).encode(work.gradients(state.model), cells, staying)
        removable = tuple(noise(key, component) for component, key in enumerate(noise_keys, start=1))
        for component in removable:
            np.add(elements, component, out=elements)
        return Vector(elements, removable)

    @cached_property
    def _noise_generator(self) -> np.random.Generator:
        return secure_generator()

    @cached_property
    def _noise(self) -> ShareOfNoise:
        return ShareOfNoise(self.charter)

    def _open_steps(self, state: HospitalState) -> StepWork:
        records = StepRecords(*self._scaled(state))
        self._steps = StepWork(self.charter, self.task, records, self._noise.shares, self.device)
        self._opened.callback(self._steps.close)
        return self._steps

    def _local_work(self, state: HospitalState) -> LocalWork:
        private = self.charter.privacy.mode != "none"
        generator = self.shuffle if self.shuffle is not None and not private else secure_generator()
        train, validation = self._scaled(state)
        return LocalWork(self.charter, self.task, train, validation, self.device, generator)

    def _scaled(self, state: HospitalState) -> tuple[Records, Records | None]:
        scale, moments = self.scaling.apply, state.moments
        return scale(self.train, moments), scale(self.validation, moments) if self.validation else None
