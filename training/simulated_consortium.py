"""The hospitals of a simulation, and what the simulator alone may do with them: test the model on everybody's records.

Knows each hospital's folder and records. How a run goes is in `training.simulation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from dp.ledger import BudgetUse
from secagg.charter import VerifiedCharter
from secagg.charter.cautions import Caution, large_delta
from secagg.errors import RefusedError, SecaggError
from secagg.files import TOO_MANY_FILES
from secagg.masking import Purpose
from training.comparison import HospitalPatients
from training.devices import resolve_device
from training.evaluation import evaluate
from training.hospital import Hospital
from training.hospital_setup import HospitalSetup, split_patients
from training.metrics import Metrics
from training.model_state import load
from training.own_code_faults import in_full
from training.records import Records, concatenate
from training.round_record import RoundRecord
from training.run_history import RoundResult
from training.scaling import constant_columns
from training.simulation_folder import SimulationSettings
from training.sites import read_test
from training.splitting import Site
from training.task import Task
from training.tested_patients import at_two_hospitals, of_the_held_back, overlap
from training.without_effect import another_batch, unused_dropout, unused_patients

NO_BUDGET: Final = "budget-exceeded"


class SimulatedConsortium:
    """The hospitals of a run.

    Args:
        on_refusal: called with a hospital's name and what it refused.
        on_caution: called with a hospital's name and what its people must know.

    Raises:
        SecaggError: if one of them cannot start, or refuses to; the others then give back what they have reserved.
    """

    def __init__(
        self,
        folder: Path,
        settings: SimulationSettings,
        charter: VerifiedCharter,
        task: Task,
        sites: Sequence[Site],
        on_refusal: Callable[[str, SecaggError], None],
        on_caution: Callable[[str, Caution], None],
    ) -> None:
        self.settings = settings
        self._tell = on_refusal
        self._on_caution = on_caution
        self.charter = charter
        self.task = task
        self.device = resolve_device(settings.device)
        self.numbers = {member.name: number for number, member in enumerate(charter.charter.members, 1)}
        self.patients = []
        tests: list[Records] = []
        homes: list[str] = []
        for site in sites:
            train, test = split_patients(site.records, task)
            self.patients.append(HospitalPatients(site.name, train))
            if test:
                tests.append(test)
                homes += [site.name] * test.patient_count
        self._overlap: tuple[Caution, ...] = ()
        with in_full():
            self.test = read_test(settings.source, task)
        if self.test:
            # Never refused here: a run that has begun, and spent its budget, can be ended and shown.
            self._overlap = overlap(self.test, self.patients).cautions()
        elif tests:
            self.test = concatenate(tests)
            self._overlap = of_the_held_back(self.test, homes, self.patients)
        self.failures: list[SecaggError] = []
        self._refused: list[tuple[str, str]] = []
        self._before = 0
        self.hospitals: dict[int, Hospital] = {}
        try:
            for site in sites:
                self.hospitals[self.numbers[site.name]] = self._hospital(folder, site)
        except BaseException:
            # One refuses, so nobody starts: what the others have reserved is free again.
            for hospital in self.hospitals.values():
                hospital.withdraw()
            self.close()
            raise

    def __enter__(self) -> SimulatedConsortium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every hospital."""
        for hospital in self.hospitals.values():
            hospital.close()

    def on_failure(self, member: int, error: SecaggError) -> None:
        """A hospital could not answer; the others may do without it."""
        self.failures.append(error)
        self._on_refusal(self.charter.charter.member(member).name, error)

    def out_of_budget(self) -> list[str]:
        """Whose budget was too small since the last sum, by name; nobody's, if anything else was refused as well."""
        if {reason for _, reason in self._refused} != {NO_BUDGET}:
            return []
        return list(dict.fromkeys(name for name, _ in self._refused))

    def lacking(self, made: int) -> dict[str, float]:
        """The epsilon that the rest of the run would bring hospitals to whose policy does not allow it, by name.

        Args:
            made: how many sums the coordinator has. One that no hospital has yet is paid for already.
        """
        sums = max(made, self.furthest().state.sums)
        needed = {hospital.name: hospital.epsilon_lacking(sums) for hospital in self.hospitals.values()}
        return {name: epsilon for name, epsilon in needed.items() if epsilon is not None}

    def over(self, record: RoundRecord) -> None:
        """A round is over: if there was a sum, what failed before it is no reason for what goes wrong later."""
        if record.step:
            self._refused.clear()
            del self.failures[: self._before]
        self._before = len(self.failures)

    def furthest(self) -> Hospital:
        """A hospital that has applied the most sums."""
        return max(self.hospitals.values(), key=lambda hospital: hospital.state.sums)

    def measure(self, record: RoundRecord) -> RoundResult:
        """A round with the model's measures, where it made a sum of the training, and what has been spent."""
        metrics = self.evaluate() if record.purpose is Purpose.TRAINING and record.step else None
        return RoundResult(record, metrics, self.epsilon())

    def epsilon(self) -> float | None:
        """The most that any hospital's patients have spent in this run."""
        return max((hospital.epsilon or 0.0 for hospital in self.hospitals.values()), default=0.0) or None

    def budgets(self) -> dict[str, BudgetUse]:
        """How much of each hospital's budget is used, by name."""
        used = {hospital.name: hospital.budget_use for hospital in self.hospitals.values()}
        return {name: use for name, use in used.items() if use}

    def cautions(self) -> tuple[Caution, ...]:
        """What is to be told of the consortium's statistics, once there are some."""
        return constant_columns(next(filter(None, (own.constant_columns for own in self.hospitals.values())), ()))

    def without_effect(self) -> tuple[Caution, ...]:
        """What is to be told of settings before anybody trains."""
        charter, patients = self.charter.charter, sum(own.train.patient_count for own in self.patients)
        private = (
            (*at_two_hospitals(self.patients), *large_delta(charter.privacy.delta, patients))
            if charter.privacy.mode != "none"
            else ()
        )
        told = (
            *self._overlap,
            *private,
            *unused_dropout(charter, self.settings.choices),
            *another_batch(charter, patients),
        )
        return (*told, *unused_patients(charter, self.task.spec.evaluation)) if self.settings.source.test else told

    def evaluate(self) -> Metrics:
        """The consortium's model on the test records."""
        hospital = self.furthest()
        module = self.task.build_model()
        load(module, hospital.state.model)
        if self.test is None:
            return Metrics(None, None, 0)
        records = hospital.scaling.apply(self.test, hospital.state.moments)
        return evaluate(self.task, module, records, self.device)

    def _on_refusal(self, name: str, error: SecaggError) -> None:
        if error.reason == TOO_MANY_FILES and error not in self.failures:
            # All hospitals are in this process: what one lacks stops the run.
            self.failures.append(error)
        self._refused.append((name, error.reason))
        self._tell(name, error)

    def _hospital(self, folder: Path, site: Site) -> Hospital:
        number = self.numbers[site.name]
        setup = HospitalSetup(
            self.charter,
            self.task,
            site.records,
            self.settings.hospital_folder(folder, site.name),
            self.device,
            np.random.default_rng((self.settings.seed, number)),
            on_refusal=partial(self._on_refusal, site.name),
            on_caution=partial(self._on_caution, site.name),
        )
        with speaking_for(site.name), in_full():
            return Hospital(setup)


@contextmanager
def speaking_for(name: str) -> Iterator[None]:
    """A hospital speaks of itself; here are several."""
    try:
        yield
    except RefusedError as error:
        told = f"{name} refuses: {error.message}"
        raise RefusedError(error.reason, told, culprit=name, remedy=error.remedy) from error
