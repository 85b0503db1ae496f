"""The tables of both automata, pair by pair: what is not in the table is refused and changes nothing."""

from __future__ import annotations

import pytest

from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.masking.messages import (
    Abort,
    Acknowledge,
    Advertise,
    Agree,
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
from secagg.masking.states import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    Action,
    ClientState,
    ServerState,
    diagram,
    stages_in_turn,
)
from secagg.wire import Sealer, Stage
from tests.support.consortium import MODEL_DIGEST, Consortium, make_identities
from tests.support.misbehaving import MisbehavingCoordinator

MEMBERS = 4
SCHEMES = ("mask", "bfv", "ckks", "double-lock")
FROM_COORDINATOR = [stage for stage in Stage if stage.sent_by_coordinator]
FROM_HOSPITAL = [stage for stage in Stage if not stage.sent_by_coordinator]

PAYLOADS = {
    Stage.OPEN: Open("training", 1, 1),
    Stage.ADVERTISE: Advertise(bytes(32), bytes(32), bytes(32), bytes(32), []),
    Stage.ROSTER: Roster([], []),
    Stage.DEAL: Deal(bytes(32), bytes(64), b""),
    Stage.DEALS: Deals([]),
    Stage.ACKNOWLEDGE: Acknowledge(b"", bytes(32)),
    Stage.BEGIN: Begin(1),
    Stage.MASKED: Masked(bytes(32), memoryview(b""), b""),
    Stage.PROPOSE: Propose([1, 2, 3]),
    Stage.AGREE: Agree(bytes(32)),
    Stage.UNMASK: Unmask([1, 2, 3, 4], bytes(32), []),
    Stage.REVEAL: Reveal(bytes(32), bytes(32), b"", b""),
    Stage.SUM: Sum(1, [1, 2, 3, 4], bytes(32), memoryview(b""), b""),
    Stage.ABORT: Abort("because"),
    Stage.REFUSAL: Refusal("because", "of that"),
}


def payload(stage: Stage):
    """What a stage carries; the stages around the masking protocol are refused before their payload matters."""
    return PAYLOADS.get(stage, Abort("any"))


def scheme_for(state: ClientState | ServerState | None) -> str:
    """Masking, unless only an encrypted scheme has the state."""
    return "double-lock" if state is ServerState.ACKNOWLEDGING else "mask"


@pytest.fixture
def consortium(request, tmp_path) -> Consortium:
    parameters = getattr(request.node, "callspec", None)
    state = parameters.params.get("state") if parameters else None
    return Consortium.make(tmp_path, MEMBERS, scheme=scheme_for(state))


def drive_client(consortium: Consortium, state: ClientState) -> MisbehavingCoordinator:
    """Bring hospital 1 into ``state`` with real messages."""
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    vectors = {number: consortium.server.session.ring.zeros(21) for number in consortium.clients}
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
    assert consortium.clients[1].state is state
    return coordinator


def drive_server(consortium: Consortium, state: ServerState) -> None:
    """Bring the coordinator into ``state`` with real messages; to be agreed on, survivors need a drop-out."""
    server = consortium.server
    dropped = {4} if state is ServerState.AGREEING else set()
    if state is ServerState.CLOSED:
        consortium.answer(consortium.deliver(server.open(), silent={1, 3, 4}))
    outbox = []
    while state is not ServerState.CLOSED and server.state is not state:
        match server.state:
            case ServerState.IDLE:
                outbox = server.open()
            case ServerState.READY:
                consortium.deliver(outbox)
                outbox = server.begin(1)
            case ServerState.COLLECTING:
                consortium.deliver(outbox)
                zeros = server.session.ring.zeros(21)
                masking = [(n, client) for n, client in consortium.clients.items() if n not in dropped]
                outbox = consortium.answer([(number, client.mask(zeros, MODEL_DIGEST)) for number, client in masking])
            case _:
                outbox = consortium.answer(consortium.deliver(outbox))
    assert server.state is state


def test_every_state_of_both_roles_can_be_reached(tmp_path):
    for role, states, drive in (("c", ClientState, drive_client), ("s", ServerState, drive_server)):
        for state in states:
            folder = tmp_path / f"{role}-{state.name}"
            drive(Consortium.make(folder, MEMBERS, scheme=scheme_for(state)), state)


def test_only_an_encrypted_scheme_waits_for_acknowledgements(tmp_path):
    for scheme in SCHEMES:
        consortium = Consortium.make(tmp_path / scheme, MEMBERS, scheme=scheme)
        server, outbox = consortium.server, consortium.server.open()
        passed = []
        while server.state is not ServerState.READY:
            passed.append(server.state)
            outbox = consortium.answer(consortium.deliver(outbox))
        assert (ServerState.ACKNOWLEDGING in passed) is (scheme != "mask")


@pytest.mark.parametrize("state", ClientState, ids=lambda state: state.name)
def test_a_hospital_refuses_what_is_not_in_its_table_and_stays_where_it_was(consortium, state):
    coordinator = drive_client(consortium, state)
    refused = [stage for stage in FROM_COORDINATOR if (state, stage) not in CLIENT_TRANSITIONS]
    assert refused
    for stage in refused:
        message = coordinator.forge(stage, payload(stage), round_number=coordinator.round)
        with pytest.raises(RemoteProtocolError) as caught:
            consortium.clients[1].receive(message)
        assert caught.value.reason == "unexpected-message", stage
        assert consortium.clients[1].state is state, stage


@pytest.mark.parametrize("stage", FROM_HOSPITAL, ids=lambda stage: stage.name)
def test_a_hospital_refuses_what_other_hospitals_send(consortium, stage):
    sealer = Sealer(consortium.charter, 2, make_identities(MEMBERS)[1], 1)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.clients[1].receive(sealer.seal(stage, payload(stage), recipient=1))
    assert caught.value.reason == "unexpected-message"


@pytest.mark.parametrize("state", ServerState, ids=lambda state: state.name)
def test_the_coordinator_refuses_what_is_not_in_its_table_and_stays_where_it_was(consortium, state):
    drive_server(consortium, state)
    server = consortium.server
    sealer = Sealer(consortium.charter, 2, make_identities(MEMBERS)[1], 1)
    before = server.missing
    refused = [stage for stage in FROM_HOSPITAL if (state, stage) not in SERVER_TRANSITIONS]
    assert refused
    for stage in refused:
        message = sealer.seal(stage, payload(stage), round=server.round, recipient=1 if stage is Stage.DEAL else 0)
        with pytest.raises(RemoteProtocolError) as caught:
            server.receive(2, message)
        assert caught.value.reason == "unexpected-message", stage
        assert server.state is state, stage
        assert server.missing == before, stage


@pytest.mark.parametrize("stage", FROM_COORDINATOR, ids=lambda stage: stage.name)
def test_the_coordinator_refuses_a_coordinators_message(consortium, stage):
    drive_server(consortium, ServerState.ADVERTISING)
    forged = Sealer(consortium.charter, 0, None, 1).seal(stage, payload(stage))
    for sender, expected in ((0, "not-taking-part"), (1, "wrong-sender")):
        with pytest.raises(RemoteProtocolError) as caught:
            consortium.server.receive(sender, forged)
        assert caught.value.reason == expected


@pytest.mark.parametrize("state", [state for state in ClientState if (state, Action.MASK) not in CLIENT_TRANSITIONS])
def test_masking_out_of_turn_is_a_bug_of_the_caller(consortium, state):
    drive_client(consortium, state)
    with pytest.raises(LocalProtocolError) as caught:
        consortium.clients[1].mask(consortium.server.session.ring.zeros(21), MODEL_DIGEST)
    assert caught.value.reason in ("out-of-turn", "no-epoch")
    assert consortium.clients[1].state is state


@pytest.mark.parametrize("state", [state for state in ServerState if (state, Action.BEGIN) not in SERVER_TRANSITIONS])
def test_beginning_a_round_out_of_turn_is_a_bug_of_the_caller(consortium, state):
    drive_server(consortium, state)
    with pytest.raises(LocalProtocolError) as caught:
        consortium.server.begin(1)
    assert caught.value.reason == "out-of-turn"
    assert consortium.server.state is state


@pytest.mark.parametrize("state", [state for state in ServerState if state is not ServerState.IDLE])
def test_an_epoch_is_opened_once(consortium, state):
    drive_server(consortium, state)
    with pytest.raises(LocalProtocolError):
        consortium.server.open()
    assert consortium.server.state is state


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dropped", [set(), {4}], ids=["all answer", "one drops out"])
def test_a_duplicate_of_every_message_of_a_round_changes_nothing(tmp_path, scheme, dropped):
    consortium = Consortium.make(tmp_path, MEMBERS, scheme=scheme)
    server, doubled = consortium.server, 0
    zeros = server.session.ring.zeros(21)
    outbox = server.open()
    while server.result is None:
        before = server.state
        replies = consortium.deliver(outbox)
        if before is ServerState.COLLECTING:
            masking = [(n, client) for n, client in consortium.clients.items() if n not in dropped]
            replies = [(number, client.mask(zeros, MODEL_DIGEST)) for number, client in masking]
        outbox = server.begin(1) if before is ServerState.READY else []
        for sender, reply in replies:
            state = server.state
            outbox = server.receive(sender, reply) or outbox
            if server.state is state:
                assert server.receive(sender, reply) == []
                doubled += 1
        if before is ServerState.COLLECTING and server.state is before:
            outbox = server.timeout()
    assert doubled > 2 * MEMBERS
    assert set(server.result.survivors.numbers) == {1, 2, 3, 4} - dropped


def test_a_hospital_reveals_once_a_round_and_nothing_leads_back_within_it():
    revealing = {pair[0] for pair in CLIENT_TRANSITIONS if pair[1] is Stage.UNMASK}
    assert revealing == {ClientState.MASKED, ClientState.AGREED}
    leading_to = {
        state: [pair for pair, target in CLIENT_TRANSITIONS.items() if target is state]
        for state in (ClientState.MASKED, ClientState.AGREED)
    }
    assert leading_to[ClientState.AGREED] == [(ClientState.MASKED, Stage.PROPOSE)]
    assert leading_to[ClientState.MASKED] == [(ClientState.ASKED, Action.MASK)]
    leading_to_asked = {pair[1] for pair, target in CLIENT_TRANSITIONS.items() if target is ClientState.ASKED}
    assert leading_to_asked == {Stage.BEGIN}


def test_a_hospital_agrees_once_a_round():
    assert [pair[0] for pair in CLIENT_TRANSITIONS if pair[1] is Stage.PROPOSE] == [ClientState.MASKED]


def test_messages_in_turn_are_those_of_the_table():
    for table, states in ((CLIENT_TRANSITIONS, ClientState), (SERVER_TRANSITIONS, ServerState)):
        for state in states:
            assert set(stages_in_turn(state)) == {e for s, e in table if s is state and isinstance(e, Stage)}


def test_a_diagram_has_a_line_for_every_transition():
    for table in (CLIENT_TRANSITIONS, SERVER_TRANSITIONS):
        assert len(diagram(table).splitlines()) == len(table) + 1
