"""Well-formed messages with any content, in any state, are taken or refused; nothing else ever happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import RemoteProtocolError
from secagg.masking import Purpose
from secagg.masking.messages import (
    Abort,
    Advertise,
    Agree,
    Agreement,
    Begin,
    Deal,
    Deals,
    Masked,
    Open,
    Propose,
    Refusal,
    Reveal,
    Roster,
    Sum,
    Unmask,
)
from secagg.masking.states import ClientState, ServerState
from secagg.masking.verification import ForgedSumError
from secagg.wire import COORDINATOR, Sealer, Stage
from tests.support.consortium import MODEL_DIGEST, Consortium, make_identities
from tests.support.misbehaving import MisbehavingCoordinator

MEMBERS = 4
IDENTITIES = make_identities(MEMBERS)

counters = st.one_of(st.integers(0, 5), st.integers(0, (1 << 32) - 1))
digests = st.one_of(st.just(bytes(32)), st.binary(min_size=32, max_size=32))
blobs = st.one_of(st.binary(max_size=200), st.sampled_from([0, 32, 63, 64, 96, 128, 192, 208]).map(bytes))
views = blobs.map(memoryview)
numbers = st.lists(st.integers(1, 6), max_size=6)
agreements = st.builds(Agreement, st.integers(1, 6), counters, st.binary(min_size=64, max_size=64))
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=64)

FROM_COORDINATOR = {
    Stage.OPEN: st.builds(Open, st.sampled_from(Purpose), counters, counters),
    Stage.ROSTER: st.builds(Roster, numbers, st.lists(views, max_size=5)),
    Stage.DEALS: st.builds(Deals, st.lists(views, max_size=5)),
    Stage.BEGIN: st.builds(Begin, counters),
    Stage.PROPOSE: st.builds(Propose, numbers),
    Stage.UNMASK: st.builds(Unmask, numbers, st.lists(agreements, max_size=5)),
    Stage.SUM: st.builds(Sum, counters, numbers, digests, views, blobs),
    Stage.ABORT: st.builds(Abort, words),
}
FROM_HOSPITAL = {
    Stage.ADVERTISE: st.builds(Advertise, digests, blobs, blobs, digests, numbers),
    Stage.DEAL: st.builds(Deal, digests, blobs, blobs),
    Stage.MASKED: st.builds(Masked, digests, views, blobs),
    Stage.AGREE: st.builds(Agree, digests),
    Stage.REVEAL: st.builds(Reveal, digests, blobs, blobs),
    Stage.REFUSAL: st.builds(Refusal, words, words),
}


def contents(payloads: dict) -> st.SearchStrategy:
    """A stage with a payload that fits it, or, now and then, another stage's."""
    fitting = st.sampled_from(sorted(payloads)).flatmap(lambda stage: st.tuples(st.just(stage), payloads[stage]))
    return st.one_of(fitting, st.tuples(st.sampled_from(sorted(payloads)), st.one_of(*payloads.values())))


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.make(tmp_path_factory.mktemp("latches"), MEMBERS)


def taken(receive: Callable[..., object], *arguments: object) -> bool:
    try:
        receive(*arguments)
    except (RemoteProtocolError, ForgedSumError):
        return False
    return True


def hospital_in(state: ClientState, made: Consortium) -> MisbehavingCoordinator:
    """Every example opens an epoch of its own: hospitals take only newer ones. One that stopped is made to go on."""
    made.clients[1].state = ClientState.IDLE
    latches = [client._latch for client in made.clients.values()]
    first_round = max(latch.last_round(made.charter.digest) for latch in latches) + 1
    epoch = max(latch.last_epoch(made.charter.digest) for latch in latches) + 1
    coordinator = MisbehavingCoordinator(made.charter, made.clients, epoch=epoch, first_round=first_round)
    vectors = {number: coordinator.session.ring.zeros(21) for number in made.clients}
    steps = [
        coordinator.open,
        coordinator.send_roster,
        coordinator.send_deals,
        coordinator.begin,
        lambda: coordinator.collect(vectors),
        lambda: [coordinator.propose(number, [1, 2, 3]) for number in (1, 2, 3)],
        lambda: coordinator.ask(1, [1, 2, 3]),
        lambda: coordinator.stop(1, [1, 2, 3]),
    ]
    for step in steps[: list(ClientState).index(state)]:
        step()
    return coordinator


@pytest.mark.parametrize("state", [state for state in ClientState if state is not ClientState.IDLE])
@settings(max_examples=25, deadline=None)
@given(content=contents(FROM_COORDINATOR), near=st.booleans(), round_number=counters)
def test_a_hospital_takes_or_refuses_whatever_a_coordinator_sends(consortium, state, content, near, round_number):
    coordinator = hospital_in(state, consortium)
    stage, payload = content
    client = coordinator.clients[1]
    number = coordinator.round if near else round_number
    message = coordinator.forge(stage, payload, round_number=number)
    if not taken(client.receive, message):
        assert client.state in (state, ClientState.STOPPED)
        assert client.state is state or stage is Stage.SUM


def server_in(state: ServerState, folder: Path) -> Consortium:
    made = Consortium.make(folder, MEMBERS)
    server, outbox = made.server, made.server.open()
    while server.state is not state:
        replies = made.deliver(outbox)
        if server.state is ServerState.COLLECTING:
            zeros = server.session.ring.zeros(21)
            masking = [(n, client) for n, client in made.clients.items() if n < MEMBERS]
            replies = [(number, client.mask(zeros, MODEL_DIGEST)) for number, client in masking]
        outbox = server.begin(1) if server.state is ServerState.READY else made.answer(replies)
    return made


@pytest.mark.parametrize(
    "state",
    [
        ServerState.ADVERTISING,
        ServerState.DEALING,
        ServerState.READY,
        ServerState.COLLECTING,
        ServerState.AGREEING,
        ServerState.UNMASKING,
    ],
)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_the_coordinator_takes_or_refuses_whatever_a_hospital_signs(tmp_path_factory, state, data):
    made = server_in(state, tmp_path_factory.mktemp("latches"))
    server = made.server
    for _ in range(8):
        stage, payload = data.draw(contents(FROM_HOSPITAL))
        recipient = data.draw(st.integers(0, MEMBERS))
        number = data.draw(st.sampled_from([server.round, 0, 1, 2]))
        sealer = Sealer(made.charter, 2, IDENTITIES[1], data.draw(st.sampled_from([1, 1, 1, 2])))
        before = server.state
        if not taken(server.receive, 2, sealer.seal(stage, payload, recipient=recipient, round=number)):
            assert server.state is before


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_message_are_refused_by_both_sides(consortium, data):
    for receive in (consortium.clients[1].receive, lambda message: consortium.server.receive(1, message)):
        with pytest.raises(RemoteProtocolError):
            receive(data)


def test_a_round_still_works_after_a_storm_of_nonsense(tmp_path):
    made = Consortium.make(tmp_path, MEMBERS)
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
    np.testing.assert_array_equal(made.server.session.ring.to_signed(made.server.result.vector), expected)
