"""The end of a run at a hospital: what it attests to, and the release that it keeps.

Knows the charter and what patients have spent. Refuses to state less than that, or two different things of one model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dp.stated import is_covered
from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.release import PrivacyClaim
from secagg.release.statement import statement_bytes
from training.hospital_budget import HospitalBudget
from training.hospital_state import HospitalState
from training.model_state import ModelLayout, model_digest
from training.release import describe_release, model_file, require_attested, write_release
from training.scaling import Scaling

_STATE_ALL: Final = (
    "Ask the coordinator to start again with its whole folder, which has every round, and to conclude again."
)


class Concluding:
    """Says what the release of one charter is to state, by the states that it is given.

    Args:
        budget: of the run, by which no release may state less than was charged.
    """

    def __init__(self, charter: VerifiedCharter, layout: ModelLayout, scaling: Scaling, budget: HospitalBudget) -> None:
        self._charter = charter
        self._layout = layout
        self._scaling = scaling
        self._budget = budget

    def statement(self, state: HospitalState, rounds: int) -> bytes:
        """The statement about the finished model, of so many rounds, that this hospital can attest to.

        Raises:
            RemoteProtocolError: ``understated-rounds``; ``already-concluded``, of another number of rounds;
                ``nothing-learned``.
        """
        self._require_rounds(state, rounds)
        self._require_learned(state)
        file = model_file(self._layout, state, self._scaling)
        release = describe_release(self._charter, self._layout, state, rounds)
        self._require_all_stated(release.privacy)
        return statement_bytes(file, release)

    def keep_release(self, state: HospitalState, signed: bytes, folder: Path) -> None:
        """Write the release into ``folder``, if it is about the statement that was attested to.

        Raises:
            RemoteProtocolError: ``other-release``.
            TamperingError: if statement, model and charter do not fit together; nothing has changed then.
            InputError: ``unwritable``.
        """
        file = model_file(self._layout, state, self._scaling)
        release = describe_release(self._charter, self._layout, state, state.progress.stated_rounds)
        require_attested(statement_bytes(file, release), signed)
        write_release(folder, self._charter, file, signed)

    def _require_rounds(self, state: HospitalState, rounds: int) -> None:
        if rounds < max(self._budget.rounds_charged, state.sums):
            # Every contributor checks its own, so that the epsilon stated covers the one with the most.
            raise RemoteProtocolError(
                "understated-rounds",
                f"The release would state {rounds} rounds; this hospital has taken part in more.",
                remedy=_STATE_ALL,
            )
        progress = state.progress
        if progress.concluded and rounds != progress.stated_rounds:
            # Two statements that all have signed would be two releases of one model, of different epsilon.
            raise RemoteProtocolError(
                "already-concluded",
                f"This hospital has attested to a release of {progress.stated_rounds} rounds, and attests to no other.",
                remedy="Ask the coordinator to put its folder back as it was, so that it asks for the same number.",
            )

    def _require_learned(self, state: HospitalState) -> None:
        """Nobody's release is the model that all began with, which every sum may have left as it was."""
        if model_digest(self._layout, state.model) == self._charter.charter.model.digest:
            raise RemoteProtocolError(
                "nothing-learned",
                f"None of {state.sums} sums has changed the model.",
                remedy="Lower the learning rates if training diverged. If there was a warning of a coarse grid, draft "
                "a charter with more field bits or a smaller max_weight. Each hospital's log says what sums came to.",
            )

    def _require_all_stated(self, claim: PrivacyClaim) -> None:
        """Rounds alone do not tell: one that was repeated may have cost more than another."""
        spent, stated = self._budget.epsilon(), claim.epsilon
        if spent is not None and (stated is None or not is_covered(spent, stated)):
            raise RemoteProtocolError(
                "understated-rounds",
                "The release would state less than this hospital's patients have spent under this charter.",
                remedy=f"{_STATE_ALL} If this hospital's log says that its file has changed since, put the file and "
                "the folder patients/ back as they were.",
            )
