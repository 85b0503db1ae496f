"""How a hospital that is behind becomes what the others are: what it was given waits here until it is its own.

Knows the sums that were missed, the keys of their tags, snapshots of other hospitals' states, and others' signed word.
Takes nothing for good: that is `training.hospital`'s business, and what must be written first with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from secagg.charter import VerifiedCharter
from secagg.egress import Passage, taking
from secagg.errors import RemoteProtocolError
from secagg.masking import RoundSum, Session, kdf
from secagg.masking.limits import payload_limit
from secagg.masking.messages import KEY_SIZE
from secagg.masking.sums import read_sum
from secagg.masking.verification import ForgedSumError, verify_sum
from secagg.wire import Envelope, Stage, open_envelope
from secagg.wire.envelope import decode
from training import snapshots
from training.applying import SumApplier
from training.endorsement import require_endorsed
from training.handing_over import as_missed_sum, hand_over
from training.hospital_state import HospitalState
from training.messages import AskSnapshot, Endorsed, Snapshot
from training.position import Position
from training.snapshot_content import read_content, read_state


@dataclass(frozen=True, eq=False)
class PendingState:
    """A state that is not this hospital's own yet, and what leads to it."""

    state: HospitalState
    taken: tuple[Passage, ...] = ()


@dataclass
class CatchingUp:
    """What one hospital was given because it is behind.

    Attributes:
        number: this hospital's.
        revealed_for: the survivors of the sum that follows on that state, if this hospital has given shares of it or
            opened it.
        last_masked: the newest round that this hospital has masked, or paid for.
        clock: gives the time to record, ISO 8601; nothing depends on it.
    """

    charter: VerifiedCharter
    number: int
    applier: SumApplier
    revealed_for: Callable[[HospitalState], tuple[int, ...]]
    last_masked: Callable[[], int]
    clock: Callable[[], str]
    _pending: PendingState | None = None
    _key: bytes | None = field(default=None, repr=False)

    def forget(self) -> None:
        """Let go of what is pending, and of the key that a snapshot would have been sealed for."""
        self._pending = self._key = None

    def start_over(self) -> bytes:
        """Forget all, and make a new key for a snapshot; its public half, or nothing where snapshots are not used."""
        self.forget()
        if not snapshots.are_used(self.charter.charter):
            return b""
        self._key = os.urandom(KEY_SIZE)
        return kdf.public_key(self._key)

    def keep_last_sum(self, after: HospitalState, total: RoundSum, session: Session) -> HospitalState:
        """``after``, with the verified sum that led to it: this hospital may be asked for it by one that missed it."""
        if not snapshots.are_used(self.charter.charter):
            return after
        return after.with_last_sum(as_missed_sum(total, session))

    def hand_over(self, payload: AskSnapshot, own: HospitalState) -> tuple[int, Snapshot]:
        """A snapshot for one that can go on from this hospital's state, and who that is.

        Raises:
            RemoteProtocolError, InputError: as `training.handing_over.hand_over`.
        """
        self._require_snapshots()
        return hand_over(payload, own, self.applier.layout, self.charter, self.number, os.urandom)

    def take_snapshot(self, envelope: Envelope, own: HospitalState) -> None:
        """Take what another hospital handed over; it waits until others endorse it.

        A sum's tag vouches for nothing here: whoever hands it over has the key that it is made with.

        Raises:
            RemoteProtocolError: if it was not sealed for this hospital and now, or is not what this hospital lacks.
        """
        self._require_snapshots()
        if envelope.header.recipient != self.number:
            raise RemoteProtocolError("other-recipient", "A snapshot is for another member.")
        payload = decode(envelope.payload, Snapshot)
        key, self._key = self._key, None
        if key is None:
            raise RemoteProtocolError("unexpected-message", "This hospital has asked for no snapshot.")
        route = snapshots.Route(self.charter, envelope.header.sender, self.number)
        content = read_content(snapshots.open_snapshot(route, payload, key))
        if content.state is None:
            self._pending = self._handed_sum(content.missed_sum, own, route, self._passage(envelope))
        else:
            state = read_state(content.state, self.charter, own, self.applier.layout)
            self._require_unanswered(own, state)
            self._pending = PendingState(state, (self._passage(envelope),))

    def take_missed_sum(self, envelope: Envelope, own: HospitalState) -> PendingState | None:
        """Take a sum that this hospital missed; give what may be taken for good, if anything.

        Of an epoch that it was set up in, the tag is checked, and with it what came before: the tag's key is bound to
        the model that it led to. Other sums wait until others endorse what they lead to.

        Raises:
            RemoteProtocolError: if the sum is not this hospital's next.
            ForgedSumError: if its tag does not fit.
        """
        if snapshots.are_used(self.charter.charter):
            raise RemoteProtocolError("unexpected-message", "Under this charter no coordinator has sums to send.")
        after = self._after_sum(envelope, own, self._passage(envelope))
        if own.tag_key(envelope.header.epoch) is not None:
            return after
        self._pending = after
        return None

    def _handed_sum(
        self, message: memoryview, own: HospitalState, route: snapshots.Route, passage: Passage
    ) -> PendingState:
        session = Session.unopened(self.charter, self.applier.due(own))
        envelope = open_envelope(message, self.charter, payload_limit(session, Stage.SUM))
        if envelope.header.stage is not Stage.MISSED_SUM:
            raise RemoteProtocolError("unexpected-message", "A snapshot holds a message that is not a missed sum.")
        donor = route.name(route.donor)
        try:
            return self._after_sum(envelope, own, passage, bytes(message))
        except ForgedSumError as error:
            # It accuses a member, which others can do without; not the coordinator, without which nobody goes on.
            raise RemoteProtocolError(
                "wrong-sum", f"The sum that {donor} handed over is not that of the hospitals it names.", culprit=donor
            ) from error

    def _after_sum(self, envelope: Envelope, own: HospitalState, passage: Passage, kept: bytes = b"") -> PendingState:
        """What a sum leads to; its tag is checked where this hospital has the key of it."""
        pending = self._pending or PendingState(own)
        purpose = self.applier.due(pending.state)
        session = Session(self.charter, envelope.header.epoch, purpose, envelope.header.round, 1)
        total = read_sum(envelope, session, frozenset(session.members))
        state = self.applier.after(pending.state, total, purpose)
        key = own.tag_key(session.epoch)
        if key is not None:
            self._require_masked(total)
            verify_sum(total, session, key)
            # Others vouch for what a sum leads to, and not for its tag: one unchecked is handed on to nobody.
            state = state.with_last_sum(kept)
        return PendingState(state, (*pending.taken, passage))

    def take_endorsement(self, payload: Endorsed, own: HospitalState) -> PendingState:
        """What was pending, if others vouch for it; it is forgotten either way.

        Raises:
            RemoteProtocolError: ``nothing-to-endorse``, ``not-endorsed``, ``not-ahead``; whatever is wrong with an
                envelope.
        """
        wanted, self._pending = self._pending, None
        if wanted is None:
            raise RemoteProtocolError("nothing-to-endorse", "This hospital has nothing that waits to be endorsed.")
        position = Position.of(wanted.state, self.applier.layout)
        require_endorsed(position, payload.statuses, self.charter, self.number)
        # It may have given shares since it took the snapshot.
        self._require_unanswered(own, wanted.state)
        return wanted

    def _require_masked(self, total: RoundSum) -> None:
        """Refuse a sum, of an epoch that this hospital was in, with a vector of it that it never sent."""
        if self.number in total.survivors.numbers and total.round > self.last_masked():
            raise RemoteProtocolError("never-masked", "The sum is said to hold a vector that this hospital never sent.")

    def _require_unanswered(self, own: HospitalState, other: HospitalState) -> None:
        """Who has given shares of its next sum, or opened it, goes back by none.

        Such a sum is over t hospitals that have all sums before. If they went back, a few at a time, those sums would
        be made anew, and this one would be due again when no coordinator remembers over whom it is to be made.
        """
        if other.reached < own.reached and self.revealed_for(own):
            raise RemoteProtocolError(
                "not-ahead", "This hospital has given shares of its next sum, or opened it, and goes back by none."
            )

    def _require_snapshots(self) -> None:
        if not snapshots.are_used(self.charter.charter):
            raise RemoteProtocolError("unexpected-message", "Under this charter hospitals catch up by missed sums.")

    def _passage(self, envelope: Envelope) -> Passage:
        return taking(envelope, self.number, self.clock())
