"""A study's records, read and divided between hospitals, and what a model is worth on those that nobody trains on."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from benchmarks.utility.measuring import measured
from benchmarks.utility.study import Places, Scores, Study
from secagg.charter import Charter, Member, Training
from secagg.identity import Identity
from training.choices import CharterChoices
from training.draft import draft_charter, make_task
from training.hospital_setup import split_patients
from training.records import Records, concatenate
from training.scaling import Scaling
from training.sites import read_sites
from training.splitting import divide_stratified
from training.task import TaskSpec, bind_to_file, load_task_file


@dataclass(frozen=True, eq=False)
class Hospital:
    """One hospital's training patients, as they are in its file."""

    name: str
    train: Records


class Ground:
    """A study's records, read and divided."""

    def __init__(self, study: Study, places: Places) -> None:
        self.study = study
        self.places = places
        self.spec = _bound(study.task, places)
        self.task = make_task(self.spec)
        kept = []
        self.hospitals: list[Hospital] = []
        for site in read_sites(places.source, self.task):
            train, back = split_patients(site.records, self.task)
            self.hospitals.append(Hospital(site.name, train))
            kept += [back] if back else []
        self.test = self.task.read(Path(places.test)) if places.test else concatenate(kept)
        self.validation = self.task.read(Path(places.validation)) if places.validation else None

    @property
    def pooled(self) -> Records:
        """The training patients of all hospitals."""
        return concatenate([hospital.train for hospital in self.hospitals])

    def keeping_back(self, part: float, seed: int) -> Ground:
        """The same, with this part of each hospital's training patients as validation patients; or as it is, where the
        data set has some."""
        if self.validation:
            return self
        ground = copy(self)
        parts = [divide_stratified(held.train, 1 - part, seed) for held in self.hospitals]
        ground.hospitals = [Hospital(held.name, train) for held, (train, _) in zip(self.hospitals, parts, strict=True)]
        ground.validation = concatenate([back for _, back in parts])
        return ground

    def scaled(self, records: Records) -> Records:
        """As the task scales them: by bounds that are known, so by nobody's records."""
        return Scaling(self.spec).apply(records, None)

    def charter(self, choices: CharterChoices) -> Charter:
        """What these choices come to for these hospitals, with keys of nobody."""
        keys = [Identity.from_seed(number.to_bytes(32, "big")).public_key for number in range(len(self.hospitals))]
        members = [Member(name=held.name, public_key=key) for held, key in zip(self.hospitals, keys, strict=True)]
        return draft_charter(choices, members, self.spec)

    def scores(self, module: nn.Module) -> Scores:
        """On the test patients."""
        return measured(self.task, module, self.scaled(self.test))

    def validated(self, module: nn.Module) -> Scores | None:
        """On the validation patients, where the data set has some."""
        return measured(self.task, module, self.scaled(self.validation)) if self.validation else None

    @cached_property
    def _any_charter(self) -> Charter:
        return self.charter(CharterChoices(training=Training(rounds=1)))


def _bound(task: Path, places: Places) -> TaskSpec:
    """The task with its columns written out, as the toolkit does where a file names them."""
    spec = load_task_file(task)
    return spec if spec.is_bound else bind_to_file(spec, Path(places.source.paths[0]))
