"""The hospitals that are attacked where more is needed than the masking protocol: with records, models and ledgers.

Knows how to lay a run out in a folder and open its hospitals. Whoever lies takes it from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from secagg.charter import Encoding, Training, VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.charter.sections import Scheme
from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError
from secagg.identity import Identity
from secagg.masking import Session
from secagg.masking.messages import Refusal
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from training.choices import CharterChoices
from training.devices import resolve_device
from training.draft import task_of
from training.hospital import Hospital
from training.hospital_setup import HospitalSetup, split_patients
from training.moment_vector import MomentVector
from training.run_folder import RunFolder
from training.simulation_folder import SimulationSettings, prepare, read_settings
from training.sites import DataSource, read_sites
from training.task import TaskSpec

FEATURES = ("age", "dose")
_ANY_SIZE = 1 << 24


class Party:
    """A hospital as a coordinator meets it: it answers, or refuses with a reason; it masks when a round begins."""

    def __init__(self, hospital: Hospital, charter: VerifiedCharter) -> None:
        self.hospital = hospital
        self._charter = charter
        self._masked = b""

    def receive(self, message: bytes) -> list[bytes]:
        """Take one message.

        Raises:
            RemoteProtocolError: with the reason of the refusal that the hospital answers.
        """
        replies = []
        for reply in self.hospital.receive(message):
            match peek(reply).stage:
                case Stage.REFUSAL:
                    refusal = decode(open_envelope(reply, self._charter, _ANY_SIZE).payload, Refusal)
                    raise RemoteProtocolError(refusal.reason, refusal.message)
                case Stage.MASKED:
                    self._masked = reply
                case _:
                    replies.append(reply)
        return replies

    def mask(self, _vector: object, _model: bytes) -> bytes:
        """The masked vector that it sent when the round began: it chooses vector and model itself."""
        return self._masked


@dataclass
class Ward:
    """Hospitals with folders of their own. Closes them as a context manager."""

    folder: Path
    charter: VerifiedCharter
    parties: dict[int, Party]
    identities: dict[int, Identity]
    moments: dict[int, RingVector]
    """What each hospital puts into the sum of statistics: the truth that an attacker's guess is compared with."""

    @classmethod
    def open(
        cls,
        folder: Path,
        hospitals: int = 5,
        rounds: int = 4,
        standardise: str = "secure-sum",
        scheme: Scheme = "mask",
        batch_size: int = 8,
    ) -> Ward:
        """A new run, without differential privacy, so that nothing hides what the protocol does not."""
        run = folder / "run"
        training = Training(rounds=rounds, local_steps=2, batch_size=batch_size, learning_rate=0.2)
        prepare(run, _settings(folder, hospitals, training, standardise, scheme))
        settings = read_settings(run)
        charter = read_verified(RunFolder(run).charter)
        ward = cls(run, charter, {}, {}, {})
        task = task_of(charter.charter)
        for number, site in enumerate(read_sites(settings.source, task), 1):
            home = settings.hospital_folder(run, site.name)
            shuffle = np.random.default_rng((0, number))
            setup = HospitalSetup(charter, task, site.records, home, resolve_device("cpu"), shuffle)
            hospital = Hospital(setup)
            ward.parties[number] = Party(hospital, charter)
            ward.identities[number] = Identity.load(home.identity)
            if charter.charter.statistics.features:
                train, _ = split_patients(site.records, task)
                codec = MomentVector(charter.charter, train.feature_names)
                ward.moments[number] = codec.encode(train)
        return ward

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self.parties:
            self.parties.popitem()[1].hospital.close()

    def forge(self, stage: Stage, payload: msgspec.Struct, *, epoch: int = 0, round_number: int = 0) -> bytes:
        """Any message of the coordinator's around the protocol."""
        return Sealer(self.charter, COORDINATOR, None, epoch).seal(stage, payload, round=round_number)

    def nothing_to_mask(self) -> dict[int, Any]:
        """Stands for the vectors that a `LyingCoordinator` collects: hospitals choose their own."""
        return dict.fromkeys(self.parties)

    def signed(self, number: int, session: Session) -> Sealer:
        """What a hospital that colludes signs with."""
        return Sealer(self.charter, number, self.identities[number], session.epoch)


def _settings(folder: Path, hospitals: int, training: Training, standardise: str, scheme: Scheme) -> SimulationSettings:
    task = {
        "model": {"name": "logistic"},
        "data": {"label": "ill", "features": FEATURES, "standardise": standardise},
        "evaluation": {"metric": "accuracy", "test_fraction": 0.25},
    }
    spec = TaskSpec.from_settings("tabular-classification", msgspec.json.encode(task))
    choices = CharterChoices(
        training=training, encoding=Encoding(max_weight=64), epoch_rounds=training.rounds, scheme=scheme
    )
    return SimulationSettings(
        task_kind=spec.kind,
        task_settings=spec.settings_json().decode(),
        source=DataSource(paths=tuple(str(path) for path in _write_tables(folder / "data", hospitals))),
        choices=choices,
        device="cpu",
        compare=False,
    )


def _write_tables(folder: Path, hospitals: int) -> list[Path]:
    """One table a hospital, each larger than the one before, in which the features tell something of the label."""
    folder.mkdir()
    generator, paths = np.random.default_rng(1), []
    for number in range(1, hospitals + 1):
        labels = np.arange(20 + 2 * number) % 2
        values = generator.normal(labels[:, None] * 1.5 + 0.1 * number, 1.0, (len(labels), len(FEATURES)))
        lines = [",".join((*FEATURES, "ill"))]
        lines += [
            ",".join([*(f"{value:.4f}" for value in row), str(label)])
            for row, label in zip(values, labels, strict=True)
        ]
        paths.append(folder / f"h{number}.csv")
        paths[-1].write_text("\n".join(lines) + "\n")
    return paths
