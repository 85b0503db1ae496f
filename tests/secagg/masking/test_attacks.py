"""What a hospital and the coordinator refuse, one rule at a time: which reason, who is named, what state is kept.

The attacks that these rules are there for, each with a build on which it succeeds, are in `training.attacks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import pytest

from secagg.encoding import unpack
from secagg.errors import RefusedError, RemoteProtocolError
from secagg.latch import Latch
from secagg.masking import MaskingClient, Purpose, client, kdf
from secagg.masking.messages import Advertise, Begin, Deal, Masked, Reveal, Roster
from secagg.masking.shamir import random_secret
from secagg.masking.states import ClientState, ServerState
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import decode
from tests.support.consortium import (
    MODEL_DIGEST,
    Consortium,
    make_charter,
    make_identities,
    open_policy,
    sign_by_all,
)
from tests.support.misbehaving import MisbehavingCoordinator, sum_with_a_traitor
from training.attacks.members import FalseDealer

VICTIM = 1


def attack(folder: Path, members: int, *, colluders: Iterable[int] = (), set_up: bool = True, **changes: object):
    """A consortium in the hands of a misbehaving coordinator, and every hospital's vector."""
    consortium = Consortium.make(folder, members, **changes)
    vectors = consortium.random_vectors(np.random.default_rng(members))
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients, colluders=tuple(colluders))
    if set_up:
        coordinator.set_up()
    return consortium, coordinator, vectors


def plain(coordinator: MisbehavingCoordinator, vectors: dict, number: int) -> np.ndarray:
    return coordinator.session.ring.to_signed(vectors[number])


def refusal(call, *arguments) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments)
    return caught.value.reason


# --- Both shares of one victim -------------------------------------------------------------------------------


def test_the_latch_alone_refuses_a_second_answer_if_the_state_is_lost(tmp_path, monkeypatch):
    _, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    coordinator.ask(2, coordinator.everybody)
    coordinator.clients[2].state = ClientState.MASKED
    coordinator.clients[2]._answered = None
    others = coordinator.all_but(VICTIM)
    agreements = [coordinator.sign_for(number, others) for number in others]
    with monkeypatch.context() as patch:
        patch.setattr(Latch, "cohorts", lambda *arguments: ())
        assert refusal(coordinator.ask, 2, others, agreements) == "already-revealed"
        assert refusal(coordinator.propose, 2, others) == "already-answered"


def test_the_same_request_twice_is_refused_too(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    coordinator.ask(2, coordinator.everybody)
    assert refusal(coordinator.ask, 2, coordinator.everybody) == "unexpected-message"


# --- What is compared with what --------------------------------------------------------------


def test_the_same_cohort_may_be_summed_again_and_another_on_another_occasion(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 6, epoch_rounds=4)
    first = coordinator.sum_over(vectors, coordinator.all_but(2))
    np.testing.assert_array_equal(coordinator.sum_over(vectors, coordinator.all_but(2)), first)
    assert refusal(coordinator.sum_over, vectors, coordinator.everybody) == "differencing"
    coordinator.sum_over(vectors, coordinator.everybody, step=2)


def test_limit_with_a_traitor_a_forged_sum_of_zeros_begins_a_new_occasion(tmp_path):
    """Not prevented, and described as such: a hospital that colludes gives the coordinator the tag's key."""
    _, coordinator, vectors = attack(tmp_path, 6)
    with_victim = coordinator.sum_over(vectors, coordinator.everybody)
    zeros = sum_with_a_traitor(coordinator, coordinator.everybody, bytes(coordinator.session.vector_bytes))
    for hospital in coordinator.clients.values():
        hospital.receive(zeros)
    without_victim = coordinator.sum_over(vectors, coordinator.all_but(VICTIM), step=2)
    np.testing.assert_array_equal(with_victim - without_victim, plain(coordinator, vectors, VICTIM))


def test_an_occasion_is_the_purpose_and_the_step_whatever_the_model(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    hospital = coordinator.clients[1]
    occasions = set()
    for model, step in ((MODEL_DIGEST, 1), (MODEL_DIGEST, 2), (bytes([7]) * 32, 1)):
        coordinator.begin([1], step=step)
        hospital.mask(vectors[1], model)
        occasions.add(hospital._occasion())
    settings = {"epoch": 2, "first_round": 4, "rounds": 2}
    statistics = MisbehavingCoordinator(consortium.charter, consortium.clients, purpose=Purpose.STATISTICS, **settings)
    statistics.set_up()
    statistics.begin()
    hospital.mask(hospital.session.ring.zeros(hospital.session.length), MODEL_DIGEST)
    occasions.add(hospital._occasion())
    assert len(occasions) == 3


def test_from_another_model_a_step_is_summed_over_the_same_cohort_and_no_other(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 6, epoch_rounds=4)
    coordinator.sum_over(vectors, coordinator.all_but(2))
    coordinator.begin()
    coordinator.collect(vectors, bytes([7]) * 32)
    assert refusal(coordinator.propose, 3, coordinator.everybody) == "differencing"
    coordinator.unmask(coordinator.all_but(2))


# --- Survivor sets that no sum may be taken over -------------------------------------------------------------

BAD_SETS = [
    ([1, 2, 3], "below-threshold"),
    ([], "below-threshold"),
    ([2, 3, 4, 5], "not-a-survivor"),
    ([1, 2, 3, 9], "unknown-survivor"),
    ([1, 2, 2, 3], "malformed-survivors"),
    ([1, 3, 2, 4], "malformed-survivors"),
    ([1, 1, 1, 1], "malformed-survivors"),
]


@pytest.mark.parametrize(("survivors", "expected"), BAD_SETS)
def test_a_survivor_set_that_no_sum_may_be_taken_over_is_refused(tmp_path, survivors, expected):
    _, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    for call in (coordinator.propose, coordinator.ask):
        assert refusal(call, 1, survivors) == expected
        assert coordinator.clients[1].state is ClientState.MASKED
    coordinator.unmask([1, 2, 3, 4])


def test_shares_of_an_earlier_round_are_refused_once_the_next_has_begun(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    earlier = coordinator.unmask_request(coordinator.everybody)
    coordinator.start_round(vectors)
    assert refusal(coordinator.clients[1].receive, earlier) == "other-round"


# --- Vectors -------------------------------------------------------------------------------------------------


def test_a_round_is_masked_once_even_by_a_client_whose_state_was_lost(tmp_path, monkeypatch):
    _, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    coordinator.clients[1].state = ClientState.ASKED
    assert refusal(coordinator.clients[1].mask, vectors[1], MODEL_DIGEST) == "round-already-masked"
    monkeypatch.setattr(Latch, "record_masked", lambda *arguments: None)
    changed = vectors[1] + 1
    second = coordinator.clients[1].mask(changed, MODEL_DIGEST)
    difference = np.subtract(masked_vector(coordinator, second), masked_vector(coordinator, coordinator.masked[1]))
    np.testing.assert_array_equal(coordinator.session.ring.to_signed(difference), 1)


def masked_vector(coordinator: MisbehavingCoordinator, message: bytes) -> np.ndarray:
    session = coordinator.session
    payload = msgspec.msgpack.decode(coordinator.read(message).payload)
    return unpack(payload[1], session.length, session.ring)


def test_a_round_that_began_cannot_begin_again(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    again = coordinator.forge(Stage.BEGIN, Begin(1), round_number=1)
    assert refusal(coordinator.clients[1].receive, again) == "stale-round"


@pytest.mark.parametrize("number", [0, 4, 1000])
def test_a_round_outside_the_epoch_is_refused(tmp_path, number):
    _, coordinator, _ = attack(tmp_path, 5)
    message = coordinator.forge(Stage.BEGIN, Begin(1), round_number=number)
    assert refusal(coordinator.clients[1].receive, message) == "round-outside-epoch"


def test_a_hospital_with_another_model_is_left_out_of_the_sum(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    ring = consortium.server.session.ring
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    outbox = consortium.answer(
        [
            (number, hospital.mask(vectors[number], bytes([7]) * 32 if number == 3 else MODEL_DIGEST))
            for number, hospital in consortium.clients.items()
        ]
    )
    consortium.answer(consortium.deliver(consortium.answer(consortium.deliver(outbox))))
    result = consortium.server.result
    assert result.survivors.numbers == (1, 2, 4, 5)
    np.testing.assert_array_equal(
        ring.to_signed(result.vector), sum(ring.to_signed(vectors[number]) for number in (1, 2, 4, 5))
    )


def test_one_that_invents_a_model_first_keeps_nobody_out_where_nobody_is_said_to_collude(tmp_path):
    consortium = Consortium.make(tmp_path, 5, max_colluding=0, threshold=3)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    zeros = consortium.server.session.ring.zeros(21)
    models = {number: bytes([9 if number == 1 else 0]) * 32 for number in consortium.clients}
    outbox = []
    for number, hospital in consortium.clients.items():
        outbox += consortium.server.receive(number, hospital.mask(zeros, models[number]))
    while consortium.server.state is not ServerState.READY:
        outbox = consortium.answer(consortium.deliver(outbox or consortium.server.timeout()))
    assert consortium.server.result.survivors.numbers == (2, 3, 4, 5)


def test_more_models_than_members_that_may_lie_could_invent_are_refused_and_nobody_is_blamed(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    zeros = consortium.server.session.ring.zeros(21)
    masked = [(n, hospital.mask(zeros, bytes([n]) * 32)) for n, hospital in consortium.clients.items()]
    for number, message in masked[:2]:
        consortium.server.receive(number, message)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(*masked[2])
    assert (caught.value.reason, caught.value.culprit) == ("other-model", None)


def reader(consortium: Consortium) -> MisbehavingCoordinator:
    return MisbehavingCoordinator(consortium.charter, consortium.clients)


# --- Keys and rosters ----------------------------------------------------------------------------------------


def with_substitute(coordinator: MisbehavingCoordinator, number: int, message: bytes) -> list[bytes]:
    return [message if member == number else coordinator.advertisements[member] for member in coordinator.everybody]


def test_a_roster_below_the_threshold_or_with_a_member_twice_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    few = [coordinator.advertisements[number] for number in (1, 2, 3)]
    assert refusal(coordinator.send_roster, [1], few) == "below-threshold"
    enough = [*few, coordinator.advertisements[4]]
    assert refusal(coordinator.send_roster, [1], [*enough, enough[0]]) == "unexpected-message"


def test_a_roster_that_lacks_keys_or_holds_those_of_others_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    shown = [memoryview(message) for message in coordinator.advertisements.values()]
    for participants, advertisements, expected in (
        ([1, 2, 3, 4, 5], shown[:4], "keys-missing"),
        ([1, 2, 3, 4], shown, "unexpected-message"),
        ([2, 1, 3, 4], shown[:4], "malformed-survivors"),
        ([1, 2, 3, 4, 9], shown, "unknown-survivor"),
    ):
        message = coordinator.forge(Stage.ROSTER, Roster(participants, advertisements))
        assert refusal(coordinator.clients[1].receive, message) == expected
        assert coordinator.clients[1].state is ClientState.ADVERTISED


def test_every_hospital_on_a_roster_has_the_same_roster_or_is_not_ready(tmp_path):
    """Even where the coordinator makes two rosters that are each large enough: whoever is on both deals to one."""
    _, coordinator, _ = attack(tmp_path, 6, set_up=False)
    coordinator.open()
    shown = {number: [coordinator.advertisements[member] for member in range(1, 6)] for number in (1, 2, 3)}
    shown |= {number: [coordinator.advertisements[member] for member in range(2, 7)] for number in (4, 5, 6)}
    for number, advertisements in shown.items():
        coordinator.send_roster([number], advertisements)
    for number in coordinator.everybody:
        dealers = range(1, 6) if number < 4 else range(2, 7)
        assert refusal(coordinator.send_deals, [number], dealers) in ("other-roster", "deals-missing")
        # Without the deals that give it away, some are missing.
        assert refusal(coordinator.send_deals, [number], [1, 2, 3] if number < 4 else [4, 5, 6]) == "deals-missing"


def test_a_deal_for_another_member_or_from_oneself_or_twice_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    coordinator.send_roster()
    deals = coordinator.deals

    def give(*messages: bytes) -> str:
        return refusal(coordinator.clients[1].receive, coordinator.deal_bundle(1, messages))

    assert give(deals[2, 3]) == "unexpected-message"
    assert give(deals[2, 1], deals[2, 1]) == "duplicate"
    assert give(deals[1, 2]) == "unexpected-message"
    assert give(signed(coordinator, 1, Stage.DEAL, Deal, deals[2, 1])) == "duplicate"
    assert give(deals[2, 1], deals[3, 1], deals[4, 1]) == "deals-missing"
    assert give() == "deals-missing"


def test_a_deal_of_a_member_that_is_not_on_the_roster_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    absent = 5
    coordinator.open(coordinator.all_but(absent))
    coordinator.send_roster(coordinator.all_but(absent))
    deals = [coordinator.deals[dealer, 1] for dealer in (2, 3, 4)]
    extra = signed(coordinator, absent, Stage.DEAL, Deal, deals[0])
    assert refusal(coordinator.clients[1].receive, coordinator.deal_bundle(1, [*deals, extra])) == "duplicate"
    coordinator.clients[1].receive(coordinator.deal_bundle(1, deals))


def test_a_message_of_another_stage_is_no_deal_and_no_advertisement_though_it_reads_like_one(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    hospital = coordinator.clients[1]
    other = signed(coordinator, 2, Stage.ACKNOWLEDGE, Advertise, coordinator.advertisements[2])
    assert refusal(hospital.receive, coordinator.roster(with_substitute(coordinator, 2, other))) == "unexpected-message"
    coordinator.send_roster()
    of_others = [coordinator.deals[dealer, 1] for dealer in (3, 4, 5)]
    other = signed(coordinator, 2, Stage.REVEAL, Deal, coordinator.deals[2, 1])
    assert refusal(hospital.receive, coordinator.deal_bundle(1, [other, *of_others])) == "unexpected-message"
    hospital.receive(coordinator.deal_bundle(1, [coordinator.deals[2, 1], *of_others]))


def signed(coordinator: MisbehavingCoordinator, member: int, stage: Stage, kind: type, message: bytes) -> bytes:
    """The payload of another's message, signed by a member as one of a stage, for the same recipient."""
    identity = coordinator.clients[member]._identity
    sealer = Sealer(coordinator.session.charter, member, identity, coordinator.session.epoch)
    envelope = coordinator.read(message)
    return sealer.seal(stage, decode(envelope.payload, kind), recipient=envelope.header.recipient)


def test_for_what_the_coordinator_cannot_have_been_sent_it_is_named_and_no_hospital(tmp_path):
    """It keeps a deal back, or alters what it passes on: an honest one has opened all that, and waited for all."""
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    hospital = coordinator.clients[1]

    def blamed(message: bytes) -> tuple[str, str | None]:
        with pytest.raises(RemoteProtocolError) as caught:
            hospital.receive(message)
        return caught.value.reason, caught.value.culprit

    for reason, alter in (("bad-signature", unsigned), ("payload-altered", with_another_payload)):
        altered = with_substitute(coordinator, 3, alter(coordinator.advertisements[3]))
        assert blamed(coordinator.roster(altered)) == (reason, "the coordinator")
    coordinator.send_roster()
    *kept, last = [coordinator.deals[dealer, 1] for dealer in (2, 3, 4, 5)]
    for reason, alter in (("bad-signature", unsigned), ("payload-altered", with_another_payload)):
        assert blamed(coordinator.deal_bundle(1, [*kept, alter(last)])) == (reason, "the coordinator")
    assert blamed(coordinator.deal_bundle(1, kept)) == ("deals-missing", "the coordinator")
    hospital.receive(coordinator.deal_bundle(1, [*kept, last]))


def unsigned(message: bytes) -> bytes:
    header, _, payload = msgspec.msgpack.decode(message)
    return msgspec.msgpack.encode([header, bytes(64), payload])


def with_another_payload(message: bytes) -> bytes:
    header, signature, payload = msgspec.msgpack.decode(message)
    return msgspec.msgpack.encode([header, signature, payload[:-1] + bytes([payload[-1] ^ 1])])


def test_a_deal_that_was_altered_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    coordinator.send_roster()
    sealer = Sealer(coordinator.session.charter, 2, make_identities(5)[1], 1)
    honest = msgspec.msgpack.decode(coordinator.read(coordinator.deals[2, 1]).payload, type=Deal)

    def give(**changes: bytes) -> RemoteProtocolError:
        deal = msgspec.structs.replace(honest, **changes)
        altered = sealer.seal(Stage.DEAL, deal, recipient=1)
        rest = [coordinator.deals[dealer, 1] for dealer in (3, 4, 5)]
        with pytest.raises(RemoteProtocolError) as caught:
            coordinator.clients[1].receive(coordinator.deal_bundle(1, [altered, *rest]))
        return caught.value

    broken = bytes([honest.sealed_shares[0] ^ 1]) + honest.sealed_shares[1:]
    assert (give(sealed_shares=broken).reason, give(sealed_shares=broken).culprit) == ("unreadable-shares", "h2")
    assert give(share_digests=bytes(len(honest.share_digests))).reason == "unreadable-shares"
    assert give(sealed_shares=honest.sealed_shares[32:]).reason == "wrong-length"
    assert give(roster_digest=bytes(32)).reason == "other-roster"


def test_who_deals_on_another_roster_than_it_was_sent_is_named_and_the_next_epoch_is_without_it(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    deals = consortium.deliver(consortium.answer(consortium.deliver(consortium.server.open())))
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    for number, message in deals:
        if number != 2:
            consortium.server.receive(number, message)
            continue
        envelope = reader(consortium).read(message)
        other = msgspec.structs.replace(decode(envelope.payload, Deal), roster_digest=bytes(32))
        with pytest.raises(RemoteProtocolError) as caught:
            consortium.server.receive(2, sealer.seal(Stage.DEAL, other, recipient=envelope.header.recipient))
        assert (caught.value.reason, caught.value.culprit) == ("other-roster", "h2")
    consortium.server.timeout()
    assert consortium.server.fault.reason == "incomplete-dealing"
    assert consortium.server.answering == {1, 3, 4, 5}


def test_a_key_of_low_order_in_the_roster_is_refused_by_name(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    payload = msgspec.msgpack.decode(coordinator.read(coordinator.advertisements[3]).payload, type=Advertise)
    sealer = Sealer(coordinator.session.charter, 3, make_identities(5)[2], 1)
    weak = sealer.seal(Stage.ADVERTISE, msgspec.structs.replace(payload, share_key=bytes(32)))
    with pytest.raises(RemoteProtocolError) as caught:
        coordinator.send_roster([1], with_substitute(coordinator, 3, weak))
    assert (caught.value.reason, caught.value.culprit) == ("weak-key", "h3")


# --- Members that lie, as the coordinator sees them ----------------------------------------------------------


@pytest.mark.parametrize("silent", [set(), {2}])
def test_shares_that_do_not_give_what_was_committed_to_end_the_round_and_name_the_dealer(tmp_path, silent):
    consortium = Consortium.make(tmp_path, 5)
    consortium.clients[2] = FalseDealer(
        consortium.charter, consortium.identities[1], consortium.latches[2], consortium.policy
    )
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.run_round(vectors, mask_silent=silent)
    assert consortium.server.result is None
    assert (consortium.server.fault.reason, consortium.server.fault.culprit) == ("wrong-dealing", "h2")


def to_unmasking(folder: Path) -> tuple[Consortium, list[tuple[int, bytes]], dict]:
    """A round with one drop-out, up to the hospitals' answers, which are not handed over yet."""
    consortium = Consortium.make(folder, 5)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    masked = [(n, c.mask(vectors[n], MODEL_DIGEST)) for n, c in consortium.clients.items() if n != 5]
    agreed = consortium.deliver(consortium.answer(masked))
    return consortium, consortium.deliver(consortium.answer(agreed)), vectors


@pytest.mark.parametrize("field", ["seed_shares", "mask_key_shares"])
def test_a_share_that_is_not_the_one_dealt_is_refused_and_its_holder_named(tmp_path, field):
    consortium, replies, _ = to_unmasking(tmp_path)
    _, message = replies[1]
    reveal = msgspec.msgpack.decode(reader(consortium).read(message).payload, type=Reveal)
    wrong = bytearray(getattr(reveal, field))
    wrong[0] ^= 1
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    forged = sealer.seal(Stage.REVEAL, msgspec.structs.replace(reveal, **{field: bytes(wrong)}), round=1)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(2, forged)
    assert (caught.value.reason, caught.value.culprit) == ("wrong-share", "h2")
    consortium.answer(replies)
    assert consortium.server.result is not None


def test_two_different_messages_of_one_member_are_equivocation_and_the_first_counts(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    zeros = consortium.server.session.ring.zeros(21)
    message = consortium.clients[2].mask(zeros, MODEL_DIGEST)
    consortium.server.receive(2, message)
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    other = sealer.seal(Stage.MASKED, Masked(MODEL_DIGEST, memoryview(bytes(63)), bytes(8)), round=1)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(2, other)
    assert (caught.value.reason, caught.value.culprit) == ("equivocation", "h2")
    assert consortium.server.missing == {1, 3, 4, 5}


def test_a_vector_for_a_member_is_refused_by_name_and_counts_as_none(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    masked = Masked(MODEL_DIGEST, memoryview(bytes(63)), bytes(8))
    for recipient in (1, 2, 5):
        with pytest.raises(RemoteProtocolError) as caught:
            consortium.server.receive(2, sealer.seal(Stage.MASKED, masked, recipient=recipient, round=1))
        assert (caught.value.reason, caught.value.culprit) == ("other-recipient", "h2")
        assert 2 in consortium.server.missing
    consortium.server.receive(2, sealer.seal(Stage.MASKED, masked, round=1))
    assert 2 not in consortium.server.missing


@pytest.mark.parametrize(("size", "reason"), [(3000, "oversized"), (1, "malformed")])
def test_a_message_larger_than_its_stage_allows_or_written_otherwise_is_refused_by_name(tmp_path, size, reason):
    """Others are in turn that may be larger."""
    consortium = Consortium.make(tmp_path, 5)
    honest = decode(reader(consortium).read(dict(consortium.deliver(consortium.server.open()))[2]).payload, Advertise)
    # The last field is an empty list, here of more bytes than it needs.
    at_length = msgspec.msgpack.encode(honest)[:-1] + b"\xdd" + bytes(4)
    large = msgspec.msgpack.encode(msgspec.structs.replace(honest, holders=[7] * size))
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    payload = msgspec.Raw(large if reason == "oversized" else at_length)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(2, sealer.seal(Stage.ADVERTISE, payload))
    assert (caught.value.reason, caught.value.culprit) == (reason, "h2")
    assert 2 in consortium.server.missing


# --- Sums ----------------------------------------------------------------------------------------------------


def test_a_sum_of_another_length_or_round_is_refused(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    assert refusal(coordinator.clients[1].receive, coordinator.sum_message([1, 2, 3, 4], bytes(62))) == "wrong-length"
    coordinator.round = 2
    assert refusal(coordinator.clients[1].receive, coordinator.sum_message([1, 2, 3, 4], bytes(63))) == "other-round"
    assert refusal(coordinator.clients[1].receive, coordinator.abort_message()) == "other-round"


# --- Epochs, restarts, charters ------------------------------------------------------------------------------


def test_an_epoch_that_was_entered_cannot_be_entered_again(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5)
    assert refusal(coordinator.open) == "stale-epoch"


def test_a_restarted_hospital_refuses_the_epoch_it_was_in_and_takes_part_in_the_next(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    consortium.stop(1)
    consortium.start(1)
    for epoch, first_round, expected in ((1, 2, "stale-epoch"), (2, 1, "stale-round")):
        replayed = MisbehavingCoordinator(
            consortium.charter, consortium.clients, epoch=epoch, first_round=first_round, rounds=2
        )
        assert refusal(replayed.open, [1]) == expected
    later = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=2, first_round=2)
    later.set_up()
    later.start_round(vectors)
    assert consortium.clients[1].state is ClientState.MASKED


def test_a_round_that_began_but_was_never_masked_may_be_had_in_the_next_epoch(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    coordinator.begin()
    later = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=2, first_round=1)
    later.set_up()
    later.start_round(vectors)
    again = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=3, first_round=1)
    assert refusal(again.open, [1]) == "stale-round"


def test_a_restarted_hospital_has_no_shares_to_reveal(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    coordinator.start_round(vectors)
    consortium.stop(1)
    consortium.start(1)
    assert refusal(coordinator.ask, 1, coordinator.everybody) == "unexpected-message"


@pytest.mark.parametrize("rounds", [0, 4, 1000])
def test_an_epoch_of_more_rounds_than_the_charter_allows_is_refused(tmp_path, rounds):
    consortium = Consortium.make(tmp_path, 5)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    message = coordinator.forge(Stage.OPEN, client.Open("training", 1, rounds))
    assert refusal(consortium.clients[1].receive, message) == "epoch-too-long"


def test_messages_of_an_earlier_epoch_are_refused(tmp_path):
    consortium, earlier, _ = attack(tmp_path, 5)
    later = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=2, first_round=2)
    later.open()
    assert refusal(earlier.send_roster, [1]) == "other-epoch"
    replayed = with_substitute(later, 2, earlier.advertisements[2])
    assert refusal(later.send_roster, [1], replayed) == "unexpected-message"
    later.send_roster()
    bundle = later.deal_bundle(1, [earlier.deals[2, 1]])
    assert refusal(later.clients[1].receive, bundle) == "unexpected-message"


def test_a_hospital_does_not_start_with_a_charter_that_its_policy_forbids(tmp_path):
    identities = make_identities(5)
    charter = sign_by_all(make_charter(identities), identities)
    strict = open_policy(charter.charter, minimum_cohort=5)
    with pytest.raises(RefusedError) as caught:
        MaskingClient(charter, identities[0], Latch(tmp_path / "latch.sqlite"), strict)
    assert caught.value.reason == "cohort-too-small"


def test_a_message_for_another_member_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5)
    message = coordinator.forge(Stage.BEGIN, Begin(1), round_number=1, recipient=2)
    assert refusal(coordinator.clients[1].receive, message) == "other-recipient"
    coordinator.clients[2].receive(message)


def test_secrets_of_rounds_that_were_skipped_are_forgotten(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5)
    coordinator.round = 1
    coordinator.begin()
    secrets = coordinator.clients[1]._epoch.secrets
    assert [len(of_round) for of_round in secrets.rounds] == [0, 2, 2]


def test_no_secret_is_in_a_repr(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5)
    epoch = coordinator.clients[1]._epoch
    shown = f"{coordinator.clients[1]!r} {epoch!r} {epoch.secrets!r} {epoch.held!r}"
    for secret in (epoch.secrets.share_key, *chain.from_iterable(epoch.secrets.rounds)):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_a_mask_key_is_a_field_element_so_that_its_shares_give_it_back_exactly():
    secret = random_secret(lambda size: b"\xff" * size)
    assert len(secret) == 32
    assert kdf.public_key(secret)
