"""Harnesses for messages: what a hospital and a coordinator make of bytes, in each of their states.

The first byte of an input chooses the state, the second the stage and whether the rest is a whole message or the
payload of one that is otherwise in order: signed by a member, or in the coordinator's name, for this epoch and round.
"""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import msgspec

from secagg.charter import Model
from secagg.errors import RemoteProtocolError
from secagg.masking import MaskingServer
from secagg.masking import messages as masking_messages
from secagg.masking.states import ClientState, ServerState
from secagg.masking.verification import ForgedSumError
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from secagg.wire.envelope import bin_head, decode, peek
from tests.fuzz.harness import Harness, nested, scratch
from tests.support.consortium import MODEL_DIGEST, Consortium, make_identities
from training import messages as around_messages
from training.attacks.encrypted import EncryptedCoordinator
from training.attacks.noise import NoisyCoordinator
from training.testbed.toy_noise import noisy

MEMBERS = 3
_SHAPE = {"model": Model(digest=MODEL_DIGEST, parameters=3), "epoch_rounds": 2, "threshold": 2, "max_colluding": 0}
# Masks alone with all that they can carry: noise that is removed where all survive.
_SHAPES = {"mask": _SHAPE | noisy(3)}
_CLIENT_STATES = [ClientState.IDLE, *(state for state in ClientState if state is not ClientState.IDLE)]
_ENCRYPTED_SERVER_STATES = [state for state in ServerState if state not in (ServerState.IDLE, ServerState.CLOSED)]
_SERVER_STATES = [state for state in _ENCRYPTED_SERVER_STATES if state is not ServerState.ACKNOWLEDGING]
_WHOLE = 0x80
# Of the schemes that encrypt, the one that has every message.
_ENCRYPTED = "double-lock"
_ROUND = {Stage.BEGIN, Stage.PROPOSE, Stage.UNMASK, Stage.SUM, Stage.MASKED, Stage.AGREE, Stage.REVEAL}
_ANY_SIZE = 1 << 24
_SCHEMAS = [
    one
    for module in (masking_messages, around_messages)
    for one in vars(module).values()
    if isinstance(one, type) and issubclass(one, msgspec.Struct) and not one.__name__.startswith("_")
]
_folders = itertools.count()


def _new_consortium(scheme: str = "mask") -> tuple[Path, Consortium]:
    folder = scratch() / f"latches-{next(_folders)}"
    folder.mkdir()
    return folder, Consortium.make(folder, MEMBERS, scheme=scheme, **_SHAPES.get(scheme, _SHAPE))


@dataclass
class _Hospital:
    """Member 1 in one state; made anew whenever it took something."""

    state: ClientState
    scheme: str = "mask"
    made: Consortium | None = None
    folder: Path | None = None

    def receive(self, message: bytes) -> None:
        made = self.made or self._make()
        with suppress(ForgedSumError):
            made.clients[1].receive(message)
        self._forget()

    def _make(self) -> Consortium:
        self.folder, made = _new_consortium(self.scheme)
        masks = self.scheme == "mask"
        coordinator = NoisyCoordinator(made) if masks else EncryptedCoordinator(made.charter, made.clients)
        zeros = dict.fromkeys(made.clients, coordinator.session.ring.zeros(coordinator.session.length))
        # With all of them the answer needs nobody's agreement; with two, it takes one to have agreed.
        survivors = [1, 2, 3] if self.state is ClientState.REVEALED else [1, 2]
        steps: list[Callable[[], object]] = [
            coordinator.open,
            coordinator.send_roster,
            coordinator.send_deals,
            coordinator.begin,
            lambda: coordinator.collect(zeros),
            lambda: [coordinator.propose(number, survivors) for number in survivors],
            lambda: [coordinator.ask(number, survivors) for number in survivors],
            lambda: coordinator.stop(1, survivors),
        ]
        for step in steps[: _CLIENT_STATES.index(self.state)]:
            step()
        self.made = made
        return made

    def _forget(self) -> None:
        for client in self.made.clients.values():
            client._latch.close()
        shutil.rmtree(self.folder)
        self.made = None


@dataclass
class _Coordinator:
    """A server in one state; a copy of it takes each message that comes after one that was taken."""

    state: ServerState
    scheme: str = "mask"
    fresh: MaskingServer | None = None
    used: MaskingServer | None = None

    def receive(self, sender: int, message: bytes) -> None:
        if self.fresh is None:
            self._make()
        self.used = self.used or self._another()
        self.used.receive(sender, message)
        self.used = None

    def _another(self) -> MaskingServer:
        if self.scheme == "mask":
            return copy.deepcopy(self.fresh)
        # SEAL's ciphertexts cannot be copied so.
        self._make()
        return self.fresh

    def _make(self) -> None:
        _, made = _new_consortium(self.scheme)
        server, outbox = made.server, made.server.open()
        while server.state is not self.state:
            if server.state is ServerState.READY:
                made.deliver(outbox)
                made.deliver(server.begin(1))
            elif server.state is ServerState.COLLECTING:
                zeros = server.session.ring.zeros(server.session.length)
                outbox = made.answer(made.mask(dict.fromkeys(made.clients, zeros), silent=[3]))
            else:
                outbox = made.answer(made.deliver(outbox))
        self.fresh = server


_HOSPITALS = {state: _Hospital(state) for state in _CLIENT_STATES}
_SERVERS = {state: _Coordinator(state) for state in _SERVER_STATES}
_ENCRYPTED_HOSPITALS = {state: _Hospital(state, _ENCRYPTED) for state in _CLIENT_STATES}
_ENCRYPTED_SERVERS = {state: _Coordinator(state, _ENCRYPTED) for state in _ENCRYPTED_SERVER_STATES}
_STAGES = list(Stage)


def _message(charter, sender: int, choice: int, rest: bytes) -> bytes:
    if choice & _WHOLE:
        return rest
    stage = _STAGES[choice % len(_STAGES)]
    identity = make_identities(MEMBERS)[sender - 1] if sender else None
    number = 1 if stage in _ROUND else 0
    recipient = 2 if stage is Stage.DEAL else COORDINATOR
    epoch = 2 if stage is Stage.OPEN else 1
    return Sealer(charter, sender, identity, epoch).seal(stage, msgspec.Raw(rest), recipient=recipient, round=number)


def _to_one_of(hospitals: dict[ClientState, _Hospital], data: bytes) -> None:
    state, choice, rest = data[:1] or b"\0", data[1:2] or b"\0", data[2:]
    party = hospitals[_CLIENT_STATES[state[0] % len(_CLIENT_STATES)]]
    charter = (party.made or party._make()).charter
    party.receive(_message(charter, COORDINATOR, choice[0], rest))


def _to_one_of_the_coordinators(servers: dict[ServerState, _Coordinator], data: bytes) -> None:
    state, choice, rest = data[:1] or b"\0", data[1:2] or b"\0", data[2:]
    party = list(servers.values())[state[0] % len(servers)]
    if party.fresh is None:
        party._make()
    party.receive(2, _message(party.fresh.session.charter, 2, choice[0], rest))


@cache
def _summed() -> tuple[Consortium, bytes, bytes]:
    """All have revealed; the true sum that comes next: what is in it beside its ciphertexts, and these."""
    _, made = _new_consortium(_ENCRYPTED)
    made.set_up()
    zeros = made.server.session.ring.zeros(made.server.session.length)
    made.deliver(made.server.begin(1))
    outbox = made.answer(made.mask(dict.fromkeys(made.clients, zeros), silent=[3]))
    outbox = made.answer(made.deliver(made.answer(made.deliver(outbox))))
    payload = bytes(open_envelope(dict(outbox)[1], made.charter, _ANY_SIZE).payload)
    size = made.server.session.sum_bytes + len(bin_head(made.server.session.sum_bytes))
    return made, payload[:-size], payload[-size:]


def _beside_a_sum(data: bytes) -> None:
    """All of an encrypted sum but its ciphertexts, which are true."""
    made, _, ciphertexts = _summed()
    client = made.clients[1]
    try:
        with suppress(ForgedSumError):
            client.receive(_message(made.charter, COORDINATOR, _STAGES.index(Stage.SUM), data + ciphertexts))
    finally:
        client.state = ClientState.REVEALED


def _recorded(scheme: str = "mask") -> tuple[list[bytes], list[bytes]]:
    """All messages of a run with a drop-out: what hospitals heard, and what they said."""
    _, made = _new_consortium(scheme)
    heard: list[bytes] = []
    receive = [(client, client.receive) for client in made.clients.values()]
    for client, original in receive:
        client.receive = lambda message, original=original: (heard.append(message), original(message))[1]
    made.set_up()
    zeros = dict.fromkeys(made.clients, made.server.session.ring.zeros(made.server.session.length))
    made.run_round(zeros, mask_silent=[3])
    return heard, [message for _, message in made.sent]


def _inputs(messages: list[bytes], states: int, scheme: str = "mask") -> list[bytes]:
    """Every message in every state, once as a whole and once as a payload."""
    found = []
    for message in dict.fromkeys(messages):
        stage = _STAGES.index(peek(message).stage)
        payload = _payload_of(message, scheme)
        for state in range(states):
            found += [bytes([state, _WHOLE]) + message, bytes([state, stage]) + payload]
    return found + [bytes([1, stage]) + deep for stage in range(14) for deep in nested(b"\x91", b"\xdd\0\0\0\1")]


def _payload_of(message: bytes, scheme: str) -> bytes:
    _, made = _new_consortium(scheme)
    return bytes(open_envelope(message, made.charter, _ANY_SIZE).payload)


def _hospital_seeds() -> list[bytes]:
    return _inputs(_recorded()[0], len(_CLIENT_STATES))


def _coordinator_seeds() -> list[bytes]:
    return _inputs(_recorded()[1], len(_SERVER_STATES))


def _encrypted_hospital_seeds() -> list[bytes]:
    return _inputs(_recorded(_ENCRYPTED)[0], len(_CLIENT_STATES), _ENCRYPTED)


def _encrypted_coordinator_seeds() -> list[bytes]:
    return _inputs(_recorded(_ENCRYPTED)[1], len(_ENCRYPTED_SERVER_STATES), _ENCRYPTED)


def _seeds_beside_a_sum() -> list[bytes]:
    true = _summed()[1]
    return [true, true[:1], *nested(b"\x91", b"\xdd\0\0\0\1")]


def _payload(data: bytes) -> None:
    decode(data[1:], _SCHEMAS[(data[:1] or b"\0")[0] % len(_SCHEMAS)])


def _payload_seeds() -> list[bytes]:
    _, made = _new_consortium()
    digest, views = bytes(32), [memoryview(bytes(40))]
    around = [
        around_messages.Query(),
        around_messages.Status(1, 2, 0, 3, False, digest, digest, (1, 2, 4)),
        around_messages.Endorsed(views),
        around_messages.AskSnapshot(views[0]),
        around_messages.Snapshot(digest, views[0]),
        around_messages.Conclude(3),
        around_messages.Attest(b"{}", bytes(64)),
        around_messages.Release(b"{}"),
    ]
    found = [bytes([_SCHEMAS.index(type(one))]) + msgspec.msgpack.encode(one) for one in around]
    for message in (message for kind in _recorded() for message in kind):
        envelope = open_envelope(message, made.charter, _ANY_SIZE)
        schema = next(one for one in _SCHEMAS if one.__name__.upper() == envelope.header.stage.name)
        found.append(bytes([_SCHEMAS.index(schema)]) + envelope.payload)
    return found + [bytes([index]) + deep for index in range(len(_SCHEMAS)) for deep in nested(b"\x91", b"\x81\xa0")]


_REFUSED = (RemoteProtocolError,)

HARNESSES = (
    Harness("payloads", _payload_seeds, _payload, _REFUSED),
    Harness("hospital", _hospital_seeds, partial(_to_one_of, _HOSPITALS), _REFUSED),
    Harness("coordinator", _coordinator_seeds, partial(_to_one_of_the_coordinators, _SERVERS), _REFUSED),
    Harness("hospital-encrypted", _encrypted_hospital_seeds, partial(_to_one_of, _ENCRYPTED_HOSPITALS), _REFUSED),
    Harness(
        "coordinator-encrypted",
        _encrypted_coordinator_seeds,
        partial(_to_one_of_the_coordinators, _ENCRYPTED_SERVERS),
        _REFUSED,
    ),
    Harness("beside-a-sum", _seeds_beside_a_sum, _beside_a_sum, _REFUSED),
)
