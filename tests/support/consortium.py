"""A consortium for tests: real keys, a signed charter, a latch each, and an engine of a dozen lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from secagg.charter import Charter, Member, Model, TaskChoice, Training, VerifiedCharter, sign_charter, verify_charter
from secagg.charter.model import smallest_threshold
from secagg.encoding.ring import RingVector
from secagg.identity import Identity, fingerprint
from secagg.latch import Latch
from secagg.masking import MaskingClient, MaskingServer, Purpose, Session
from secagg.masking.states import ClientState, ServerState
from secagg.policy import Policy

MODEL_DIGEST = bytes(32)
Tamper = Callable[[int, bytes], bytes | None]


def make_identities(members: int) -> list[Identity]:
    return [Identity.from_seed(number.to_bytes(32, "big")) for number in range(1, members + 1)]


def make_charter(identities: list[Identity], **changes: object) -> Charter:
    settings: dict[str, object] = {
        "name": "test",
        "nonce": bytes(16),
        "members": tuple(Member(name=f"h{i}", public_key=key.public_key) for i, key in enumerate(identities, 1)),
        "threshold": smallest_threshold(len(identities), 1),
        "max_colluding": 1,
        "model": Model(digest=MODEL_DIGEST, parameters=20),
        "task": TaskChoice(kind="tabular-classification", settings={}),
        "training": Training(rounds=3),
        "epoch_rounds": 3,
    }
    return Charter(**(settings | changes))


def sign_by_all(charter: Charter, identities: list[Identity]) -> VerifiedCharter:
    return verify_charter(charter, [sign_charter(charter, identity) for identity in identities])


def open_policy(charter: Charter, **changes: object) -> Policy:
    """A policy that knows all members and allows training without differential privacy."""
    settings: dict[str, object] = {
        "known_members": frozenset(fingerprint(member.public_key) for member in charter.members),
        "minimum_cohort": 2,
        "allowed_privacy_modes": frozenset({"none", "local"}),
        "release_exact_metrics": "allow",
    }
    return Policy(**(settings | changes))


@dataclass
class Consortium:
    """n masking clients and one server, in one process."""

    charter: VerifiedCharter
    clients: dict[int, MaskingClient]
    server: MaskingServer
    sent: list[tuple[int, bytes]] = field(default_factory=list)

    @classmethod
    def make(
        cls,
        folder: Path,
        members: int,
        *,
        epoch: int = 1,
        client: type[MaskingClient] = MaskingClient,
        **changes: object,
    ) -> Consortium:
        """``client`` may be a weakened build, for controls."""
        identities = make_identities(members)
        charter = sign_by_all(make_charter(identities, **changes), identities)
        policy = open_policy(charter.charter)
        clients = {
            number: client(charter, identity, Latch(folder / f"latch{number}.sqlite"), policy)
            for number, identity in enumerate(identities, 1)
        }
        session = Session(charter, epoch, Purpose.TRAINING, 1, charter.charter.epoch_rounds)
        return cls(charter, clients, MaskingServer(session))

    def deliver(self, outbox: list[tuple[int, bytes]], silent: Collection[int] = ()) -> list[tuple[int, bytes]]:
        """Hand the coordinator's messages to all who are not silent; their replies."""
        return [
            (number, reply)
            for number, message in outbox
            if number not in silent
            for reply in self.clients[number].receive(message)
        ]

    def answer(self, replies: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Hand replies to the coordinator, then let it go on without whoever is missing."""
        outbox: list[tuple[int, bytes]] = []
        before = self.server.state
        for sender, reply in replies:
            self.sent.append((sender, reply))
            outbox += self.server.receive(sender, reply)
        return outbox or (self.server.timeout() if self.server.state is before else [])

    def set_up(self, advertise_silent: Collection[int] = (), deal_silent: Collection[int] = ()) -> None:
        """Open an epoch; if some did not deal, another one with those who did."""
        outbox = self.answer(self.deliver(self.server.open(), advertise_silent))
        if self.server.state is not ServerState.CLOSED:
            outbox = self.answer(self.deliver(outbox, deal_silent))
        self.deliver(outbox)
        if self.server.answering:
            old = self.server.session
            session = Session(self.charter, old.epoch + 1, old.purpose, old.first_round, old.rounds)
            self.server = MaskingServer(session, self.server.answering)
            self.set_up()

    def run_round(
        self,
        vectors: Mapping[int, RingVector],
        mask_silent: Collection[int] = (),
        reveal_silent: Collection[int] = (),
        agree_silent: Collection[int] = (),
        step: int = 1,
    ) -> None:
        """One round; the result is in ``server.result`` and in each client's ``take_sum``."""
        self.deliver(self.server.begin(step))
        masked = [
            (number, client.mask(vectors[number], MODEL_DIGEST))
            for number, client in self.clients.items()
            if client.state is ClientState.ASKED and number not in mask_silent
        ]
        outbox = self.answer(masked)
        if self.server.state is ServerState.AGREEING:
            outbox = self.answer(self.deliver(outbox, agree_silent))
        if self.server.state is ServerState.UNMASKING:
            outbox = self.answer(self.deliver(outbox, reveal_silent))
        self.deliver(outbox)

    def random_vectors(self, generator: np.random.Generator) -> dict[int, RingVector]:
        session = self.server.session
        largest = session.ring.largest // len(session.members)
        return {
            number: session.ring.from_signed(generator.integers(-largest, largest + 1, session.length))
            for number in self.clients
        }


def integer_sum(consortium: Consortium, vectors: Mapping[int, RingVector], numbers: Collection[int]) -> np.ndarray:
    """The plain sum, in Python's own integers' range."""
    ring = consortium.server.session.ring
    return sum((ring.to_signed(vectors[number]) for number in numbers), np.zeros(consortium.server.session.length, int))
