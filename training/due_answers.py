"""How much of what hospitals answer is taken: no more than one that keeps to the protocol has to say.

Knows who was sent how many messages, and in which phase. Opens no answer: what nobody is owed is dropped unread, before
anything is kept of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from secagg.charter import Charter, VerifiedCharter
from secagg.charter.state_size import largest_snapshot
from secagg.wire.envelope import is_too_large
from training import snapshots
from training.engines.base import Engine, Exchange, Outbox, Phase
from training.messages import SMALL_ANSWER

_A_CONTRIBUTOR: Final = 128
"""Bytes that a statement has for each: a name of at most 64 letters, a number, and JSON around them."""


@dataclass(frozen=True)
class DueAnswers:
    """An engine that passes on what is due, and nothing else.

    A hospital answers a message with one at most; a roster, with a deal for each other member. How large an answer may
    be is checked here outside epochs only: within one, the masking protocol knows, and says who sent more.
    """

    engine: Engine
    charter: VerifiedCharter

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """See `Engine.exchange`. Of an inbox, the first of each hospital's answers, as many as are due."""
        exchange = self.engine.exchange(phase, outbox, round_number)
        each, largest = most_answers(phase, self.charter.charter), largest_answer(phase, self.charter.charter)
        due = Counter({member: sent * each for member, sent in Counter(member for member, _ in outbox).items()})
        inbox = []
        for sender, message in exchange.inbox:
            if due[sender] and not (largest and is_too_large(message, largest)):
                due[sender] -= 1
                inbox.append((sender, message))
        return Exchange(tuple(inbox), exchange.dropped)


def most_answers(phase: Phase, charter: Charter) -> int:
    """How many messages a hospital may answer one with."""
    return len(charter.members) if phase is Phase.DEAL else 1


def largest_answer(phase: Phase, charter: Charter) -> int | None:
    """The most bytes that an answer's payload can have; None within an epoch."""
    match phase:
        case Phase.QUERY | Phase.RELEASE | Phase.WITNESS:
            return SMALL_ANSWER
        case Phase.CONCLUDE:
            return SMALL_ANSWER + _A_CONTRIBUTOR * len(charter.members)
        case Phase.CATCH_UP if snapshots.are_used(charter):
            return max(SMALL_ANSWER, largest_snapshot(charter))
        case Phase.CATCH_UP:
            return SMALL_ANSWER
        case _:
            return None
