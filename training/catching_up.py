"""How a hospital that is behind becomes what the others are: what it was given waits here until it is its own.

Knows the sums that were missed, the keys of their tags, and others' signed word. Takes nothing for good: that is
`training.hospital`'s business, and what must be written first with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secagg.charter import VerifiedCharter
from secagg.egress import Passage, taking
from secagg.errors import RemoteProtocolError
from secagg.masking import Session
from secagg.masking.client import read_sum
from secagg.masking.verification import verify_sum
from secagg.policy import Policy
from secagg.wire import Envelope
from training.applying import SumApplier
from training.endorsement import Position, require_endorsed
from training.hospital_state import HospitalState
from training.messages import Endorsed


@dataclass(frozen=True, eq=False)
class Held:
    """A state that is not this hospital's own yet, and what leads to it."""

    state: HospitalState
    taken: tuple[Passage, ...] = ()


@dataclass
class CatchingUp:
    """What one hospital was given because it is behind.

    Attributes:
        number: this hospital's.
        clock: gives the time to record, ISO 8601; nothing depends on it.
    """

    charter: VerifiedCharter
    policy: Policy
    number: int
    applier: SumApplier
    clock: Callable[[], str]
    _held: Held | None = None

    def forget(self) -> None:
        """Let go of what is held."""
        self._held = None

    def take_missed_sum(self, envelope: Envelope, own: HospitalState) -> Held | None:
        """Take a sum that this hospital missed; give what may be taken for good, if anything.

        Of an epoch that it was set up in, the tag is checked, and with it what came before: the tag's key is bound to
        the model that it led to. Other sums wait until others endorse what they lead to.

        Raises:
            RemoteProtocolError: if the sum is not this hospital's next.
            ForgedSumError: if its tag does not fit.
        """
        held = self._held or Held(own)
        purpose = self.applier.due(held.state)
        session = Session(self.charter, envelope.header.epoch, purpose, envelope.header.round, 1)
        total = read_sum(envelope, session, frozenset(session.members))
        if len(total.survivors.numbers) < self.policy.minimum_cohort:
            raise RemoteProtocolError(
                "below-threshold",
                f"A sum is over {len(total.survivors.numbers)} hospitals; this site's least is "
                f"{self.policy.minimum_cohort}.",
            )
        after = Held(self.applier.after(held.state, total, purpose), (*held.taken, self._passage(envelope)))
        key = own.tag_key(session.epoch)
        if key is None:
            self._held = after
            return None
        verify_sum(total, session, key)
        return after

    def take_endorsement(self, payload: Endorsed) -> Held:
        """What was held, if others vouch for it; it is forgotten either way.

        Raises:
            RemoteProtocolError: ``nothing-to-endorse``, ``not-endorsed``; whatever is wrong with an envelope.
        """
        wanted, self._held = self._held, None
        if wanted is None:
            raise RemoteProtocolError("nothing-to-endorse", "This hospital has no sum that waits to be endorsed.")
        position = Position.of(wanted.state, self.applier.layout)
        require_endorsed(position, payload.statuses, self.charter, self.number)
        return wanted

    def _passage(self, envelope: Envelope) -> Passage:
        return taking(envelope, self.number, self.clock())
