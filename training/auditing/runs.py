"""One run with canaries, as a hospital or a consortium makes any other; and what who reads its results sees of them.

Knows how a run is laid out, begun and read. Everything between a patient's record and what is read is what a real run
goes through. Knows nothing of guesses.

Who reads is the strongest whom the claim holds against: it knows the model and every record but whether a canary is in,
and it sees every sum. Every step moves a canary's own parameter by what the sum says in its direction; so that the last
model has the sum of all that it could read in between.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dp.auditing import Trial
from secagg.charter import Charter, Member, VerifiedCharter, sign_charter, verify_charter
from secagg.errors import SecaggError
from secagg.files import PRIVATE, write_atomically
from secagg.identity import Identity
from secagg.policy import render_policy
from secagg.policy.needs import needed_policy
from training.auditing.canaries import canary_records
from training.auditing.terms import Terms, canary_charter
from training.contributing import Contributor
from training.coordinator import Coordinator
from training.devices import cores_for, resolve_device
from training.draft import task_of
from training.engines.embedded import EmbeddedEngine
from training.hospital import Hospital
from training.hospital_folder import HospitalFolder
from training.hospital_setup import HospitalSetup
from training.hospital_state import AppliedSum, HospitalState
from training.model_state import ModelLayout, flatten
from training.records import Records
from training.scaling import Scaling
from training.scratch_folder import scratch_folder
from training.server_optimizer import apply
from training.vector_layout import UpdateVector

Model = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


def audited_charter(terms: Terms, canaries: int) -> tuple[Charter, tuple[Identity, ...]]:
    """A charter of hospitals that are there for one run, and their keys."""
    identities = tuple(Identity.generate() for _ in terms.names)
    members = [Member(name=name, public_key=key.public_key) for name, key in zip(terms.names, identities, strict=True)]
    return canary_charter(terms, members, canaries), identities


def run_with_canaries(terms: Terms, canaries: int, on_round: Callable[[], None] = lambda: None) -> Trial:
    """Throw a coin for each canary, run, and read what it moved.

    Args:
        on_round: called after every round.

    Raises:
        SecaggError: if the terms cannot be kept, or what stopped the run.
    """
    charter, identities = audited_charter(terms, canaries)
    inside = np.frombuffer(secrets.token_bytes(canaries), np.uint8) % 2 == 1
    with cores_for(charter.model.parameters):
        if terms.mode == "local":
            model = _one_hospital(charter, np.flatnonzero(inside), on_round)
        else:
            model = _consortium(charter, identities, np.flatnonzero(inside), on_round)
    return Trial(inside, model[1:].astype(np.float64))


def _one_hospital(charter: Charter, inside: Indices, on_round: Callable[[], None]) -> Model:
    """The model that one hospital's updates make, each encoded and read as if all others had told theirs."""
    hospital = _Hospital.of(charter, canary_records(inside, charter.privacy.clip_norm))
    try:
        for step in range(1, charter.training.rounds + 1):
            hospital.take(step)
            on_round()
        return hospital.state.model
    finally:
        hospital.contributor.close()


@dataclass
class _Hospital:
    """A hospital whose vectors nobody masks."""

    contributor: Contributor
    state: HospitalState

    @classmethod
    def of(cls, charter: Charter, records: Records) -> _Hospital:
        task = task_of(charter)
        module = task.build_model()
        scaling, layout = Scaling(task.spec), ModelLayout.of(module)
        contributor = Contributor(charter, task, records, None, scaling, layout, resolve_device("cpu"))
        return cls(contributor, HospitalState.start(charter.digest(), flatten(module)))

    def take(self, step: int) -> None:
        """Make an update, and apply it."""
        charter, state = self.contributor.charter, self.state
        vector = self.contributor.update(state, step, ())
        mean = UpdateVector(charter, self.contributor.layout).decode(vector.elements)
        training = charter.training
        optimizer, model = apply(training.server, state.optimizer, state.model, mean.update, training.rounds)
        self.state = state.after_sum(AppliedSum(step, (1,)), model, optimizer)


def _consortium(
    charter: Charter, identities: Sequence[Identity], inside: Indices, on_round: Callable[[], None]
) -> Model:
    """The model that all hospitals end with, the canaries dealt out among them."""
    verified = verify_charter(charter, [sign_charter(charter, identity) for identity in identities])
    hospitals: dict[int, Hospital] = {}
    with scratch_folder() as folder:
        try:
            for number, identity in enumerate(identities, start=1):
                # By its own number alone, so that a canary more or fewer leaves all others where they are.
                own = inside[inside % len(identities) == number - 1]
                records = canary_records(own, charter.privacy.clip_norm)
                hospitals[number] = _open(folder / str(number), verified, identity, records)
            engine = EmbeddedEngine(hospitals, on_failure=_refuse_to_go_on)
            Coordinator(verified, engine, folder / "coordinator", lambda _record: on_round()).run()
            return hospitals[1].state.model
        finally:
            for hospital in hospitals.values():
                hospital.close()


def _refuse_to_go_on(_member: int, error: SecaggError) -> None:
    """A run that lacks a hospital is no sample of what is audited."""
    raise error


def _open(path: Path, charter: VerifiedCharter, identity: Identity, records: Records) -> Hospital:
    folder = HospitalFolder(path)
    path.mkdir(mode=0o700)
    identity.save(folder.identity)
    write_atomically(folder.policy, render_policy(needed_policy(charter.charter)), PRIVATE)
    return Hospital(HospitalSetup(charter, task_of(charter.charter), records, folder, resolve_device("cpu")))
