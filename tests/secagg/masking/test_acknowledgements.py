"""No round begins before every hospital of the epoch has said that it has the same secret as the others."""

from __future__ import annotations

import hashlib
import pickle

import msgspec
import numpy as np
import pytest
import tenseal
from tenseal import sealapi

from secagg.errors import InputError, LocalProtocolError, RemoteProtocolError, TamperingError
from secagg.homomorphic import form
from secagg.homomorphic.cipher import Cipher
from secagg.homomorphic.context import public_context
from secagg.homomorphic.seal import Channel
from secagg.homomorphic.spec import CipherSpec
from secagg.masking import MaskingServer, Session
from secagg.masking.journal import Received
from secagg.masking.limits import payload_limit
from secagg.masking.messages import Abort, Acknowledge
from secagg.masking.states import ClientState, ServerState
from secagg.masking.verification import ForgedSumError
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import decode, peek
from tests.support.consortium import MODEL_DIGEST, Consortium, make_identities
from tests.support.encrypted import opened
from tests.support.errors import error_of, reason_of
from tests.support.lacking_tenseal import without_tenseal
from tests.support.misbehaving import MisbehavingCoordinator
from tests.support.seal_releases import another_seal, serialized_parameters, with_another_generator

MEMBERS = 5
SCHEMES = ("bfv", "ckks", "double-lock")
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def to_acknowledging(folder, scheme="double-lock", journal=lambda event: None, members=MEMBERS, **charter):
    """A consortium whose hospitals have answered the deals; the coordinator has heard none of it yet."""
    consortium = Consortium.make(folder, members, scheme=scheme, **charter)
    consortium.server = MaskingServer(consortium.server.session, journal=journal)
    outbox = consortium.server.open()
    while consortium.server.state is not ServerState.ACKNOWLEDGING:
        outbox = consortium.answer(consortium.deliver(outbox))
    return consortium, consortium.deliver(outbox)


def acknowledgement(consortium, message) -> Acknowledge:
    return decode(opened(consortium, message).payload, Acknowledge)


def signed(consortium, number, payload, epoch=1) -> bytes:
    sealer = Sealer(consortium.charter, number, make_identities(MEMBERS)[number - 1], epoch)
    return sealer.seal(Stage.ACKNOWLEDGE, payload)


# --- What is said --------------------------------------------------------------------------------------------


@schemes
def test_all_hospitals_acknowledge_the_same_secret_and_nothing_that_holds_a_key(tmp_path, scheme):
    consortium, replies = to_acknowledging(tmp_path, scheme)
    said = [acknowledgement(consortium, message) for _, message in replies]
    assert [number for number, _ in replies] == [1, 2, 3, 4, 5]
    assert len({(one.context, one.fingerprint) for one in said}) == 1
    assert said[0].context == public_context(consortium.server.session.form.spec)
    # Shorter than one polynomial by far.
    assert len(said[0].context) < 200


@schemes
def test_every_epoch_has_another_secret(tmp_path, scheme):
    consortium, replies = to_acknowledging(tmp_path, scheme)
    first = acknowledgement(consortium, replies[0][1]).fingerprint
    old = consortium.server.session
    consortium.server = MaskingServer(Session(consortium.charter, 2, old.purpose, 1, old.rounds))
    consortium.set_up()
    second = acknowledgement(consortium, consortium.sent[-1][1])
    assert peek(consortium.sent[-1][1]).stage is Stage.ACKNOWLEDGE
    assert second.fingerprint != first


def test_a_hospital_that_got_other_contributions_has_another_secret(tmp_path):
    """Nobody can give two hospitals two secrets: what a dealer contributes it has committed to."""
    consortium = Consortium.make(tmp_path, MEMBERS, scheme="bfv")
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.open()
    coordinator.send_roster()
    deal = consortium.clients[2]._epoch
    secrets = deal.secrets
    assert secrets.tag_contribution not in b"".join(coordinator.deals.values())
    coordinator.send_deals()
    keys = {client._epoch.group._key for client in consortium.clients.values()}
    assert len(keys) == 1
    assert keys.isdisjoint({client.tag_key for client in consortium.clients.values()})


@schemes
def test_a_hospital_where_tenseal_cannot_be_loaded_says_what_it_lacks(tmp_path, scheme):
    client, deals = about_to_acknowledge(tmp_path, scheme)
    with without_tenseal():
        lacking = error_of(client.receive, deals)
    assert isinstance(lacking, InputError)
    assert (lacking.reason, lacking.culprit) == ("no-tenseal", "tenseal")
    assert "mask" in lacking.remedy
    acknowledges(client, deals)


@schemes
def test_a_hospital_that_would_send_what_nobody_can_add_says_so_before_a_round_begins(tmp_path, scheme, monkeypatch):
    """Later it would have paid for the round, and for the next."""
    client, deals = about_to_acknowledge(tmp_path, scheme)
    with monkeypatch.context() as other_build:
        with_another_generator(other_build)
        assert error_of(client.receive, deals).reason == "other-tenseal"
    acknowledges(client, deals)


def about_to_acknowledge(folder, scheme):
    """h2, and the deals for it, which it has not heard yet."""
    consortium = Consortium.make(folder, MEMBERS, scheme=scheme)
    outbox = consortium.server.open()
    while consortium.server.state is not ServerState.ACKNOWLEDGING:
        outbox = consortium.answer(consortium.deliver(outbox))
    return consortium.clients[2], dict(outbox)[2]


def acknowledges(client, deals) -> None:
    """A refusal has left it where it was: it goes on once what it lacked is there."""
    assert client.state is ClientState.DEALT
    (message,) = client.receive(deals)
    assert peek(message).stage is Stage.ACKNOWLEDGE


# --- What the coordinator makes of it ------------------------------------------------------------------------


@schemes
def test_a_round_begins_once_all_have_acknowledged_and_not_before(tmp_path, scheme):
    consortium, replies = to_acknowledging(tmp_path, scheme)
    server = consortium.server
    for position, (number, message) in enumerate(replies, start=1):
        with pytest.raises(LocalProtocolError):
            server.begin(1)
        assert number in server.missing
        assert server.receive(number, message) == []
        assert len(server.missing) == MEMBERS - position
    assert server.state is ServerState.READY
    assert len(server.begin(1)) == MEMBERS


def test_an_acknowledgement_that_comes_twice_is_one(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    server = consortium.server
    for number, message in replies[:-1]:
        assert server.receive(number, message) == []
        assert server.receive(number, message) == []
    assert server.missing == {5}
    server.receive(*replies[-1])
    assert server.state is ServerState.READY
    # After the last it is out of turn.
    assert reason_of(server.receive, *replies[-1]) == "unexpected-message"
    assert server.state is ServerState.READY


def test_a_second_acknowledgement_that_says_something_else_is_its_senders_lie(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    server = consortium.server
    server.receive(*replies[0])
    other = msgspec.structs.replace(acknowledgement(consortium, replies[0][1]), fingerprint=bytes(32))
    with pytest.raises(RemoteProtocolError) as caught:
        server.receive(1, signed(consortium, 1, other))
    assert (caught.value.reason, caught.value.culprit) == ("equivocation", "h1")


@schemes
def test_where_one_does_not_acknowledge_the_epoch_is_opened_again_with_those_who_did(tmp_path, scheme):
    consortium, replies = to_acknowledging(tmp_path, scheme)
    server = consortium.server
    for number, message in replies:
        if number != 3:
            server.receive(number, message)
    consortium.deliver(server.timeout())
    assert (server.state, server.fault.reason) == (ServerState.CLOSED, "incomplete-acknowledgement")
    assert server.answering == {1, 2, 4, 5}
    # The hospitals have heard of it, and wait for the next.
    assert {client.state for client in consortium.clients.values()} == {ClientState.READY}
    session = Session(consortium.charter, 2, server.session.purpose, 1, server.session.rounds)
    consortium.server = MaskingServer(session, server.answering)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.run_round(vectors)
    assert consortium.server.result.survivors.numbers == (1, 2, 4, 5)
    expected = consortium.integers(vectors, 1, 2, 4, 5)
    for number in (1, 2, 4, 5):
        taken = consortium.clients[number].take_sum()
        assert (consortium.server.session.ring.to_signed(taken.total.vector) == expected).all()
    assert consortium.clients[3].take_sum() is None


def test_fewer_than_t_acknowledgements_close_the_epoch_all_the_same(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    server = consortium.server
    server.receive(*replies[0])
    (_, message), *_ = server.timeout()
    assert decode(opened(consortium, message).payload, Abort).reason == "incomplete-acknowledgement"
    assert server.answering == {1}


def test_a_hospital_with_another_secret_closes_the_epoch_and_is_named(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    server = consortium.server
    other = msgspec.structs.replace(acknowledgement(consortium, replies[1][1]), fingerprint=bytes(32))
    outbox = []
    for number, message in replies:
        outbox = server.receive(number, signed(consortium, 2, other) if number == 2 else message)
    assert (server.state, server.fault.reason, server.fault.culprit) == (ServerState.CLOSED, "other-secret", "h2")
    assert "h2" in str(server.fault)
    assert [peek(message).stage for _, message in outbox] == [Stage.ABORT] * MEMBERS
    with pytest.raises(LocalProtocolError):
        server.begin(1)


@schemes
def test_a_hospital_with_another_release_of_seal_takes_part_like_all_others(tmp_path, scheme):
    consortium, replies = to_acknowledging_with_two_releases(tmp_path, scheme)
    for number, message in replies:
        consortium.server.receive(number, message)
    assert consortium.server.state is ServerState.READY


def test_control_if_contexts_were_as_seal_serializes_them_it_would_be_refused(tmp_path, monkeypatch):
    for place in ("masking.group", "homomorphic.context"):
        monkeypatch.setattr(f"secagg.{place}.public_context", serialized_parameters)
    consortium, replies = to_acknowledging_with_two_releases(tmp_path)
    for number, message in replies[:-1]:
        consortium.server.receive(number, message)
    assert reason_of(consortium.server.receive, *replies[-1]) == "other-context"
    assert consortium.server.missing == {2}


def to_acknowledging_with_two_releases(folder, scheme="double-lock"):
    """h2's SEAL is another than all others'; its answer comes last."""
    consortium = Consortium.make(folder, MEMBERS, scheme=scheme)
    outbox = consortium.server.open()
    while consortium.server.state is not ServerState.ACKNOWLEDGING:
        outbox = consortium.answer(consortium.deliver(outbox))
    replies = consortium.deliver([(number, message) for number, message in outbox if number != 2])
    with another_seal():
        replies += consortium.deliver([(number, message) for number, message in outbox if number == 2])
    return consortium, replies


def test_a_hospital_that_scales_numbers_by_another_factor_closes_the_epoch_and_is_named(tmp_path, monkeypatch):
    consortium, replies = to_acknowledging_at_two_scales(tmp_path, monkeypatch)
    contexts = {acknowledgement(consortium, message).context for _, message in replies}
    assert len(contexts) == 1
    for number, message in replies:
        consortium.server.receive(number, message)
    fault = consortium.server.fault
    assert (consortium.server.state, fault.reason, fault.culprit) == (ServerState.CLOSED, "other-secret", "h2")
    assert consortium.server.answering == {1, 3, 4, 5}


def test_control_where_fingerprints_tell_nothing_of_the_scale_all_hospitals_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(Cipher, "fingerprint", of_secret_alone)
    consortium, replies = to_acknowledging_at_two_scales(tmp_path, monkeypatch)
    for number, message in replies:
        consortium.server.receive(number, message)
    assert consortium.server.state is ServerState.READY
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.deliver(consortium.server.begin(1))
    masked = [(number, consortium.clients[number].mask(vectors[number], MODEL_DIGEST)) for number in vectors]
    outbox = consortium.answer(masked)
    for number, message in outbox:
        with pytest.raises(ForgedSumError):
            consortium.clients[number].receive(message)
        assert consortium.clients[number].state is ClientState.STOPPED


def of_secret_alone(cipher, purpose) -> bytes:
    return hashlib.sha256(purpose + cipher.seed).digest()


class HalfTheScale(CipherSpec):
    @property
    def scale_bits(self) -> int:
        return super().scale_bits - 1


def to_acknowledging_at_two_scales(folder, monkeypatch):
    """h2 runs a release that leaves a bit more free, and so scales by half the others' factor."""
    consortium = Consortium.make(folder, MEMBERS, scheme="ckks")
    outbox = consortium.server.open()
    while consortium.server.state is not ServerState.ACKNOWLEDGING:
        outbox = consortium.answer(consortium.deliver(outbox))
    replies = consortium.deliver([(number, message) for number, message in outbox if number != 2])
    with monkeypatch.context() as other_release:
        other_release.setattr(form, "CipherSpec", HalfTheScale)
        form.approximate_form.cache_clear()
        replies += consortium.deliver([(number, message) for number, message in outbox if number == 2])
    form.approximate_form.cache_clear()
    assert [number for number, _ in replies] == [1, 3, 4, 5, 2]
    return consortium, replies


@pytest.mark.parametrize(
    ("colluding", "others", "culprit"),
    [(1, {2}, "h2"), (1, {2, 4}, "h2"), (2, {2, 4}, "h2"), (3, {2, 4}, None), (3, {1, 2, 4}, None), (1, {1, 2}, "h1")],
)
def test_whoever_made_another_secret_is_named_only_if_more_than_may_collude_agree(tmp_path, colluding, others, culprit):
    """Up to c lie as they like: where no more agree, those who do not may be the honest ones."""
    consortium, replies = to_acknowledging(tmp_path, max_colluding=colluding)
    assert other_secrets(consortium, replies, dict.fromkeys(others, bytes(32))) == culprit


def test_where_as_many_agree_as_do_not_nobody_is_named(tmp_path):
    consortium, replies = to_acknowledging(tmp_path, members=4)
    assert other_secrets(consortium, replies, dict.fromkeys((1, 3), bytes(32))) is None


def test_where_each_made_another_secret_nobody_is_named(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    assert other_secrets(consortium, replies, {number: bytes([number]) * 32 for number in (1, 2, 3)}) is None


def other_secrets(consortium, replies, fingerprints) -> str | None:
    """Who is named where these have made secrets of these fingerprints."""
    for number, message in replies:
        if number in fingerprints:
            said = acknowledgement(consortium, message)
            message = signed(consortium, number, msgspec.structs.replace(said, fingerprint=fingerprints[number]))
        consortium.server.receive(number, message)
    fault = consortium.server.fault
    assert (consortium.server.state, fault.reason) == (ServerState.CLOSED, "other-secret")
    assert fault.remedy
    return fault.culprit


def test_a_context_of_other_parameters_is_refused_and_its_sender_named(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    server = consortium.server
    honest = acknowledgement(consortium, replies[3][1])
    for context in (b"", honest.context[:-1], honest.context + b"\0", pickle.dumps({"context": 1}), bytes(10_000)):
        with pytest.raises(RemoteProtocolError) as caught:
            server.receive(4, signed(consortium, 4, msgspec.structs.replace(honest, context=context)))
        assert (caught.value.reason, caught.value.culprit) == ("other-context", "h4")
        assert 4 in server.missing
    # It may think better of it.
    server.receive(*replies[3])
    assert 4 not in server.missing


# --- Keys that do not belong there ---------------------------------------------------------------------------


def tenseal_context() -> bytes:
    return tenseal.context(tenseal.SCHEME_TYPE.BFV, 4096, 1032193).serialize(save_secret_key=True)


@pytest.fixture
def journal() -> list:
    return []


@pytest.fixture
def with_a_key(tmp_path, journal):
    """Acknowledgements that the coordinator has not heard yet, and h1's with a secret key in it instead."""
    consortium, replies = to_acknowledging(tmp_path, journal=journal.append)
    holding = msgspec.structs.replace(acknowledgement(consortium, replies[0][1]), context=tenseal_context())
    return consortium, replies, signed(consortium, 1, holding)


def test_a_secret_key_in_a_context_stops_the_coordinator_and_is_kept_nowhere(with_a_key, journal):
    consortium, _, message = with_a_key
    server = consortium.server
    with pytest.raises(TamperingError) as caught:
        server.receive(1, message)
    assert (caught.value.reason, caught.value.culprit, caught.value.exit_code) == ("key-material", "h1", 4)
    assert server.state is ServerState.ACKNOWLEDGING
    assert 1 in server.missing
    assert not [event for event in journal if isinstance(event, Received) and event.message == message]


def test_a_secret_key_is_not_written_down_either_where_no_acknowledgement_is_due(with_a_key, journal):
    consortium, replies, message = with_a_key
    server = consortium.server
    server.receive(*replies[0])
    with pytest.raises(RemoteProtocolError) as caught:
        server.receive(1, message)
    assert caught.value.reason == "equivocation"
    consortium.answer(replies[1:])
    server.begin(1)
    with pytest.raises(RemoteProtocolError):
        server.receive(1, message)
    assert not [event for event in journal if isinstance(event, Received) and event.message == message]
    assert [event.message for event in journal if isinstance(event, Received)][-MEMBERS:] == [own for _, own in replies]


@pytest.mark.parametrize("context", [b"\x5e\xa1\x10", b"\x1a\x05\x0a\x03\x5e\xa1\x10"], ids=["SEAL's", "TenSEAL's"])
def test_one_member_that_sends_what_may_be_a_key_ends_every_set_up_until_it_is_left_out(tmp_path, context):
    """On purpose: whether there was a key is for people to find out, and for the consortium to draw the consequence."""
    consortium, replies = to_acknowledging(tmp_path)
    for epoch in (2, 3):
        holding = msgspec.structs.replace(acknowledgement(consortium, replies[1][1]), context=context)
        with pytest.raises(TamperingError) as caught:
            consortium.server.receive(2, signed(consortium, 2, holding, epoch - 1))
        assert (caught.value.reason, caught.value.culprit) == ("key-material", "h2")
        replies = again(consortium, epoch)
    consortium.server = MaskingServer(next_session(consortium, 4), frozenset({1, 3, 4, 5}))
    consortium.set_up()
    assert consortium.server.state is ServerState.READY


def next_session(consortium, epoch) -> Session:
    session = consortium.server.session
    return Session(session.charter, epoch, session.purpose, epoch, 1)


def again(consortium, epoch):
    """A new epoch, up to the acknowledgements, as after a new start of the coordinator."""
    consortium.server = MaskingServer(next_session(consortium, epoch))
    outbox = consortium.server.open()
    while consortium.server.state is not ServerState.ACKNOWLEDGING:
        outbox = consortium.answer(consortium.deliver(outbox))
    return consortium.deliver(outbox)


def test_the_groups_own_secret_key_is_recognised_too(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    cipher = consortium.clients[1]._epoch.group._cipher
    channel = Channel(8 * cipher.spec.parameters.degree)
    key = channel.saved(cipher._secret)
    assert isinstance(cipher._secret, sealapi.SecretKey)
    holding = msgspec.structs.replace(acknowledgement(consortium, replies[0][1]), context=key)
    with pytest.raises(TamperingError):
        consortium.server.receive(1, signed(consortium, 1, holding))


def test_a_context_as_large_as_usual_ones_with_keys_reaches_the_check_and_a_larger_one_does_not(tmp_path):
    consortium, replies = to_acknowledging(tmp_path)
    limit = payload_limit(consortium.server.session, Stage.ACKNOWLEDGE)
    # The default of NVFlare, with its public and its secret key.
    usual = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    honest = acknowledgement(consortium, replies[0][1])
    holding = msgspec.structs.replace(honest, context=usual.serialize(save_secret_key=True))
    with pytest.raises(TamperingError):
        consortium.server.receive(1, signed(consortium, 1, holding))
    bloated = msgspec.structs.replace(honest, context=bytes(limit + 1024))
    assert reason_of(consortium.server.receive, 1, signed(consortium, 1, bloated)) == "oversized"
