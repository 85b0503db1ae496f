"""The coordinator's part where it has every sum: it sends hospitals those they missed, and others' word for them.

Knows sums that were kept, sealed, and signed positions. What hospitals hand to one another instead is in
`training.snapshot_relay`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secagg.charter import VerifiedCharter
from secagg.masking import Purpose
from secagg.wire import Stage
from training.coordinator_store import CoordinatorStore
from training.engines.base import Exchange, Outbox, Phase
from training.messages import Endorsed, Status
from training.parcels import parcels
from training.reached import Reached
from training.statuses import Signed, outside_epochs, read_statuses


@dataclass(frozen=True)
class SumRelay:
    """Brings hospitals of one charter to where others are.

    Attributes:
        exchange: delivers messages of a phase outside every epoch, and gives what came back.
    """

    charter: VerifiedCharter
    store: CoordinatorStore
    exchange: Callable[[Phase, Outbox], Exchange]

    def bring_up(self, signed: Signed, reached: Reached) -> Signed:
        """Send each the sums it missed, and others' word for those it cannot check.

        Args:
            signed: fresh answers to QUERY; what it has become is returned.
            reached: how many sums there are.
        """
        missed = {member: self._missed(status, reached) for member, (status, _) in signed.items()}
        cut_off: set[int] = set()
        for outbox in parcels(missed, self.store.message):
            # What follows a sum that did not get through is of no use: it waits for the next epoch.
            due = [(member, message) for member, message in outbox if member not in cut_off]
            answered = self._statuses(self.exchange(Phase.CATCH_UP, due))
            cut_off.update(member for member, _ in due if member not in answered)
            signed = signed | answered
        return signed | self._statuses(self.exchange(Phase.CATCH_UP, self._endorsements(signed, reached)))

    def _missed(self, status: Status, reached: Reached) -> tuple[str, ...]:
        if status.reached >= reached:
            return ()
        statistics = self.store.sums_after(Purpose.STATISTICS, status.statistics)
        if status.statistics + len(statistics) < reached.statistics:
            return statistics
        return *statistics, *self.store.sums_after(Purpose.TRAINING, status.steps)

    def _endorsements(self, signed: Signed, reached: Reached) -> Outbox:
        """For those who have not come as far as others: the signed word of all who have, also of who is gone."""
        told = {member: status.reached for member, (status, _) in signed.items()}
        said = {member: message for member, (_, message) in signed.items() if told[member] == reached}
        words = [memoryview(message) for message in self.store.keep_words(reached, said).values()]
        sealer = outside_epochs(self.charter)
        behind = [member for member in signed if told[member] < reached] if words else []
        return [(member, sealer.seal(Stage.ENDORSED, Endorsed(words), recipient=member)) for member in behind]

    def _statuses(self, exchange: Exchange) -> Signed:
        return read_statuses(self.charter, exchange.inbox)
