"""Attacks by repetition: every message that was ever sent, in every later state, and those of another charter.

Two runs are made of the same randomness. In one, before anybody is handed a message, all that it was handed before is
handed to it again. If that changes nothing, both runs are the same to the byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from secagg.masking import Purpose, Session
from secagg.masking.states import ServerState
from secagg.wire import Outbox
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import Consortium, make_charter, sign_by_all

_MEMBERS: Final = 4


@dataclass
class _Run:
    """Two epochs: one round in which a hospital drops, one that is given up, one in which all take part.

    Attributes:
        handed: all that each party was handed, by number; 0 is the coordinator, with who sent it.
        said: all that anybody answered to what was handed to it once.
    """

    stage: Consortium
    tries: Tries
    handed: defaultdict[int, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    said: list[bytes] = field(default_factory=list)

    def play(self) -> None:
        """The whole run, as far as it goes."""
        vectors = self.stage.random_vectors(np.random.default_rng(1))
        for epoch, rounds in ((1, (frozenset({4}), frozenset({2, 3, 4}))), (2, (frozenset(),))):
            first = 1 if epoch == 1 else 3
            session = Session(self.stage.charter, epoch, Purpose.TRAINING, first, len(rounds))
            self.stage.server = self.stage.build.server(session)
            outbox = self.stage.server.open()
            while self.stage.server.state is not ServerState.READY:
                outbox = self._answer(self._deliver(outbox))
            self._deliver(outbox)
            for step, silent in enumerate(rounds, epoch):
                self._deliver(self.stage.server.begin(step))
                self._disturb_all()
                outbox = self._answer(self.stage.mask(vectors, silent))
                while self.stage.server.state is not ServerState.READY:
                    outbox = self._answer(self._deliver(outbox))
                self._deliver(outbox)
        self._disturb_all()

    def _deliver(self, outbox: Outbox) -> Outbox:
        replies = []
        for number, message in outbox:
            self._disturb(number)
            self.handed[number].append((0, message))
            received = self.stage.clients[number].receive(message)
            self.said += received
            replies += [(number, reply) for reply in received]
        return replies

    def _answer(self, replies: Outbox) -> Outbox:
        outbox: Outbox = []
        before = self.stage.server.state
        for sender, reply in replies:
            self._disturb(0)
            self.handed[0].append((sender, reply))
            outbox += self.stage.server.receive(sender, reply)
        outbox = outbox or (self.stage.server.timeout() if self.stage.server.state is before else [])
        self.said += [message for _, message in outbox]
        return outbox

    def _disturb_all(self) -> None:
        for number in range(_MEMBERS + 1):
            self._disturb(number)

    def _disturb(self, number: int) -> None:
        """What is done to a party before it is handed the next message: nothing."""


class _DisturbedRun(_Run):
    """The same; before each message, all that a party was handed is handed to it again."""

    def _disturb(self, number: int) -> None:
        for sender, message in self.handed[number]:
            if number:
                answered = bool(self.tries(self.stage.clients[number].receive, message))
            else:
                answered = bool(self.tries(self.stage.server.receive, sender, message))
            if answered:
                raise _AnsweredError


class _AnsweredError(Exception):
    """A replay was answered: the run cannot go on as it would have."""


def everything_everywhere(build: Build, folder: Path) -> Outcome:
    """All that was ever sent, again, in every later state of a hospital and of the coordinator."""
    tries = Tries(Refuser.BOTH)
    try:
        undisturbed = _play(_Run, build, folder / "undisturbed", tries)
        disturbed = _play(_DisturbedRun, build, folder / "disturbed", tries)
    except _AnsweredError:
        return tries.outcome("an answer to a message that was answered before")
    same = undisturbed.said == disturbed.said
    return tries.outcome(None if same else "another run than without the replays")


def _play(kind: type[_Run], build: Build, folder: Path, tries: Tries) -> _Run:
    folder.mkdir()

    def randomness(number: int) -> Callable[[int], bytes]:
        return np.random.default_rng(number).bytes

    with Consortium.make(folder, _MEMBERS, build, randomness=randomness) as stage:
        run = kind(stage, tries)
        run.play()
        return run


def of_another_charter(build: Build, folder: Path) -> Outcome:
    """The same members have signed two charters: messages under one are played under the other, to both sides."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        other = sign_by_all(make_charter(stage.identities, name="other"), stage.identities)
        stranger = LyingCoordinator(other, stage.clients)
        tries, taken = Tries(Refuser.BOTH), 0
        replies = stage.deliver(stage.server.open())
        elsewhere = stage.build.server(Session(other, 1, Purpose.TRAINING, 1, 3))
        elsewhere.open()
        for number, message in replies:
            taken += tries(elsewhere.receive, number, message) is not None
        for number in stage.clients:
            roster = stranger.roster([message for _, message in replies])
            taken += tries(stage.clients[number].receive, roster) is not None
        return tries.outcome(f"{taken} messages of another charter were taken" if taken else None)


_ROUND = "What holds in one round"

ATTACKS: Final = (
    Attack(
        "replay-of-everything",
        Liar.COORDINATOR,
        "Plays every message that was ever sent again, in every later state of a hospital and of the coordinator.",
        _ROUND,
        Refused.with_reasons(
            Refuser.BOTH,
            "unexpected-message",
            "other-epoch",
            "stale-epoch",
            "stale-round",
            "other-round",
            "never-masked",
        ),
        everything_everywhere,
        quick=True,
    ),
    Attack(
        "replay-under-another-charter",
        Liar.COORDINATOR,
        "Plays what the same members signed under another charter.",
        _ROUND,
        Refused.with_reasons(Refuser.BOTH, "other-charter"),
        of_another_charter,
    ),
)
