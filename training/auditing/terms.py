"""What is audited: the privacy terms of a charter, or usual ones, and the charter of canaries that has the same.

Knows which terms decide how private a run is. Draws no noise and trains nothing.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from secagg.charter import Charter, Encoding, Member, Model, Privacy, Training, parse_charter, render_charter
from secagg.charter.sections import ServerStep
from secagg.charter.thresholds import smallest_threshold
from secagg.errors import InputError
from training.auditing.canaries import CanaryTask, canary_spec
from training.auditing.claim import audit_shares, batch_size, expected_batch
from training.auditing.settings import Mode
from training.draft import task_choice
from training.model_state import ModelLayout, flatten, model_digest
from training.noise import noise_digest
from training.privacy_plan import privacy_plan

# More hospitals where they share the noise: that of one, which may collude, is surplus and stays.
_HOSPITALS: Final[dict[Mode, int]] = {"local": 4, "distributed": 8}
_STEPS: Final = 2
# With which two steps on all records are one step with a noise multiplier of 2: half as much is told from it best.
_NOISE: Final = 2 * math.sqrt(_STEPS)
_FIELD_BITS: Final = 32
# Of an update's norm that is expected at most.
_ROOM: Final = 4.0


@dataclass(frozen=True, kw_only=True)
class Terms:
    """All that a run's privacy depends on, and nothing else of a charter.

    Attributes:
        privacy: without released counts.
        rounds: sums; ``local_steps`` between two of them.
        names: of the hospitals.
    """

    privacy: Privacy
    rounds: int
    local_steps: int
    names: tuple[str, ...]
    threshold: int
    max_colluding: int
    field_bits: int

    @classmethod
    def usual(cls, mode: Mode) -> Terms:
        """Those of an audit of the build and not of a charter: nothing stands between the noise and who looks for it.

        Everybody is in each of a few steps, and surplus noise is removed, so that what is left is what the
        accountant counts.
        """
        hospitals = _HOSPITALS[mode]
        levels = (hospitals,) if mode == "distributed" else ()
        return cls(
            privacy=Privacy(mode=mode, noise_multiplier=_NOISE, noise_levels=levels),
            rounds=_STEPS if mode == "distributed" else 1,
            local_steps=1 if mode == "distributed" else _STEPS,
            names=tuple(f"hospital-{number}" for number in range(1, hospitals + 1)),
            threshold=smallest_threshold(hospitals, 1),
            max_colluding=1,
            field_bits=_FIELD_BITS,
        )

    @classmethod
    def of(cls, charter: Charter) -> Terms:
        """Those of ``charter``.

        Raises:
            InputError: ``nothing-to-audit``, if it has no differential privacy.
        """
        if charter.privacy.mode == "none":
            raise InputError(
                "nothing-to-audit",
                f"The charter {charter.name} claims no differential privacy, so there is no claim to audit.",
                culprit="privacy.mode",
                remedy="Draft a charter with --dp local or distributed, or leave out --charter.",
            )
        return cls(
            privacy=msgspec.structs.replace(charter.privacy, metric_noise_multiplier=0.0),
            rounds=charter.training.rounds,
            local_steps=charter.training.local_steps,
            names=tuple(member.name for member in charter.members),
            threshold=charter.threshold,
            max_colluding=charter.max_colluding,
            field_bits=charter.encoding.field_bits,
        )

    @property
    def mode(self) -> Mode:
        """Of differential privacy."""
        return "distributed" if self.privacy.mode == "distributed" else "local"


def _drawn_here(terms: Terms, canaries: int) -> Privacy:
    """Theirs with the digest of the noise that is removed in vectors of this model's size."""
    hospitals = len(terms.names)
    shares = audit_shares(terms.privacy, hospitals, terms.threshold, terms.max_colluding, terms.field_bits, canaries)
    return msgspec.structs.replace(terms.privacy, noise_digest=noise_digest(shares))


def canary_charter(terms: Terms, members: Sequence[Member], canaries: int) -> Charter:
    """A charter on these terms whose task is to train on canaries.

    Raises:
        InputError: if the terms cannot be kept: ``field-too-narrow``.
    """
    spec = canary_spec(canaries)
    module = CanaryTask(spec).build_model()
    layout = ModelLayout.of(module)
    privacy = _drawn_here(terms, canaries)
    expected = expected_batch(privacy.sampling_rate, len(members), canaries)
    batch = batch_size(privacy.sampling_rate, len(members), canaries)
    charter = Charter(
        name="audit",
        nonce=secrets.token_bytes(16),
        members=tuple(members),
        threshold=terms.threshold,
        max_colluding=terms.max_colluding,
        model=Model(digest=model_digest(layout, flatten(module)), parameters=layout.size),
        task=task_choice(spec),
        training=Training(
            rounds=terms.rounds,
            local_steps=terms.local_steps,
            batch_size=batch,
            # What comes out is in clip norms.
            learning_rate=max(1.0, expected) / privacy.clip_norm if privacy.mode == "local" else 0.1,
            weighting="uniform",
            server=ServerStep(),
        ),
        encoding=Encoding(field_bits=terms.field_bits, update_norm=_longest_update(terms, layout.size), max_weight=1),
        privacy=privacy,
        epoch_rounds=min(terms.rounds, 10),
    )
    # The budget is that of this run: what is left of a data set's is no question where there is no data set.
    claim = privacy_plan(charter).epsilon_after(terms.rounds)
    privacy = msgspec.structs.replace(privacy, budget=math.nextafter(claim * 1.001, math.inf))
    return parse_charter(render_charter(msgspec.structs.replace(charter, privacy=privacy)))


def _longest_update(terms: Terms, size: int) -> float:
    """In clip norms: the noise of all local steps, and every canary in each of them."""
    noise = terms.privacy.noise_multiplier * math.sqrt(terms.local_steps * size)
    return _ROOM * (noise + terms.local_steps * math.sqrt(size))
