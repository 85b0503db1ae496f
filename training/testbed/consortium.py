"""A consortium in one process: real keys, a signed charter, a latch each, and an engine of a dozen lines.

Knows how to set a consortium up and to run it honestly. Whoever lies takes it from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from secagg.charter import (
    Charter,
    Member,
    Model,
    TaskChoice,
    Training,
    VerifiedCharter,
    sign_charter,
    thresholds,
    verify_charter,
)
from secagg.charter.sections import SCHEMES
from secagg.encoding.ring import RingVector
from secagg.identity import Identity, fingerprint
from secagg.labels import digest
from secagg.latch import Latch
from secagg.masking import MaskingClient, MaskingServer, Purpose, Session
from secagg.masking.states import ClientState, ServerState
from secagg.policy import Policy
from secagg.wire import Outbox
from training.testbed.build import REAL, Build
from training.testbed.toy_noise import ToyNoise

MODEL_DIGEST = bytes(32)
PARAMETERS = 20

Vectors = dict[int, RingVector]


def model_before(step: int) -> bytes:
    """The digest of the model that the ``step``-th sum is taken from: each sum makes another."""
    return MODEL_DIGEST if step <= 1 else digest("model", b"", step)


def make_identities(members: int) -> list[Identity]:
    """The same keys every time, so that a run can be told from another by what was done in it only."""
    return [Identity.from_seed(number.to_bytes(32, "big")) for number in range(1, members + 1)]


def make_charter(identities: list[Identity], **changes: Any) -> Charter:
    """A charter of these members, h1, h2, ..., with the least threshold that the charter's rules allow."""
    colluding = changes.get("max_colluding", 1)
    settings: dict[str, Any] = {
        "name": "test",
        "nonce": bytes(16),
        "members": tuple(Member(name=f"h{i}", public_key=key.public_key) for i, key in enumerate(identities, 1)),
        # Looked up where it is: a weakened build may have another rule.
        "threshold": thresholds.smallest_threshold(len(identities), colluding),
        "max_colluding": 1,
        "model": Model(digest=MODEL_DIGEST, parameters=PARAMETERS),
        "task": TaskChoice(kind="tabular-classification", settings={}),
        "training": Training(rounds=3),
        "epoch_rounds": 3,
    }
    return Charter(**(settings | changes))


def sign_by_all(charter: Charter, identities: list[Identity]) -> VerifiedCharter:
    """The charter, in force."""
    return verify_charter(charter, [sign_charter(charter, identity) for identity in identities])


def open_policy(charter: Charter, **changes: Any) -> Policy:
    """A policy that knows all members, and allows every scheme and training without differential privacy."""
    settings: dict[str, Any] = {
        "known_members": frozenset(fingerprint(member.public_key) for member in charter.members),
        "minimum_cohort": 2,
        "allowed_schemes": frozenset(SCHEMES),
        "allowed_privacy_modes": frozenset({"none", "local", "distributed"}),
        "release_exact_metrics": "allow",
    }
    return Policy(**(settings | changes))


@dataclass
class Consortium:
    """n masking clients and one server, in one process. Closes its latches as a context manager.

    Attributes:
        noise: draws what hospitals add beside their vectors, where noise is removed from sums.
        sent: all that hospitals have sent in honest rounds, with their numbers.
        drawn: by hospital, the components of noise that it has added in the last round.
    """

    charter: VerifiedCharter
    identities: list[Identity]
    clients: dict[int, MaskingClient]
    server: MaskingServer
    folder: Path
    build: Build
    policy: Policy
    latches: dict[int, Latch]
    noise: ToyNoise
    sent: Outbox = field(default_factory=list)
    drawn: dict[int, list[RingVector]] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        folder: Path,
        members: int,
        build: Build = REAL,
        *,
        epoch: int = 1,
        randomness: Callable[[int], Callable[[int], bytes]] | None = None,
        **changes: Any,
    ) -> Consortium:
        """A consortium in an empty folder.

        Args:
            randomness: for each member, where its secrets come from; the operating system unless given.
            changes: of the charter.
        """
        identities = make_identities(members)
        charter = sign_by_all(make_charter(identities, **changes), identities)
        policy = open_policy(charter.charter)
        latches = {number: build.latch(_latch_file(folder, number)) for number in range(1, members + 1)}
        clients = {}
        for number, identity in enumerate(identities, 1):
            source = {} if randomness is None else {"randomness": randomness(number)}
            clients[number] = build.client(charter, identity, latches[number], policy, **source)
        session = Session(charter, epoch, Purpose.TRAINING, 1, charter.charter.epoch_rounds)
        noise = ToyNoise.of(charter.charter)
        server = build.server(session, noise=noise)
        return cls(charter, identities, clients, server, folder, build, policy, latches, noise)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the latches."""
        while self.latches:
            self.latches.popitem()[1].close()

    def latch_file(self, number: int) -> Path:
        """Where a hospital's latch is."""
        return _latch_file(self.folder, number)

    def stop(self, number: int) -> None:
        """End a hospital's process: what was in memory is gone."""
        self.latches.pop(number).close()

    def start(self, number: int) -> None:
        """Start it again, with what is in its folder."""
        self.latches[number] = self.build.latch(self.latch_file(number))
        identity = self.identities[number - 1]
        self.clients[number] = self.build.client(self.charter, identity, self.latches[number], self.policy)

    def back_up(self, number: int) -> bytes:
        """A hospital's latch as a nightly backup has it."""
        with closing(sqlite3.connect(self.latch_file(number))) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.latch_file(number).read_bytes()

    def restore(self, number: int, backup: bytes) -> None:
        """Put a backup back, once the hospital's process has ended."""
        for left in self.folder.glob(f"{self.latch_file(number).name}*"):
            left.unlink()
        self.latch_file(number).write_bytes(backup)

    def deliver(self, outbox: Outbox, silent: Collection[int] = ()) -> Outbox:
        """Hand the coordinator's messages to all who are not silent; their replies."""
        return [
            (number, reply)
            for number, message in outbox
            if number not in silent
            for reply in self.clients[number].receive(message)
        ]

    def answer(self, replies: Outbox) -> Outbox:
        """Hand replies to the coordinator, then let it go on without whoever is missing."""
        outbox: Outbox = []
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
        replies = self.deliver(outbox)
        if self.server.state is ServerState.ACKNOWLEDGING:
            self.answer(replies)
        if self.server.answering:
            self._next_epoch()
            self.set_up()

    def reopen(self) -> Outbox:
        """Open another epoch with those who answered in the one that was given up."""
        self._next_epoch()
        return self.server.open()

    def _next_epoch(self) -> None:
        old = self.server.session
        session = Session(self.charter, old.epoch + 1, old.purpose, old.first_round, old.rounds)
        self.server = self.build.server(session, self.server.answering, noise=self.noise)

    def mask(self, vectors: Mapping[int, RingVector], silent: Collection[int] = ()) -> Outbox:
        """The masked vectors of all who were asked and are not silent."""
        return [
            (number, client.mask(*self.with_noise(number, vectors[number])))
            for number, client in self.clients.items()
            if client.state is ClientState.ASKED and number not in silent
        ]

    def with_noise(self, number: int, vector: RingVector) -> tuple[RingVector, bytes, list[RingVector]]:
        """What a hospital gives its client: its vector with noise, the model's digest, the components of the noise."""
        keys = self.clients[number].noise_keys()
        self.drawn[number] = [self.noise(key, component) for component, key in enumerate(keys, 1)]
        noisy = sum(self.drawn[number], vector)
        return noisy, model_before(self.server.step), self.drawn[number]

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
        outbox = self.answer(self.mask(vectors, mask_silent))
        if self.server.state is ServerState.AGREEING:
            outbox = self.answer(self.deliver(outbox, agree_silent))
        if self.server.state is ServerState.UNMASKING:
            outbox = self.answer(self.deliver(outbox, reveal_silent))
        self.deliver(outbox)

    def random_vectors(self, generator: np.random.Generator) -> Vectors:
        """A vector for every hospital, over the whole range that an update may have."""
        session = self.server.session
        largest = session.ring.largest // len(session.members)
        return {
            number: session.ring.from_signed(generator.integers(-largest, largest + 1, session.length))
            for number in self.clients
        }

    def integers(self, vectors: Mapping[int, RingVector], *numbers: int) -> npt.NDArray[np.int64]:
        """The plain sum of these hospitals' vectors, signed: the truth that an attacker's guess is compared with."""
        ring = self.server.session.ring
        zeros = np.zeros(self.server.session.length, np.int64)
        return sum((ring.to_signed(vectors[number]) for number in numbers), zeros)


def _latch_file(folder: Path, number: int) -> Path:
    return folder / f"latch{number}.sqlite"
