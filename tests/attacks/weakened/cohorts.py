"""Builds without the rules on survivor sets, or without the memory of them."""

from __future__ import annotations

from unittest.mock import patch

from secagg.charter import thresholds
from secagg.errors import RemoteProtocolError
from secagg.labels import digest
from secagg.masking import MaskingClient, Survivors
from secagg.masking.messages import Deals, Unmask
from secagg.wire import envelope
from training.testbed.build import Build, Control

from .sums import without_check


class WithoutAgreement(MaskingClient):
    """Reveals without anybody's agreement."""

    def _require_agreement(self, survivors: Survivors, payload: Unmask) -> None:
        pass


class WithPartialDeals(MaskingClient):
    """Goes on with those whose deals came, however few."""

    def _collect(self, payload: Deals) -> list[bytes]:
        epoch = self._current()
        epoch.dealers = frozenset(envelope.peek(message).sender for message in payload.deals)
        epoch.participants = epoch.dealers | {self.number}
        return super()._collect(payload)


class WithoutBoth(WithoutAgreement, WithPartialDeals):
    """Neither compares survivor sets nor asks for everybody's deals."""


class AnswersForAnySet(WithoutAgreement):
    """Answers for whatever survivor set it is told, of any size and with anybody in it."""

    def _acceptable(self, round_number: int, numbers: list[int]) -> Survivors:
        known = set(self._current().held)
        return Survivors(tuple(number for number in numbers if number in known))


class WithoutGuard(MaskingClient):
    """Does not remember over whom it was summed."""

    def _refuse_differencing(self, survivors: Survivors, occasion: bytes) -> None:
        pass


class WithAnOccasionForEachState(MaskingClient):
    """Compares the cohorts of a step only where its sums start from the same state."""

    def mask(self, vector, model_digest, *more) -> bytes:
        self._state_digest = model_digest
        return super().mask(vector, model_digest, *more)

    def _occasion(self) -> bytes:
        return digest("occasion", self._state_digest, self.session.purpose, self.step)


class WithoutOthersMemory(MaskingClient):
    """Does not listen to what others have seen of it."""

    def _require_not_set_back(self, collected) -> None:
        pass


class WithoutEpochs(MaskingClient):
    """Compares the cohorts of an occasion, and not the graphs that they were summed in."""

    def _refuse_differencing(self, survivors: Survivors, occasion: bytes) -> None:
        for earlier in self._latch.cohorts(self._charter.digest, occasion):
            if earlier.survivors != set(survivors.numbers):
                raise RemoteProtocolError("differencing", "They differ.")


class WithPairwiseGuard(MaskingClient):
    """Asks of every two cohorts of an occasion that they do not differ by exactly one hospital."""

    def _refuse_differencing(self, survivors: Survivors, occasion: bytes) -> None:
        for earlier in self._latch.cohorts(self._charter.digest, occasion):
            if len(earlier.survivors ^ set(survivors.numbers)) == 1:
                raise RemoteProtocolError("differencing", "They differ by one.")


def without_colluders():
    """A threshold rule that does not count colluders: half of the members are enough."""
    return patch.object(thresholds, "smallest_threshold", lambda members, colluding: members // 2)


_ANY_SET = Control(Build(client=AnswersForAnySet), "the rules on survivor sets, and the agreement")
_PAIRWISE = Control(Build(client=WithPairwiseGuard), "a guard beyond cohorts that differ by one")

CONTROLS = {
    "two-survivor-sets": Control(Build(in_force=without_colluders), "a threshold that counts the colluders"),
    "mixed-survivor-sets": Control(Build(client=WithoutAgreement), "the survivors' agreement"),
    "survivor-set-for-each": Control(Build(client=WithoutBoth), "asking for everybody's deal, and the agreement"),
    "withheld-deals": Control(Build(client=WithPartialDeals), "asking for everybody's deal"),
    "minority-cohort": _ANY_SET,
    "empty-cohort": _ANY_SET,
    "duplicated-cohort": _ANY_SET,
    "stranger-in-cohort": _ANY_SET,
    "asked-for-others": _ANY_SET,
    "drop-one-differencing": Control(Build(client=WithoutGuard), "the differencing guard"),
    "drop-a-colluder-differencing": _PAIRWISE,
    "intersected-sums": _PAIRWISE,
    "differencing-across-epochs": Control(Build(client=WithoutGuard), "the differencing guard"),
    "differencing-over-a-restored-latch": Control(
        Build(client=WithoutOthersMemory), "listening to what others remember"
    ),
    "isolation-among-neighbours": Control(Build(client=WithoutAgreement), "the survivors' agreement"),
    "exclusion-from-a-named-set": Control(Build(client=WithoutEpochs), "one epoch for each occasion"),
    "forged-agreements": Control(Build(client=WithoutAgreement), "the check of agreements"),
    "sum-of-zeros": Control(Build(in_force=without_check), "the check of sums"),
}
