"""Well-formed messages with any content, in any state, are taken or refused; nothing else ever happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import RemoteProtocolError
from secagg.masking import Purpose
from secagg.masking.messages import (
    Abort,
    Acknowledge,
    Advertise,
    Agree,
    Agreement,
    Begin,
    Contribution,
    Deal,
    Deals,
    EncryptedSum,
    Masked,
    Open,
    Propose,
    Refusal,
    ResponderReveal,
    Reveal,
    Roster,
    SealedReveal,
    Sum,
    Unmask,
)
from secagg.masking.states import ClientState, ServerState
from secagg.wire import COORDINATOR, Sealer, Stage
from tests.support.consortium import MODEL_DIGEST, Consortium, make_identities
from tests.support.errors import taken
from tests.support.misbehaving import MisbehavingCoordinator
from training.attacks.encrypted import EncryptedCoordinator

MEMBERS = 4
IDENTITIES = make_identities(MEMBERS)

counters = st.one_of(st.integers(0, 5), st.integers(0, (1 << 32) - 1))
digests = st.one_of(st.just(bytes(32)), st.binary(min_size=32, max_size=32))
blobs = st.one_of(st.binary(max_size=200), st.sampled_from([0, 32, 63, 64, 96, 128, 192, 208]).map(bytes))
views = blobs.map(memoryview)
numbers = st.lists(st.integers(1, 6), max_size=6)
agreements = st.builds(Agreement, st.integers(1, 6), counters, st.binary(min_size=64, max_size=64))
contributions = st.builds(Contribution, counters, digests, st.binary(min_size=64, max_size=64))
reveals = st.builds(ResponderReveal, st.integers(1, 6), st.one_of(blobs, st.just(bytes(144))))
# One block of a sum: zeros are a ciphertext, whatever the secret.
ciphertexts = st.one_of(views, st.sampled_from([0, 1]).map(lambda less: memoryview(bytes(61440 - less))))
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=64)

FROM_COORDINATOR = {
    Stage.OPEN: st.builds(Open, st.sampled_from(Purpose), counters, counters),
    Stage.ROSTER: st.builds(Roster, numbers, st.lists(views, max_size=5)),
    Stage.DEALS: st.builds(Deals, st.lists(views, max_size=5)),
    Stage.BEGIN: st.builds(Begin, counters),
    Stage.PROPOSE: st.builds(Propose, numbers),
    Stage.UNMASK: st.builds(Unmask, numbers, digests, st.lists(agreements, max_size=5)),
    Stage.SUM: st.builds(Sum, counters, numbers, digests, views, blobs),
    Stage.ABORT: st.builds(Abort, words),
}
FROM_HOSPITAL = {
    Stage.ADVERTISE: st.builds(Advertise, digests, blobs, blobs, digests, numbers),
    Stage.DEAL: st.builds(Deal, digests, blobs, blobs),
    Stage.MASKED: st.builds(Masked, digests, views, blobs),
    Stage.AGREE: st.builds(Agree, digests),
    Stage.REVEAL: st.builds(Reveal, digests, digests, blobs, blobs),
    Stage.REFUSAL: st.builds(Refusal, words, words),
}


# Of the schemes that encrypt: one with every message, one where a sum follows on the vectors at once.
SCHEMES = {"mask": MisbehavingCoordinator, "double-lock": EncryptedCoordinator, "bfv": EncryptedCoordinator}
schemes = pytest.mark.parametrize("scheme", SCHEMES)
encrypted_sums = st.builds(
    EncryptedSum,
    counters,
    st.one_of(numbers, st.just([1, 2, 3])),
    digests,
    st.one_of(blobs, st.just(bytes(8))),
    st.lists(contributions, max_size=5),
    st.lists(reveals, max_size=5),
    ciphertexts,
)
ENCRYPTED_FROM_COORDINATOR = FROM_COORDINATOR | {Stage.SUM: encrypted_sums}
ENCRYPTED_FROM_HOSPITAL = FROM_HOSPITAL | {
    Stage.REVEAL: st.builds(SealedReveal, digests, digests, blobs),
    Stage.ACKNOWLEDGE: st.builds(Acknowledge, blobs, digests),
}


def contents(payloads: dict) -> st.SearchStrategy:
    """A stage with a payload that fits it, or, now and then, another stage's."""
    fitting = st.sampled_from(sorted(payloads)).flatmap(lambda stage: st.tuples(st.just(stage), payloads[stage]))
    return st.one_of(fitting, st.tuples(st.sampled_from(sorted(payloads)), st.one_of(*payloads.values())))


@pytest.fixture(scope="module")
def consortia(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Consortium]:
    return {scheme: Consortium.make(tmp_path_factory.mktemp("latches"), MEMBERS, scheme=scheme) for scheme in SCHEMES}


def hospital_in(state: ClientState, made: Consortium) -> MisbehavingCoordinator:
    """Every example opens an epoch of its own: hospitals take only newer ones. One that stopped is made to go on."""
    made.clients[1].state = ClientState.IDLE
    latches = [client._latch for client in made.clients.values()]
    first_round = max(latch.last_round(made.charter.digest) for latch in latches) + 1
    epoch = max(latch.last_epoch(made.charter.digest) for latch in latches) + 1
    kind = SCHEMES[made.charter.charter.scheme]
    coordinator = kind(made.charter, made.clients, epoch=epoch, first_round=first_round)
    vectors = {number: coordinator.session.ring.zeros(21) for number in made.clients}
    steps = [
        coordinator.open,
        coordinator.send_roster,
        coordinator.send_deals,
        coordinator.begin,
        lambda: coordinator.collect(vectors),
        lambda: [coordinator.propose(number, [1, 2, 3]) for number in (1, 2, 3)],
        lambda: [coordinator.ask(number, [1, 2, 3]) for number in (1, 2, 3)],
        lambda: coordinator.stop(1, [1, 2, 3]),
    ]
    for step in steps[: list(ClientState).index(state)]:
        step()
    return coordinator


def states_of(scheme: str) -> list[ClientState]:
    """All that `hospital_in` gets to. Where nothing is masked, nobody agrees and nobody reveals."""
    never = {ClientState.AGREED, ClientState.REVEALED, ClientState.STOPPED} if scheme == "bfv" else set()
    return [state for state in ClientState if state not in never | {ClientState.IDLE}]


@pytest.mark.parametrize(("scheme", "state"), [(scheme, state) for scheme in SCHEMES for state in states_of(scheme)])
@settings(max_examples=25, deadline=None)
@given(data=st.data(), near=st.booleans(), round_number=counters)
def test_a_hospital_takes_or_refuses_whatever_a_coordinator_sends(consortia, scheme, state, data, near, round_number):
    coordinator = hospital_in(state, consortia[scheme])
    stage, payload = data.draw(contents(FROM_COORDINATOR if scheme == "mask" else ENCRYPTED_FROM_COORDINATOR))
    client = coordinator.clients[1]
    number = coordinator.round if near else round_number
    message = coordinator.forge(stage, payload, round_number=number)
    if not taken(client.receive, message):
        assert client.state in (state, ClientState.STOPPED)
        assert client.state is state or stage is Stage.SUM


def server_in(state: ServerState, folder: Path, scheme: str) -> Consortium:
    made = Consortium.make(folder, MEMBERS, scheme=scheme)
    server, outbox = made.server, made.server.open()
    while server.state is not state:
        replies = made.deliver(outbox)
        if server.state is ServerState.COLLECTING:
            zeros = server.session.ring.zeros(21)
            masking = [(n, client) for n, client in made.clients.items() if n < MEMBERS]
            replies = [(number, client.mask(zeros, MODEL_DIGEST)) for number, client in masking]
        outbox = server.begin(1) if server.state is ServerState.READY else made.answer(replies)
    return made


EVERYWHERE = [ServerState.ADVERTISING, ServerState.DEALING, ServerState.READY, ServerState.COLLECTING]
WHERE_MASKED = [ServerState.AGREEING, ServerState.UNMASKING]
WHERE_ENCRYPTED = [ServerState.ACKNOWLEDGING]
SERVER_STATES = {
    "mask": [*EVERYWHERE, *WHERE_MASKED],
    "double-lock": [*EVERYWHERE, *WHERE_MASKED, *WHERE_ENCRYPTED],
    "bfv": [*WHERE_ENCRYPTED, ServerState.COLLECTING],
}


@pytest.mark.parametrize(
    ("scheme", "state"), [(scheme, state) for scheme, states in SERVER_STATES.items() for state in states]
)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_the_coordinator_takes_or_refuses_whatever_a_hospital_signs(tmp_path_factory, scheme, state, data):
    made = server_in(state, tmp_path_factory.mktemp("latches"), scheme)
    server = made.server
    for _ in range(8):
        stage, payload = data.draw(contents(FROM_HOSPITAL if scheme == "mask" else ENCRYPTED_FROM_HOSPITAL))
        recipient = data.draw(st.integers(0, MEMBERS))
        number = data.draw(st.sampled_from([server.round, 0, 1, 2]))
        sealer = Sealer(made.charter, 2, IDENTITIES[1], data.draw(st.sampled_from([1, 1, 1, 2])))
        before = server.state
        if not taken(server.receive, 2, sealer.seal(stage, payload, recipient=recipient, round=number)):
            assert server.state is before


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_message_are_refused_by_both_sides(consortia, data):
    consortium = consortia["mask"]
    for receive in (consortium.clients[1].receive, lambda message: consortium.server.receive(1, message)):
        with pytest.raises(RemoteProtocolError):
            receive(data)


@schemes
def test_a_round_still_works_after_a_storm_of_nonsense(tmp_path, scheme):
    made = Consortium.make(tmp_path, MEMBERS, scheme=scheme)
    generator = np.random.default_rng(1)
    vectors = made.random_vectors(generator)
    storm = [generator.bytes(int(size)) for size in generator.integers(0, 300, 50)]
    storm += [
        Sealer(made.charter, COORDINATOR, None, epoch).seal(stage, Abort("no"), round=9)
        for stage in FROM_COORDINATOR
        for epoch in (0, 1, 7)
        if stage not in (Stage.OPEN, Stage.ABORT)
    ]

    def rage() -> None:
        for message in storm:
            for receive in (*(c.receive for c in made.clients.values()), lambda m: made.server.receive(1, m)):
                with pytest.raises(RemoteProtocolError):
                    receive(message)

    rage()
    made.set_up()
    rage()
    made.run_round(vectors)
    rage()
    expected = sum(made.server.session.ring.to_signed(vector) for vector in vectors.values())
    for client in made.clients.values():
        np.testing.assert_array_equal(made.server.session.ring.to_signed(client.take_sum().total.vector), expected)
