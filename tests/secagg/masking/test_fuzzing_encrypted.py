"""Where sums are encrypted too, messages with any content are taken or refused; nothing else ever happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.masking.messages import (
    Abort,
    Acknowledge,
    Agreement,
    Begin,
    Contribution,
    Deals,
    EncryptedSum,
    Masked,
    Open,
    Propose,
    ResponderReveal,
    Reveal,
    SealedReveal,
    Sum,
    Unmask,
)
from secagg.masking.states import ClientState, ServerState
from secagg.wire import Sealer, Stage
from tests.support.consortium import MODEL_DIGEST, Consortium, make_identities
from tests.support.encrypted import Round, forged
from tests.support.errors import taken

MEMBERS = 4
IDENTITIES = make_identities(MEMBERS)
SCHEMES = ("bfv", "ckks", "double-lock")
schemes = pytest.mark.parametrize("scheme", SCHEMES)

counters = st.one_of(st.integers(0, 5), st.integers(0, (1 << 32) - 1))
digests = st.one_of(st.just(bytes(32)), st.just(MODEL_DIGEST), st.binary(min_size=32, max_size=32))
blobs = st.one_of(st.binary(max_size=200), st.sampled_from([0, 8, 32, 64, 144, 208, 30_720, 30_784, 61_440]).map(bytes))
views = blobs.map(memoryview)
members = st.one_of(st.integers(1, 6), st.integers(1, 1000))
numbers = st.lists(members, max_size=6)
signatures = st.binary(min_size=64, max_size=64)
contributions = st.lists(st.builds(Contribution, counters, digests, signatures), max_size=5)
reveals = st.lists(st.builds(ResponderReveal, members, blobs), max_size=5)
agreements = st.lists(st.builds(Agreement, members, counters, signatures), max_size=5)

FIELDS = {
    "step": counters,
    "survivors": numbers,
    "model_digest": digests,
    "tag": st.binary(max_size=16),
    "contributions": contributions,
    "reveals": reveals,
    "vector": views,
}
FROM_COORDINATOR = st.one_of(
    st.tuples(st.just(Stage.SUM), st.builds(EncryptedSum, **FIELDS)),
    st.tuples(st.just(Stage.SUM), st.builds(Sum, counters, numbers, digests, views, st.binary(max_size=16))),
    st.tuples(st.just(Stage.PROPOSE), st.builds(Propose, numbers)),
    st.tuples(st.just(Stage.UNMASK), st.builds(Unmask, numbers, digests, agreements)),
    st.tuples(st.just(Stage.BEGIN), st.builds(Begin, counters)),
    st.tuples(st.just(Stage.DEALS), st.builds(Deals, st.lists(views, max_size=3))),
    st.tuples(st.just(Stage.ABORT), st.just(Abort("why"))),
)
FROM_HOSPITAL = st.one_of(
    st.tuples(st.just(Stage.ACKNOWLEDGE), st.builds(Acknowledge, st.binary(max_size=400), digests)),
    st.tuples(st.just(Stage.MASKED), st.builds(Masked, digests, views, st.binary(max_size=16))),
    st.tuples(st.just(Stage.REVEAL), st.builds(SealedReveal, digests, digests, blobs)),
    st.tuples(st.just(Stage.REVEAL), st.builds(Reveal, digests, digests, blobs, blobs)),
    st.tuples(st.just(Stage.MASKED), st.builds(Open, st.just("training"), counters, counters)),
)


def brought_to(state: ClientState | ServerState, folder: Path, scheme: str) -> Consortium:
    """Hospital 1, or the coordinator, in this state."""
    made = Consortium.make(folder, MEMBERS, scheme=scheme)
    server, client = made.server, made.clients[1]
    outbox = server.open()
    while state not in (server.state, client.state):
        if server.state is ServerState.READY:
            outbox = server.begin(1)
            made.deliver(outbox)
        elif client.state is ClientState.ASKED:
            outbox = made.answer(made.mask(made.random_vectors(np.random.default_rng(1))))
        else:
            outbox = made.answer(made.deliver(outbox))
    return made


def states_of(scheme: str) -> list[ClientState]:
    states = [ClientState.ADVERTISED, ClientState.DEALT, ClientState.READY, ClientState.ASKED, ClientState.MASKED]
    return [*states, ClientState.REVEALED] if scheme == "double-lock" else states


@pytest.mark.parametrize(("scheme", "state"), [(scheme, state) for scheme in SCHEMES for state in states_of(scheme)])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_a_hospital_takes_or_refuses_whatever_a_coordinator_sends_it_to_open(tmp_path_factory, scheme, state, data):
    made = brought_to(state, tmp_path_factory.mktemp("latches"), scheme)
    client = made.clients[1]
    for _ in range(6):
        stage, payload = data.draw(FROM_COORDINATOR)
        before, number = client.state, data.draw(st.sampled_from([made.server.round, 0, 1, 2]))
        if not taken(client.receive, forged(made, stage, payload, number)):
            assert client.state in (before, ClientState.READY, ClientState.STOPPED)


@schemes
@settings(max_examples=12, deadline=None)
@given(changes=st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=3, unique=True), data=st.data())
def test_a_true_sum_with_any_other_fields_is_refused_and_the_true_one_taken(tmp_path_factory, scheme, changes, data):
    made = Round.make(tmp_path_factory.mktemp("latches"), scheme, MEMBERS)
    client = made.consortium.clients[1]
    fields = {name: data.draw(FIELDS[name]) for name in changes}
    # Anything may be drawn, the true value too.
    other = [name for name in changes if fields[name] != getattr(made.payload, name)]
    if not other:
        return
    if taken(client.receive, made.changed(**fields)):
        # Nobody looks at reveals where nothing is masked.
        assert (scheme != "double-lock", other) == (True, ["reveals"])
        return
    if client.state is ClientState.STOPPED:
        return
    client.receive(made.message)
    assert client.take_sum() is not None


@pytest.mark.parametrize(
    ("scheme", "state"),
    [(scheme, state) for scheme in SCHEMES for state in (ServerState.ACKNOWLEDGING, ServerState.COLLECTING)]
    + [("double-lock", ServerState.UNMASKING)],
)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_the_coordinator_takes_or_refuses_whatever_a_hospital_signs(tmp_path_factory, scheme, state, data):
    made = brought_to(state, tmp_path_factory.mktemp("latches"), scheme)
    server = made.server
    for _ in range(6):
        stage, payload = data.draw(FROM_HOSPITAL)
        sealer = Sealer(made.charter, 2, IDENTITIES[1], data.draw(st.sampled_from([1, 1, 1, 2])))
        before = server.state
        if not taken(server.receive, 2, sealer.seal(stage, payload, round=data.draw(st.sampled_from([0, 1, 2])))):
            assert server.state is before
