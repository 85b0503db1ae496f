"""Hospitals for tests: a whole run's folder with real keys, files, latches and ledgers, and engines that misbehave."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch

from secagg.charter import Encoding, Training, VerifiedCharter
from secagg.charter.cautions import Caution
from secagg.charter.folder import read_verified
from secagg.errors import SecaggError
from secagg.wire import COORDINATOR, Sealer, Stage
from training.choices import CharterChoices
from training.coordinator import Coordinator
from training.devices import resolve_device
from training.draft import task_of
from training.engines.base import Exchange, Outbox, Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.hospital import Hospital
from training.hospital_folder import HospitalFolder
from training.hospital_setup import HospitalSetup
from training.simulation_folder import SimulationSettings, prepare, read_settings
from training.sites import DataSource, read_sites
from training.task import TaskSpec

torch.set_num_threads(1)

FEATURES = ("age", "dose")
SCALED_BY_SUMS = {"standardise": "secure-sum"}
BOUNDED = {"standardise": "bounds", "bounds": dict.fromkeys(FEATURES, (-4.0, 4.0))}


def write_table(path: Path, rows: int, generator: np.random.Generator, shift: float = 0.0) -> Path:
    """A CSV file in which both labels occur and the features tell something of them."""
    labels = np.arange(rows) % 2
    values = generator.normal(labels[:, None] * 1.5 + shift, 1.0, (rows, len(FEATURES)))
    lines = [",".join((*FEATURES, "ill"))]
    lines += [f"{','.join(f'{value:.4f}' for value in row)},{label}" for row, label in zip(values, labels, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_tables(folder: Path, hospitals: int, rows: int = 20, seed: int = 1) -> list[Path]:
    """One file a hospital, each larger than the one before."""
    generator = np.random.default_rng(seed)
    return [
        write_table(folder / f"h{number}.csv", rows + 2 * number, generator, 0.1 * number)
        for number in range(1, hospitals + 1)
    ]


def tabular_spec(
    test_fraction: float = 0.25,
    metric: str = "accuracy",
    division: str = "by-patient",
    bins: int | None = None,
    **data: object,
) -> TaskSpec:
    settings = {
        "model": {"name": "logistic"},
        "data": {"label": "ill", "features": FEATURES, "standardise": "none"} | data,
        "evaluation": {"metric": metric, "test_fraction": test_fraction, "division": division, "bins": bins},
    }
    return TaskSpec.from_settings("tabular-classification", msgspec.json.encode(settings))


def training_of(**changes: object) -> Training:
    return Training(**({"rounds": 3, "local_steps": 2, "batch_size": 8, "learning_rate": 0.2} | changes))


def choices_of(training: Training | None = None, **changes: object) -> CharterChoices:
    settings = {"training": training or training_of(), "encoding": Encoding(max_weight=64), "epoch_rounds": 2}
    return CharterChoices(**(settings | changes))


def settings_for(
    paths: Sequence[Path], choices: CharterChoices, spec: TaskSpec | None = None, **changes: object
) -> SimulationSettings:
    spec = spec or tabular_spec()
    fields: dict[str, object] = {
        "task_kind": spec.kind,
        "task_settings": spec.settings_json().decode(),
        "source": DataSource(paths=tuple(map(str, paths))),
        "choices": choices,
        "device": "cpu",
        "compare": False,
    }
    return SimulationSettings(**(fields | changes))


PRIVATE_TASK = tabular_spec(**BOUNDED)
PRIVATE_CHOICES = choices_of(training_of(local_steps=1), privacy="local", epsilon=8.0, sampling_rate=0.5)


class StoppedHereError(Exception):
    """The coordinator was stopped on purpose; what it was about to send is in ``outbox``."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__("stopped")
        self.outbox = dict(outbox)


@dataclass
class StoppingEngine:
    """Delivers everything until a phase of a round, and stops there before anything of it is delivered."""

    parties: dict[int, Hospital]
    phase: Phase
    round: int

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        if (phase, round_number) == (self.phase, self.round):
            raise StoppedHereError(outbox)
        return EmbeddedEngine(self.parties).exchange(phase, outbox, round_number)


@dataclass
class RecordingEngine:
    """Delivers everything, loses what ``drop_outs`` says, and keeps all that was sent either way."""

    parties: dict[int, Hospital]
    drop_outs: Collection[DropOut] = ()
    sent: list[tuple[Phase, int, int, bytes]] = field(default_factory=list)
    received: list[tuple[Phase, int, int, bytes]] = field(default_factory=list)

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        self.sent += [(phase, round_number, member, message) for member, message in outbox]
        exchange = EmbeddedEngine(self.parties, self.drop_outs).exchange(phase, outbox, round_number)
        self.received += [(phase, round_number, member, message) for member, message in exchange.inbox]
        return exchange


@dataclass
class Ward:
    """The hospitals of a prepared folder, opened, what they refused, and what they warned of."""

    folder: Path
    charter: VerifiedCharter
    hospitals: dict[int, Hospital]
    refused: list[tuple[str, str]]
    cautions: list[tuple[str, str]]
    homes: dict[str, HospitalFolder]

    @classmethod
    def open(cls, folder: Path) -> Ward:
        settings = read_settings(folder)
        charter = read_verified(folder / "charter")
        homes = {member.name: settings.hospital_folder(folder, member.name) for member in charter.charter.members}
        ward = cls(folder, charter, {}, [], [], homes)
        try:
            for number, site in enumerate(read_sites(settings.source, task_of(charter.charter)), 1):
                ward.hospitals[number] = ward.open_hospital(number, site.name, site.records)
        except BaseException:
            ward.close()
            raise
        return ward

    def open_hospital(self, number: int, name: str, records: object) -> Hospital:
        def hear(error: SecaggError) -> None:
            self.refused.append((name, error.reason))

        def heed(caution: Caution) -> None:
            self.cautions.append((name, caution.code))

        return Hospital(
            HospitalSetup(
                self.charter,
                task_of(self.charter.charter),
                records,
                self.homes[name],
                resolve_device("cpu"),
                np.random.default_rng((0, number)),
                on_refusal=hear,
                on_caution=heed,
            )
        )

    def close(self) -> None:
        while self.hospitals:
            self.hospitals.popitem()[1].close()

    def __enter__(self) -> Ward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def coordinator(self, *drop_outs: DropOut, engine: object = None, **options: object) -> Coordinator:
        engine = engine or EmbeddedEngine(self.hospitals, drop_outs)
        return Coordinator(self.charter, engine, self.folder / "coordinator", **options)

    def stop_before(self, phase: Phase, round_number: int) -> dict[int, bytes]:
        """Run until that point; what the coordinator was about to send, by member."""
        try:
            self.coordinator(engine=StoppingEngine(self.hospitals, phase, round_number)).run()
        except StoppedHereError as stopped:
            return stopped.outbox
        raise AssertionError(f"the run never came to {phase} of round {round_number}")

    def forge(self, stage: Stage, payload: msgspec.Struct, epoch: int = 0, round_number: int = 0) -> bytes:
        """Any message of the coordinator's: it is unsigned, so that anybody can make one."""
        return Sealer(self.charter, COORDINATOR, None, epoch).seal(stage, payload, round=round_number)

    def home(self, number: int) -> HospitalFolder:
        """Where a hospital keeps what."""
        return self.homes[self.charter.charter.member(number).name]

    def state_file(self, number: int) -> Path:
        return self.home(number).state(self.charter.digest)

    @property
    def models(self) -> set[bytes]:
        return {hospital.state.model.tobytes() for hospital in self.hospitals.values()}

    @property
    def sums(self) -> list[int]:
        return [hospital.state.sums for _, hospital in sorted(self.hospitals.items())]


def prepared(
    folder: Path, hospitals: int, choices: CharterChoices, spec: TaskSpec | None = None, **more: object
) -> Path:
    """A run's folder, laid out and not started."""
    run = folder / "run"
    prepare(run, settings_for(write_tables(folder / "data", hospitals), choices, spec, **more))
    return run
