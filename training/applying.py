"""What a sum makes of a hospital's state, and which sums are due.

Knows the order of sums, their encoding and the server's step. Knows nothing of messages: nothing is checked or taken
here that a tag, an endorsement or a budget decides on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from secagg.charter import Charter
from secagg.charter.cautions import Caution
from secagg.errors import RemoteProtocolError, SecaggError
from secagg.masking import Purpose, RoundSum
from training.hospital_state import AppliedSum, HospitalState
from training.model_state import ModelLayout
from training.moment_vector import MomentVector
from training.noise import noise_shares
from training.progress import counts_are_due, is_finished
from training.scaling import Scaling
from training.server_optimizer import StepOverflowError, apply
from training.standardisation import unscaled
from training.step_vector import StepVector
from training.vector_layout import UpdateVector


@dataclass(frozen=True)
class SumApplier:
    """The sums of one charter, applied to a hospital's state.

    Attributes:
        features: one name for each column that statistics are taken of.
        on_void: hears why a sum changes nothing.
    """

    charter: Charter
    layout: ModelLayout
    scaling: Scaling
    features: Sequence[str]
    on_void: Callable[[Caution], None] = lambda _caution: None

    def due(self, state: HospitalState) -> Purpose:
        """Of what the next sum is: statistics come before any training."""
        return Purpose.STATISTICS if self.scaling.lacks_moments(state.moments) else Purpose.TRAINING

    def after(self, state: HospitalState, total: RoundSum, purpose: Purpose) -> HospitalState:
        """The state that ``state`` becomes by a sum; nothing is done yet.

        One that nothing can be made of, as where a hospital has sent a false weight, counts and changes nothing: it has
        been given out, so that whoever refused it would lack it for good.

        Raises:
            RemoteProtocolError: ``missed-sum``, ``other-model``, ``stale-round``, ``no-statistics``, ``finished``.
        """
        have = state.reached.of(purpose)
        if total.step != have + 1:
            raise missed_sum(total.step, have)
        if purpose is Purpose.TRAINING and self.scaling.lacks_moments(state.moments):
            raise missed_sum(total.step, have)
        if total.model != state.digest(self.layout):
            raise RemoteProtocolError("other-model", "The sum was taken in another state than this hospital's.")
        match purpose:
            case Purpose.STATISTICS:
                self.require_moments_due(state)
                return self._after_moments(state, total)
            case Purpose.TRAINING:
                self.require_unfinished(state)
                _require_later_round(state, total)
                return self._after_step(state, total)

    def _after_moments(self, state: HospitalState, total: RoundSum) -> HospitalState:
        try:
            moments = MomentVector(self.charter, self.features).decode(total.vector)
        except RemoteProtocolError as error:
            self._tell_void(total, error)
            moments = unscaled(len(self.features))
        return state.after_moments(moments)

    def _after_step(self, state: HospitalState, total: RoundSum) -> HospitalState:
        training = self.charter.training
        try:
            mean = self._codec.decode(total.vector)
            optimizer, model = apply(training.server, state.optimizer, state.model, mean.update, training.rounds)
            counts = mean.cells
        except (RemoteProtocolError, StepOverflowError) as error:
            self._tell_void(total, error)
            optimizer, model = replace(state.optimizer, step=state.optimizer.step + 1), state.model
            counts = self._codec.counts(total.vector)
        # Where no counts were due, what stands in their place is noise and nothing else.
        cells = tuple(counts.tolist()) if counts_are_due(self.charter, total.step) else ()
        return state.after_sum(AppliedSum(total.round, total.survivors.numbers, cells), model, optimizer)

    def _tell_void(self, total: RoundSum, error: SecaggError) -> None:
        told = f"The sum of round {total.round} counts, and changes nothing. {error.message}"
        self.on_void(Caution(error.reason, told, error.remedy or ""))

    @cached_property
    def _codec(self) -> StepVector | UpdateVector:
        if self.charter.privacy.mode == "distributed":
            return StepVector(self.charter, noise_shares(self.charter))
        return UpdateVector(self.charter, self.layout)

    def is_finished(self, state: HospitalState) -> bool:
        """Whether no further sum is due."""
        return is_finished(self.charter, self.scaling.spec, state.progress)

    def require_unfinished(self, state: HospitalState) -> None:
        """Refuse training beyond the charter.

        Raises:
            RemoteProtocolError: ``finished``.
        """
        if self.is_finished(state):
            raise RemoteProtocolError("finished", "This hospital has every sum that the charter asks for.")

    def require_moments_due(self, state: HospitalState) -> None:
        """Refuse statistics beyond the charter.

        Raises:
            RemoteProtocolError: ``no-statistics``.
        """
        if not self.scaling.lacks_moments(state.moments):
            raise RemoteProtocolError("no-statistics", "The charter asks for no more sums of feature statistics.")


def _require_later_round(state: HospitalState, total: RoundSum) -> None:
    """A sum of a round that is said to come later would stand in the log where that round's true one belongs."""
    last = max(state.rounds, default=0)
    if total.round <= last:
        raise RemoteProtocolError(
            "stale-round", f"Sum {total.step} is said to be of round {total.round}; the one before was of round {last}."
        )


def missed_sum(wanted: int, have: int) -> RemoteProtocolError:
    """The error of a hospital that lacks what comes before the sum ``wanted``."""
    return RemoteProtocolError(
        "missed-sum",
        f"Sum {wanted} is next, but this hospital has {have}.",
        remedy="The coordinator sends the sums that were missed.",
    )
