"""The coordinator's part where hospitals catch up from one another: who is behind, who may give, and what it carries.

Knows signed positions and sealed bytes. Opens no snapshot, and could not. A donor that lies costs a try: among as many
as may lie and one more there is an honest one. Nobody's tries are another's: who is behind and lies costs others none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from secagg.charter import VerifiedCharter
from secagg.charter.state_size import largest_snapshot
from secagg.errors import RemoteProtocolError
from secagg.masking.messages import KEY_SIZE
from secagg.wire import Stage
from training.engines.base import Exchange, Outbox, Phase
from training.messages import AskSnapshot, Endorsed, Query
from training.position import Position, can_replace
from training.statuses import Signed, furthest_told, open_from, outside_epochs, read_statuses


@dataclass(frozen=True)
class Destination:
    """Where hospitals are brought, and the signed word of those who are there."""

    goal: Position
    words: Endorsed


@dataclass(frozen=True)
class SnapshotRelay:
    """Brings hospitals of one charter to where others are.

    Attributes:
        exchange: delivers messages of a phase outside every epoch, and gives what came back.
    """

    charter: VerifiedCharter
    exchange: Callable[[Phase, Outbox], Exchange]

    def bring_up(self, signed: Signed) -> Signed:
        """Bring everybody to the furthest position that more members have signed than may lie.

        Args:
            signed: fresh answers to QUERY; what it has become is returned.
        """
        signed = dict(signed)
        goal = self.furthest(signed)
        if goal is None:
            return signed
        there = deque(member for member in signed if _position(signed, member) == goal)
        words = Endorsed([memoryview(signed[member][1]) for member in there])
        # Among them is one whose last sum was given to too few: nobody can vouch for it, so that it is summed anew.
        others = [member for member in signed if can_replace(goal, _position(signed, member))]
        for member in others:
            signed = signed | self._bring_up_one(member, signed, there, Destination(goal, words))
            # So that not one of them does all the work.
            there.rotate(-1)
        return signed

    def furthest(self, signed: Signed) -> Position | None:
        """The furthest position that can be endorsed; one that a single member tells of, only if there is no other."""
        for liars in (self.charter.charter.most_liars, self.charter.charter.max_colluding):
            if found := furthest_told(signed, liars):
                return found
        return None

    def _bring_up_one(self, member: int, signed: Signed, willing: deque[int], destination: Destination) -> Signed:
        """Let one donor after another hand over what ``member`` lacks, until it has it; its last STATUS.

        Args:
            willing: the donors. Who does not answer is taken out, so that nobody waits for it twice. Who refuses stays:
                it may be this member's key that is no good, and others are to be served.
        """
        latest, tries = {member: signed[member]}, 0
        for donor in list(willing):
            if tries > self.charter.charter.most_liars:
                break
            if tries:
                # The key in the last STATUS was used up; a new one comes with a new STATUS.
                latest = self._ask_where(member)
            if not _has_given_a_key(latest, member):
                break
            asked = self._ask_for_snapshot(donor, latest[member][1])
            if donor in asked.dropped:
                willing.remove(donor)
                continue
            tries += 1
            if snapshot := self._snapshot(asked, donor, member):
                answered = self._deliver(member, snapshot, destination.words)
                if member in answered and _position(answered, member) == destination.goal:
                    return answered
        return latest

    def _ask_where(self, member: int) -> Signed:
        query = outside_epochs(self.charter).seal(Stage.QUERY, Query())
        return read_statuses(self.charter, self.exchange(Phase.QUERY, [(member, query)]).inbox)

    def _ask_for_snapshot(self, donor: int, status: bytes) -> Exchange:
        ask = outside_epochs(self.charter).seal(Stage.ASK_SNAPSHOT, AskSnapshot(memoryview(status)), recipient=donor)
        return self.exchange(Phase.CATCH_UP, [(donor, ask)])

    def _snapshot(self, asked: Exchange, donor: int, member: int) -> bytes | None:
        """The donor's snapshot for ``member``, unaltered; None if there is none."""
        for sender, message in asked.inbox:
            try:
                header = open_from(self.charter, sender, message, largest_snapshot(self.charter.charter)).header
            except RemoteProtocolError:
                continue
            if (header.stage, header.sender, header.recipient) == (Stage.SNAPSHOT, donor, member):
                return message
        return None

    def _deliver(self, member: int, snapshot: bytes, words: Endorsed) -> Signed:
        signed = read_statuses(self.charter, self.exchange(Phase.CATCH_UP, [(member, snapshot)]).inbox)
        if member not in signed:
            return signed
        endorsed = outside_epochs(self.charter).seal(Stage.ENDORSED, words, recipient=member)
        return read_statuses(self.charter, self.exchange(Phase.CATCH_UP, [(member, endorsed)]).inbox)


def _has_given_a_key(signed: Signed, member: int) -> bool:
    """Whether a donor has anything to seal a snapshot with. Whether it is a good one, donors find."""
    return member in signed and len(signed[member][0].snapshot_key) == KEY_SIZE


def _position(signed: Signed, member: int) -> Position:
    return Position.told(signed[member][0])
