"""What is known of a consortium that does not exist yet, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from training.costs.links import Network

_DELTA_PATIENTS: Final = 10
_LARGEST_DELTA: Final = 1e-5


@dataclass(frozen=True)
class Budget:
    """What privacy is to cost.

    Attributes:
        epsilon, delta: of the whole run; a delta of None: a tenth of one over the patients, 1e-5 at most.
        patients: training patients of all hospitals together.
        sampling_rate: with which a patient is in a step.
    """

    epsilon: float
    delta: float | None
    patients: int
    sampling_rate: float


@dataclass(frozen=True)
class Wishes:
    """What is known of the consortium.

    Attributes:
        parameters: d, that are trained.
        dropout: the share of hospitals that may be gone at once.
        rounds: sums that make the model.
        coordinator_sees: what the coordinator may learn of sums.
        field_bits, epoch_rounds: None where they are to be recommended.
        round_seconds: how long a round may take at most.
        budget: None without differential privacy.
        noise_levels: for how many survivors surplus noise is removed; None where that is to be recommended.
    """

    members: int
    parameters: int
    colluding: int
    dropout: float
    rounds: int
    network: Network
    coordinator_sees: Literal["sum", "nothing"] = "sum"
    field_bits: int | None = None
    epoch_rounds: int | None = None
    round_seconds: float | None = None
    budget: Budget | None = None
    noise_levels: tuple[int, ...] | None = None


def delta_of(budget: Budget) -> float:
    """The delta that was given, or one well below one over the patients."""
    return budget.delta or float(f"{min(_LARGEST_DELTA, 1 / (_DELTA_PATIENTS * budget.patients)):.6g}")
