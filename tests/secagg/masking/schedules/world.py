"""Real hospitals, real coordinators and a network between them that does as it is told.

Knows how messages travel and what the code around the protocol does: a hospital refuses aloud, keeps its model over a
restart and moves it by each sum; a coordinator counts epochs and rounds. Chooses nothing: `scheduler` does.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from secagg.charter import Model, NeighbourGraph
from secagg.charter.sections import MOST_NOISE_LEVELS
from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError
from secagg.graph import smallest_graph
from secagg.latch import Latch
from secagg.masking import MaskingClient, MaskingServer, Purpose, Session
from secagg.masking.messages import Refusal
from secagg.masking.session import RoundSum
from secagg.masking.states import ClientState, ServerState
from secagg.wire import COORDINATOR, Outbox, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from tests.secagg.masking.schedules.oracle import Oracle
from tests.support.consortium import MODEL_DIGEST, Build, Consortium
from training.testbed.toy_noise import ToyNoise, noisy

PARAMETERS = 3
SETTLED = (ServerState.IDLE, ServerState.READY, ServerState.CLOSED)
_ENDED_BY_A_SUM = (ServerState.UNMASKING, ServerState.COLLECTING)
_ENDED_BY_BEING_READY = (ServerState.DEALING, ServerState.ACKNOWLEDGING)


@dataclass(frozen=True)
class Shape:
    """A consortium's numbers: n, t, c, and how many rounds an epoch has."""

    members: int
    threshold: int
    colluding: int
    rounds: int


Factory = Callable[[Path, Shape, type[MaskingClient]], Consortium]


def everybody_with_everybody(
    folder: Path, shape: Shape, client: type[MaskingClient] = MaskingClient, **changes: object
) -> Consortium:
    """A consortium whose members all share masks with one another."""
    return under_scheme("mask", folder, shape, client, **changes)


def under_scheme(
    scheme: str, folder: Path, shape: Shape, client: type[MaskingClient] = MaskingClient, **changes: object
) -> Consortium:
    """A consortium of this scheme whose members all have to do with one another."""
    return Consortium.make(
        folder,
        shape.members,
        Build(client=client),
        scheme=scheme,
        threshold=shape.threshold,
        max_colluding=shape.colluding,
        epoch_rounds=shape.rounds,
        model=Model(digest=MODEL_DIGEST, parameters=PARAMETERS),
        **changes,
    )


def with_noise(folder: Path, shape: Shape, client: type[MaskingClient] = MaskingClient) -> Consortium:
    """A consortium whose members add noise that is removed again, as far as so many can have levels."""
    levels = range(shape.members, shape.threshold, -1)[:MOST_NOISE_LEVELS]
    return everybody_with_everybody(folder, shape, client, **noisy(*levels))


def with_few_neighbours(folder: Path, shape: Shape, client: type[MaskingClient] = MaskingClient) -> Consortium:
    """A consortium of some more members, each of which draws its holders."""
    members = shape.members + 4
    graph = smallest_graph(members, 1, 1)
    return Consortium.make(
        folder,
        members,
        Build(client=client),
        graph=NeighbourGraph.of(graph),
        epoch_rounds=shape.rounds,
        model=Model(digest=MODEL_DIGEST, parameters=PARAMETERS),
    )


@dataclass(frozen=True)
class Flight:
    """One message under way; ``server`` is which of the coordinator's servers it came from or goes to."""

    sender: int
    recipient: int
    message: bytes
    server: int

    def __str__(self) -> str:
        header = peek(self.message)
        ends = f"{self.sender or 'coordinator'} to {self.recipient or 'coordinator'}"
        return f"{header.stage.name} of epoch {header.epoch}, round {header.round}, from {ends}, server {self.server}"


class Site:
    """One hospital: its client, and what `training.hospital` does around it, with a model that is 32 bytes."""

    def __init__(self, client: MaskingClient, oracle: Oracle, noise: ToyNoise) -> None:
        self.client = client
        self._noise = noise
        self.number = client.number
        self.model = MODEL_DIGEST
        self.steps = 0
        self._oracle = oracle

    def receive(self, message: bytes) -> tuple[list[bytes], RoundSum | None]:
        """Whatever comes is answered: by the protocol, or by a signed refusal; and the sum, if it was one."""
        opened = None
        try:
            replies = self.client.receive(message)
            self._oracle.look_at(self.client)
            if self.client.state is ClientState.ASKED:
                replies.append(self._contribute())
            taken = self.client.take_sum()
            if taken is not None:
                opened = taken.total
                self._take(opened)
        except RemoteProtocolError as error:
            replies = [self._refuse(error)]
        for reply in replies:
            self._oracle.left(reply)
        return replies, opened

    def restart(self, restarted: MaskingClient) -> None:
        """The model is on disk; the epoch's secrets were not."""
        self.client = restarted

    def move_to(self, steps: int, model: bytes) -> None:
        """Catch up on sums that were missed."""
        self.steps, self.model = steps, model

    def _contribute(self) -> bytes:
        client = self.client
        if client.step != self.steps + 1:
            raise RemoteProtocolError("missed-sum", "Another sum is next at this hospital.")
        vector = update(client.session, self.number, self.model)
        noise = [self._noise(key, component) for component, key in enumerate(client.noise_keys(), 1)]
        masked = client.mask(sum(noise, vector), self.model, noise)
        self._oracle.masked(client, vector, self.model, noise)
        return masked

    def _take(self, total: RoundSum) -> None:
        self._oracle.took(self.number, total)
        if total.step == self.steps + 1 and total.model == self.model:
            self.move_to(total.step, next_model(total))

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        client = self.client
        epoch = client._latch.last_epoch(client._charter.digest)
        refusal = Refusal(error.reason, str(error)[:1000])
        sealer = Sealer(client._charter, self.number, client._identity, epoch)
        return sealer.seal(Stage.REFUSAL, refusal, round=client.round)


@dataclass
class World:
    """A consortium in which nothing happens by itself.

    Attributes:
        servers: the coordinator's; more than one while it leads a double life.
        flying: messages under way, both ways; ``held`` are those that the network keeps back.
        archive: every message of the coordinator's, for replays.
        sums: the sums so far, by step: what the coordinator keeps for who missed one.
        ends: how rounds and set-ups ended: "sum" or the reason that was given.
        wrongs: what must never happen and was seen here.
    """

    server_type: ClassVar[type[MaskingServer]] = MaskingServer

    consortium: Consortium
    oracle: Oracle
    sites: dict[int, Site] = field(init=False)
    servers: list[MaskingServer] = field(default_factory=list)
    flying: list[Flight] = field(default_factory=list)
    held: list[Flight] = field(default_factory=list)
    archive: list[Flight] = field(default_factory=list)
    sums: list[RoundSum] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    wrongs: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    epoch: int = 0
    round: int = 0

    def __post_init__(self) -> None:
        made = self.consortium
        self.sites = {number: Site(client, self.oracle, made.noise) for number, client in made.clients.items()}

    @property
    def server(self) -> MaskingServer:
        return self.servers[0]

    @property
    def model(self) -> bytes:
        """The model after all sums so far."""
        return next_model(self.sums[-1]) if self.sums else MODEL_DIGEST

    def close(self) -> None:
        for site in self.sites.values():
            site.client._latch.close()

    # --- The coordinator ---------------------------------------------------------------------------------------

    def open_epoch(self, invited: frozenset[int] | None = None, first_round: int | None = None) -> None:
        """Begin anew, whatever the servers so far were at."""
        self.epoch += 1
        first = self.round + 1 if first_round is None else first_round
        rounds = self.consortium.charter.charter.epoch_rounds
        session = Session(self.consortium.charter, self.epoch, Purpose.TRAINING, first, rounds)
        self.note(f"open epoch {self.epoch} from round {first} with {sorted(invited or session.members)}")
        self.servers = [self.server_type(session, invited, noise=self.consortium.noise)]
        self._act(0, lambda server: server.open())

    @property
    def due(self) -> int:
        """The step that comes after all sums so far."""
        return len(self.sums) + 1

    def begin(self, server: int = 0, step: int | None = None) -> None:
        step = step or self.due
        self.note(f"begin the round after {self.servers[server].round} for step {step}, server {server}")
        before = len(self.flying)
        self._act(server, lambda chosen: chosen.begin(step))
        if server:
            # Hospitals hear of the round once: a second BEGIN, refused, would only tell that server not to wait.
            del self.flying[before:]
        self.round = max(self.round, self.servers[server].round)

    def timeout(self, server: int = 0) -> None:
        self.note(f"timeout of server {server}, {self.servers[server].state.value}")
        self._act(server, lambda chosen: chosen.timeout())

    def fork(self) -> None:
        """The coordinator leads a double life from here on: two servers with the same past."""
        self.note("fork the coordinator")
        # A fault is an exception, which Python cannot copy, and neither can it SEAL's objects; nobody changes a fault,
        # and a round begins with a new collection.
        shared = (self.server.fault, self.server._round.collection)
        self.servers.append(copy.deepcopy(self.server, {id(part): part for part in shared}))

    def join(self) -> None:
        """Back to one life: the server that came furthest."""
        self.servers = [max(self.servers, key=lambda server: (server.round, server.result is not None))]

    def _act(self, index: int, action: Callable[[MaskingServer], Outbox]) -> None:
        server = self.servers[index]
        before = server.state
        for recipient, message in action(server):
            flight = Flight(COORDINATOR, recipient, message, index)
            self.flying.append(flight)
            self.archive.append(flight)
        if server.state in SETTLED and before not in SETTLED:
            self._ended(server, before)

    def _ended(self, server: MaskingServer, before: ServerState) -> None:
        if server.result is not None and before in _ENDED_BY_A_SUM:
            self.ends["sum"] += 1
            self.oracle.summed(server.session, server.result)
            if isinstance(server.result, RoundSum):
                self._keep(server.result)
        elif server.fault is not None:
            self.ends[server.fault.reason] += 1
        elif before not in _ENDED_BY_BEING_READY or server.state is not ServerState.READY:
            self.wrongs.append(f"a server went from {before} to {server.state} without a sum and without a reason")

    def _keep(self, total: RoundSum) -> None:
        """A sum that the coordinator can give to who missed it: its own, or one that a hospital has opened and told."""
        if total.step == self.due:
            self.sums.append(total)

    # --- The network -------------------------------------------------------------------------------------------

    def deliver(self, flight: Flight, to: int | None = None) -> None:
        """Hand over one message; ``to`` another hospital than it was meant for."""
        self.note(f"deliver {flight}" + ("" if to is None else f", but to {to}"))
        if flight.recipient == COORDINATOR:
            self.deliver_to_coordinator(flight, flight.sender)
            return
        site = self.sites[flight.recipient if to is None else to]
        replies, opened = site.receive(flight.message)
        if opened is not None:
            self._keep(opened)
        for reply in replies:
            if peek(reply).stage is Stage.REFUSAL:
                refusal = open_envelope(reply, self.consortium.charter, len(reply))
                self.refusals[decode(refusal.payload, Refusal).reason] += 1
            self.flying += [Flight(site.number, COORDINATOR, reply, index) for index in range(len(self.servers))]

    def deliver_to_coordinator(self, flight: Flight, claimed_sender: int) -> None:
        index = min(flight.server, len(self.servers) - 1)
        try:
            self._act(index, lambda server: server.receive(claimed_sender, flight.message))
        except RemoteProtocolError as error:
            self.note(f"  the coordinator refuses: {error.reason}")

    # --- The hospitals -----------------------------------------------------------------------------------------

    def restart(self, number: int) -> None:
        """A new process on the same latch file."""
        self.note(f"restart hospital {number}")
        old = self.sites[number].client
        path = old._latch._path
        old._latch.close()
        self.sites[number].restart(type(old)(old._charter, old._identity, Latch(path), self.consortium.policy))

    def catch_up(self, number: int) -> None:
        """What the coordinator's MISSED_SUM messages do."""
        self.sites[number].move_to(len(self.sums), self.model)

    def note(self, line: str) -> None:
        self.trace.append(line)


def update(session: Session, number: int, model: bytes) -> RingVector:
    """A hospital's vector: the same whenever it starts from the same model, so that differences would tell."""
    seed = hashlib.sha256(model + number.to_bytes(4, "big")).digest()
    largest = session.ring.largest // len(session.members)
    generator = np.random.default_rng(int.from_bytes(seed[:8], "big"))
    return session.ring.from_signed(generator.integers(-largest, largest + 1, session.length))


def next_model(total: RoundSum) -> bytes:
    """The model that a sum leads to."""
    return hashlib.sha256(total.model + total.vector.tobytes()).digest()
