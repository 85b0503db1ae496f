"""What a coordinator or a member that lies can try in a round, each beside a control where the same attack works.

The controls run the same script against clients that lack one rule. They show that the refusal is what protects, and
that the script would notice if it did not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from secagg.charter import model as charter_model
from secagg.encoding import unpack
from secagg.errors import RemoteProtocolError
from secagg.identity import Identity
from secagg.latch import Latch
from secagg.masking import MaskingClient, Survivors, client, kdf
from secagg.masking.dealing import EpochSecrets
from secagg.masking.kdf import Secret
from secagg.masking.messages import Advertise, Begin, Deal
from secagg.masking.shamir import random_secret
from secagg.masking.states import ClientState
from secagg.wire import Sealer, Stage, envelope
from tests.support.consortium import (
    MODEL_DIGEST,
    Consortium,
    make_charter,
    make_identities,
    open_policy,
    sign_by_all,
)
from tests.support.misbehaving import MisbehavingCoordinator

VICTIM = 1


def attack(folder: Path, members: int, *, colluders: Iterable[int] = (), set_up: bool = True, **changes: object):
    """A consortium in the hands of a misbehaving coordinator, and every hospital's vector."""
    consortium = Consortium.make(folder, members, **changes)
    vectors = consortium.random_vectors(np.random.default_rng(members))
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients, colluders=tuple(colluders))
    if set_up:
        coordinator.set_up()
    return consortium, coordinator, vectors


def start_round(coordinator: MisbehavingCoordinator, vectors: dict) -> None:
    coordinator.begin()
    coordinator.collect(vectors)


def plain(coordinator: MisbehavingCoordinator, vectors: dict, number: int) -> np.ndarray:
    return coordinator.session.ring.to_signed(vectors[number])


def refusal(call, *arguments) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments)
    return caught.value.reason


def all_but(coordinator: MisbehavingCoordinator, *numbers: int) -> list[int]:
    return [number for number in coordinator.everybody if number not in numbers]


class Forgetful:
    """A weakened build: a hospital that does not remember that it has answered."""

    @staticmethod
    def install(monkeypatch: pytest.MonkeyPatch, coordinator: MisbehavingCoordinator) -> None:
        monkeypatch.setattr(Latch, "record_revealed", lambda *arguments: None)
        for number, hospital in coordinator.clients.items():
            original = hospital.receive

            def receive(message: bytes, number: int = number, original=original) -> list[bytes]:
                replies = original(message)
                if coordinator.clients[number].state is ClientState.REVEALED:
                    coordinator.clients[number].state = ClientState.MASKED
                return replies

            monkeypatch.setattr(hospital, "receive", receive)


# --- Both shares of one victim -------------------------------------------------------------------------------


def ask_all_twice(coordinator: MisbehavingCoordinator) -> list[str]:
    """First for the victim's self-mask seed, then for its mask key; what was refused."""
    refused = []
    for survivors in (coordinator.everybody, all_but(coordinator, VICTIM)):
        for number in all_but(coordinator, VICTIM):
            try:
                coordinator.ask(number, survivors)
            except RemoteProtocolError as error:
                refused.append(error.reason)
    return refused


def test_a_second_survivor_set_for_one_round_is_refused_and_the_victim_stays_hidden(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    assert ask_all_twice(coordinator) == ["unexpected-message"] * 4
    assert coordinator.rebuild(VICTIM, Secret.SELF_MASK_SEED) is not None
    assert coordinator.rebuild(VICTIM, Secret.MASK_KEY) is None
    assert coordinator.strip(VICTIM, coordinator.everybody) is None


def test_control_a_hospital_that_forgets_gives_the_victim_away(tmp_path, monkeypatch):
    _, coordinator, vectors = attack(tmp_path, 5)
    Forgetful.install(monkeypatch, coordinator)
    start_round(coordinator, vectors)
    assert ask_all_twice(coordinator) == []
    stripped = coordinator.strip(VICTIM, coordinator.everybody)
    np.testing.assert_array_equal(stripped, plain(coordinator, vectors, VICTIM))


def test_the_latch_alone_refuses_a_second_answer_if_the_state_is_lost(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    coordinator.ask(2, coordinator.everybody)
    coordinator.clients[2].state = ClientState.MASKED
    assert refusal(coordinator.ask, 2, all_but(coordinator, VICTIM)) == "already-revealed"


def test_the_same_request_twice_is_refused_too(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    coordinator.ask(2, coordinator.everybody)
    assert refusal(coordinator.ask, 2, coordinator.everybody) == "unexpected-message"


def split_responders(coordinator: MisbehavingCoordinator) -> None:
    """Half of the others are told that the victim survived, half that it dropped."""
    others = all_but(coordinator, VICTIM, *coordinator.colluders)
    for number in others[: len(others) // 2]:
        coordinator.ask(number, coordinator.everybody)
    for number in others[len(others) // 2 :]:
        coordinator.ask(number, all_but(coordinator, VICTIM))


def test_two_survivor_sets_shown_to_two_halves_rebuild_at_most_one_of_the_victims_secrets(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 6, colluders=[6])
    start_round(coordinator, vectors)
    split_responders(coordinator)
    rebuilt = [coordinator.rebuild(VICTIM, secret) for secret in Secret]
    assert None in rebuilt


def test_control_with_a_threshold_that_ignores_colluders_the_two_halves_give_both(tmp_path, monkeypatch):
    monkeypatch.setattr(charter_model, "smallest_threshold", lambda members, colluding: 2)
    _, coordinator, vectors = attack(tmp_path, 6, colluders=[6], threshold=3)
    start_round(coordinator, vectors)
    split_responders(coordinator)
    stripped = coordinator.strip(VICTIM, coordinator.everybody)
    np.testing.assert_array_equal(stripped, plain(coordinator, vectors, VICTIM))


def isolate(coordinator: MisbehavingCoordinator, vectors: dict) -> np.ndarray | None:
    """Name another survivor set to every hospital, so that the victim's few neighbours all seem to have dropped.

    The victim is given the deals of t - 1 neighbours only. Every hospital is told that the victim survived and that the
    neighbours, itself excepted, did not: t hospitals reveal the victim's seed, and t the mask key of each neighbour.
    The victim's own mask key is never asked for: its masks can be had from the other end.
    """
    threshold = coordinator.session.threshold
    hidden = [VICTIM, *coordinator.colluders]
    neighbours = [*hidden, *all_but(coordinator, *hidden)][:threshold]
    exposed = [number for number in neighbours if number not in hidden]
    coordinator.open()
    coordinator.send_roster()
    coordinator.send_deals([VICTIM], dealers=neighbours)
    coordinator.send_deals(all_but(coordinator, VICTIM))
    start_round(coordinator, vectors)
    for number in all_but(coordinator, *coordinator.colluders):
        survivors = sorted(neighbours) if number == VICTIM else all_but(coordinator, *(set(exposed) - {number}))
        coordinator.ask(number, survivors)
    return coordinator.strip(VICTIM, neighbours)


@pytest.mark.xfail(
    strict=True, reason="hospitals do not agree on one survivor set before they reveal", raises=AssertionError
)
@pytest.mark.parametrize(("members", "colluders"), [(7, 0), (6, 1), (10, 1), (21, 0)])
def test_a_survivor_set_of_its_own_for_every_hospital_isolates_nobody(tmp_path, members, colluders):
    colluding = list(range(2, 2 + colluders))
    _, coordinator, vectors = attack(
        tmp_path,
        members,
        colluders=colluding,
        set_up=False,
        max_colluding=colluders,
        threshold=charter_model.smallest_threshold(members, colluders),
    )
    try:
        stripped = isolate(coordinator, vectors)
    except RemoteProtocolError:
        return
    assert stripped is None or not np.array_equal(stripped, plain(coordinator, vectors, VICTIM))


def sum_over(coordinator: MisbehavingCoordinator, vectors: dict, survivors: list[int]) -> np.ndarray:
    """An honest-looking round in which only ``survivors`` are said to have answered."""
    start_round(coordinator, vectors)
    coordinator.shares.clear()
    for number in survivors:
        coordinator.ask(number, survivors)
    return coordinator.unmask_sum(survivors)


@pytest.mark.xfail(strict=True, reason="hospitals do not remember over whom they were summed", raises=AssertionError)
def test_two_cohorts_that_differ_by_one_hospital_on_one_model_are_refused(tmp_path):
    """What is summed is the same in both rounds, as feature statistics are."""
    _, coordinator, vectors = attack(tmp_path, 5)
    with_victim = sum_over(coordinator, vectors, coordinator.everybody)
    try:
        without_victim = sum_over(coordinator, vectors, all_but(coordinator, VICTIM))
    except RemoteProtocolError:
        return
    difference = coordinator.session.ring.to_signed(with_victim - without_victim)
    assert not np.array_equal(difference, plain(coordinator, vectors, VICTIM))


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
    start_round(coordinator, vectors)
    assert refusal(coordinator.ask, 1, survivors) == expected
    assert coordinator.clients[1].state is ClientState.MASKED
    coordinator.ask(1, [1, 2, 3, 4])


@pytest.mark.parametrize("survivors", [[1, 2, 3], [1, 2, 2, 3], [1, 3, 2, 4], [1, 1, 1, 1]])
def test_control_without_the_checks_of_a_survivor_set_each_of_them_is_answered(tmp_path, monkeypatch, survivors):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    unchecked(monkeypatch)
    assert len(coordinator.ask(1, survivors).self_mask_shares) == 32 * len(survivors)


def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weakened build: any survivor set will do."""
    monkeypatch.setattr(Survivors, "check", classmethod(lambda cls, numbers, *rest: cls(tuple(numbers))))
    monkeypatch.setattr(MaskingClient, "_require_enough", lambda *arguments: None)


def test_a_cohort_of_one_hospital_is_refused_and_the_control_gives_its_vector_away(tmp_path, monkeypatch):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    for number in coordinator.everybody:
        assert refusal(coordinator.ask, number, [VICTIM]) == "below-threshold"
    unchecked(monkeypatch)
    for number in coordinator.everybody:
        monkeypatch.setattr(coordinator.clients[number], "number", VICTIM)
        coordinator.ask(number, [VICTIM])
    stripped = coordinator.strip(VICTIM, coordinator.everybody)
    np.testing.assert_array_equal(stripped, plain(coordinator, vectors, VICTIM))


def test_this_sites_own_minimum_cohort_is_enforced_beyond_the_threshold(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    for hospital in consortium.clients.values():
        hospital._policy = open_policy(consortium.charter.charter, minimum_cohort=5)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    start_round(coordinator, consortium.random_vectors(np.random.default_rng(1)))
    assert refusal(coordinator.ask, 1, [1, 2, 3, 4]) == "below-threshold"
    coordinator.ask(1, [1, 2, 3, 4, 5])


def test_shares_of_an_earlier_round_are_refused_once_the_next_has_begun(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    earlier = coordinator.unmask_request(coordinator.everybody)
    start_round(coordinator, vectors)
    assert refusal(coordinator.clients[1].receive, earlier) == "other-round"


# --- Vectors -------------------------------------------------------------------------------------------------


def test_a_round_is_masked_once_even_by_a_client_whose_state_was_lost(tmp_path, monkeypatch):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
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
    start_round(coordinator, vectors)
    again = coordinator.forge(Stage.BEGIN, Begin(1), round_number=1)
    assert refusal(coordinator.clients[1].receive, again) == "stale-round"


@pytest.mark.parametrize("number", [0, 4, 1000])
def test_a_round_outside_the_epoch_is_refused(tmp_path, number):
    _, coordinator, _ = attack(tmp_path, 5)
    message = coordinator.forge(Stage.BEGIN, Begin(1), round_number=number)
    assert refusal(coordinator.clients[1].receive, message) == "round-outside-epoch"


def test_a_vector_that_comes_after_the_survivors_were_named_is_refused_and_not_summed(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    masked = {number: hospital.mask(vectors[number], MODEL_DIGEST) for number, hospital in consortium.clients.items()}
    outbox = consortium.answer([(number, masked[number]) for number in (2, 3, 4, 5)])
    assert refusal(consortium.server.receive, 1, masked[1]) == "unexpected-message"
    consortium.answer(consortium.deliver(outbox))
    assert consortium.server.result.survivors.numbers == (2, 3, 4, 5)


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
    consortium.answer(consortium.deliver(outbox))
    result = consortium.server.result
    assert result.survivors.numbers == (1, 2, 4, 5)
    np.testing.assert_array_equal(
        ring.to_signed(result.vector), sum(ring.to_signed(vectors[number]) for number in (1, 2, 4, 5))
    )


def test_more_models_than_colluders_could_invent_are_refused_by_name(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    zeros = consortium.server.session.ring.zeros(21)
    masked = [(n, hospital.mask(zeros, bytes([n]) * 32)) for n, hospital in consortium.clients.items()]
    for number, message in masked[:2]:
        consortium.server.receive(number, message)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(*masked[2])
    assert (caught.value.reason, caught.value.culprit) == ("other-model", "h3")


def test_masks_of_two_different_models_do_not_cancel(tmp_path, monkeypatch):
    """The control of the rule above: a coordinator that sums them all the same gets noise."""
    consortium = Consortium.make(tmp_path, 5)
    ring = consortium.server.session.ring
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.deliver(consortium.server.begin(1))
    replies = []
    for number, hospital in consortium.clients.items():
        message = hospital.mask(vectors[number], bytes([7]) * 32 if number == 3 else MODEL_DIGEST)
        if number == 3:
            payload = msgspec.msgpack.decode(MisbehavingCoordinator.read(reader(consortium), message).payload)
            sealer = Sealer(consortium.charter, 3, make_identities(5)[2], 1)
            message = sealer.seal(Stage.MASKED, client.Masked(MODEL_DIGEST, memoryview(payload[1])), round=1)
        replies.append((number, message))
    consortium.answer(consortium.deliver(consortium.answer(replies)))
    result = consortium.server.result
    assert result.survivors.numbers == (1, 2, 3, 4, 5)
    expected = sum(ring.to_signed(vector) for vector in vectors.values())
    assert not np.isclose(ring.to_signed(result.vector), expected).any()


def reader(consortium: Consortium) -> MisbehavingCoordinator:
    return MisbehavingCoordinator(consortium.charter, consortium.clients)


# --- Keys and rosters ----------------------------------------------------------------------------------------


def substitute(coordinator: MisbehavingCoordinator, victim: int, signer: Identity | None) -> bytes:
    """An advertisement in the victim's name with keys that the coordinator knows."""
    session = coordinator.session
    secrets = EpochSecrets(session, victim, np.random.default_rng(1).bytes)
    header_of = Sealer(session.charter, victim, signer, session.epoch)
    return header_of.seal(Stage.ADVERTISE, secrets.advertisement())


def with_substitute(coordinator: MisbehavingCoordinator, number: int, message: bytes) -> list[bytes]:
    return [message if member == number else coordinator.advertisements[member] for member in coordinator.everybody]


@pytest.mark.parametrize("signer", [None, Identity.from_seed(bytes(32)), make_identities(5)[1]])
def test_keys_that_their_owner_did_not_sign_are_refused_by_the_peers(tmp_path, signer):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    roster = with_substitute(coordinator, 3, substitute(coordinator, 3, signer))
    assert refusal(coordinator.send_roster, [1], roster) == "bad-signature"
    assert coordinator.clients[1].state is ClientState.ADVERTISED


def test_control_without_signatures_the_substituted_keys_are_dealt_to(tmp_path, monkeypatch):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    monkeypatch.setattr(envelope, "is_valid_signature", lambda *arguments: True)
    coordinator.send_roster([1], with_substitute(coordinator, 3, substitute(coordinator, 3, None)))
    assert (1, 3) in coordinator.deals


def test_a_hospital_sees_that_its_own_keys_were_exchanged_even_if_the_signature_is_its_own(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    signed = substitute(coordinator, 1, make_identities(5)[0])
    assert refusal(coordinator.send_roster, [1], with_substitute(coordinator, 1, signed)) == "own-keys-altered"
    coordinator.send_roster([2], with_substitute(coordinator, 1, signed))


def test_a_roster_without_the_hospital_itself_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    roster = [coordinator.advertisements[number] for number in (2, 3, 4, 5)]
    assert refusal(coordinator.send_roster, [1], roster) == "own-keys-altered"


def test_a_roster_below_the_threshold_or_with_a_member_twice_is_refused(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    few = [coordinator.advertisements[number] for number in (1, 2, 3)]
    assert refusal(coordinator.send_roster, [1], few) == "below-threshold"
    assert refusal(coordinator.send_roster, [1], [*few, few[0]]) == "unexpected-message"


def test_different_rosters_for_two_members_are_found_out_when_shares_are_exchanged(tmp_path):
    """A member that conspires signs two sets of keys; the coordinator shows one to each half."""
    _, coordinator, _ = attack(tmp_path, 6, set_up=False)
    coordinator.open()
    other = with_substitute(coordinator, 6, substitute(coordinator, 6, make_identities(6)[5]))
    coordinator.send_roster([1, 2, 6])
    coordinator.send_roster([3, 4, 5], other)
    for number in (1, 3):
        assert refusal(coordinator.send_deals, [number]) == "other-roster"
        assert coordinator.clients[number].state is ClientState.DEALT


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
    assert give(deals[2, 1], deals[3, 1]) == "below-threshold"


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


def dishonest_dealer(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Member ``number`` deals shares of other secrets than those it committed to; everything else is in order."""
    original = client.share_out

    def share_out(secrets, session, members, randomness):
        if secrets._owner == number:
            other = EpochSecrets(session, number, randomness)
            return original(other, session, members, randomness)
        return original(secrets, session, members, randomness)

    monkeypatch.setattr(client, "share_out", share_out)


@pytest.mark.parametrize("silent", [set(), {2}])
def test_shares_that_do_not_give_what_was_committed_to_end_the_round_and_name_the_dealer(tmp_path, monkeypatch, silent):
    dishonest_dealer(monkeypatch, 2)
    consortium = Consortium.make(tmp_path, 5)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.run_round(vectors, mask_silent=silent)
    assert consortium.server.result is None
    assert (consortium.server.fault.reason, consortium.server.fault.culprit) == ("wrong-dealing", "h2")


def test_control_without_commitments_the_sum_would_be_wrong_and_nobody_named(tmp_path, monkeypatch):
    dishonest_dealer(monkeypatch, 2)
    consortium = Consortium.make(tmp_path, 5)
    ring = consortium.server.session.ring
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    monkeypatch.setattr(kdf, "self_mask_commitment", lambda *arguments: ANY)
    consortium.run_round(vectors)
    assert consortium.server.fault is None
    expected = sum(ring.to_signed(vector) for vector in vectors.values())
    assert not np.isclose(ring.to_signed(consortium.server.result.vector), expected).any()


class _EqualToAll:
    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


ANY = _EqualToAll()


def to_unmasking(folder: Path) -> tuple[Consortium, list[tuple[int, bytes]], dict]:
    """A round with one drop-out, up to the hospitals' answers, which are not handed over yet."""
    consortium = Consortium.make(folder, 5)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    masked = [(n, c.mask(vectors[n], MODEL_DIGEST)) for n, c in consortium.clients.items() if n != 5]
    replies = consortium.deliver(consortium.answer(masked))
    return consortium, replies, vectors


@pytest.mark.parametrize("field", ["self_mask_shares", "mask_key_shares"])
def test_a_share_that_is_not_the_one_dealt_is_refused_and_its_holder_named(tmp_path, field):
    consortium, replies, _ = to_unmasking(tmp_path)
    _, message = replies[1]
    reveal = msgspec.msgpack.decode(reader(consortium).read(message).payload, type=client.Reveal)
    wrong = bytearray(getattr(reveal, field))
    wrong[0] ^= 1
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    forged = sealer.seal(Stage.REVEAL, msgspec.structs.replace(reveal, **{field: bytes(wrong)}), round=1)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(2, forged)
    assert (caught.value.reason, caught.value.culprit) == ("wrong-share", "h2")
    consortium.answer(replies)
    assert consortium.server.result is not None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"survivors_digest": bytes(32)}, "survivors-changed"),
        ({"self_mask_shares": b""}, "wrong-length"),
        ({"mask_key_shares": bytes(64)}, "wrong-length"),
    ],
)
def test_an_answer_to_another_question_is_refused(tmp_path, changes, expected):
    consortium, replies, _ = to_unmasking(tmp_path)
    reveal = msgspec.msgpack.decode(reader(consortium).read(replies[1][1]).payload, type=client.Reveal)
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    forged = sealer.seal(Stage.REVEAL, msgspec.structs.replace(reveal, **changes), round=1)
    assert refusal(consortium.server.receive, 2, forged) == expected


def test_two_different_messages_of_one_member_are_equivocation_and_the_first_counts(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    zeros = consortium.server.session.ring.zeros(21)
    message = consortium.clients[2].mask(zeros, MODEL_DIGEST)
    consortium.server.receive(2, message)
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    other = sealer.seal(Stage.MASKED, client.Masked(MODEL_DIGEST, memoryview(bytes(63))), round=1)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(2, other)
    assert (caught.value.reason, caught.value.culprit) == ("equivocation", "h2")
    assert consortium.server.missing == {1, 3, 4, 5}


def test_a_members_message_that_comes_from_another_is_refused(tmp_path):
    consortium, replies, _ = to_unmasking(tmp_path)
    assert refusal(consortium.server.receive, 3, replies[0][1]) == "wrong-sender"
    sealer = Sealer(consortium.charter, 1, make_identities(5)[2], 1)
    forged = sealer.seal(Stage.REVEAL, client.Reveal(bytes(32), b"", b""), round=1)
    assert refusal(consortium.server.receive, 1, forged) == "bad-signature"


# --- Sums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("survivors", "step", "expected"),
    [
        ([1, 2, 3], 1, "below-threshold"),
        ([1, 2, 3, 4], 1, "survivors-changed"),
        ([1, 2, 3, 4, 5], 2, "step-changed"),
        ([1, 2, 3, 4, 9], 1, "unknown-survivor"),
        ([1, 2, 3, 4, 4], 1, "malformed-survivors"),
    ],
)
def test_a_sum_over_others_than_were_unmasked_is_refused(tmp_path, survivors, step, expected):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    coordinator.ask(1, coordinator.everybody)
    assert refusal(coordinator.clients[1].receive, coordinator.sum_message(survivors, bytes(63), step)) == expected
    assert coordinator.clients[1].take_sum() is None
    coordinator.clients[1].receive(coordinator.sum_message(coordinator.everybody, bytes(63)))
    assert coordinator.clients[1].take_sum() is not None


def test_a_sum_of_another_length_or_round_is_refused(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    assert refusal(coordinator.clients[1].receive, coordinator.sum_message([1, 2, 3, 4], bytes(62))) == "wrong-length"
    coordinator.round = 2
    assert refusal(coordinator.clients[1].receive, coordinator.sum_message([1, 2, 3, 4], bytes(63))) == "other-round"
    assert refusal(coordinator.clients[1].receive, coordinator.abort_message()) == "other-round"


# --- Epochs, restarts, charters ------------------------------------------------------------------------------


def test_an_epoch_that_was_entered_cannot_be_entered_again(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5)
    assert refusal(coordinator.open) == "stale-epoch"


def restarted(consortium: Consortium, number: int, folder: Path) -> MaskingClient:
    """The hospital after a restart: nothing in memory, the same latch."""
    old = consortium.clients[number]
    old._latch.close()
    latch = Latch(folder / f"latch{number}.sqlite")
    return MaskingClient(consortium.charter, old._identity, latch, old._policy)


def test_a_restarted_hospital_refuses_the_epoch_it_was_in_and_takes_part_in_the_next(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    consortium.clients[1] = restarted(consortium, 1, tmp_path)
    for epoch, first_round, expected in ((1, 2, "stale-epoch"), (2, 1, "stale-round")):
        replayed = MisbehavingCoordinator(
            consortium.charter, consortium.clients, epoch=epoch, first_round=first_round, rounds=2
        )
        assert refusal(replayed.open, [1]) == expected
    later = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=2, first_round=2)
    later.set_up()
    start_round(later, vectors)
    assert consortium.clients[1].state is ClientState.MASKED


def test_a_round_that_began_but_was_never_masked_may_be_had_in_the_next_epoch(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    coordinator.begin()
    later = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=2, first_round=1)
    later.set_up()
    start_round(later, vectors)
    again = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=3, first_round=1)
    assert refusal(again.open, [1]) == "stale-round"


def test_a_restarted_hospital_has_no_shares_to_reveal(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    consortium.clients[1] = restarted(consortium, 1, tmp_path)
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


def test_a_message_of_another_charter_is_refused_by_both_sides(tmp_path):
    consortium, _, _ = attack(tmp_path, 5)
    identities = make_identities(5)
    other = sign_by_all(make_charter(identities, name="other"), identities)
    stranger = MisbehavingCoordinator(other, consortium.clients)
    assert refusal(stranger.begin, [1]) == "other-charter"
    message = Sealer(other, 2, identities[1], 1).seal(Stage.ADVERTISE, Advertise(bytes(32), b"", b""))
    consortium.server.open()
    assert refusal(consortium.server.receive, 2, message) == "other-charter"


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
    assert secrets.mask_keys[0] is None
    assert secrets.self_mask_seeds[0] is None
    assert None not in (secrets.mask_keys[1], secrets.self_mask_seeds[1])


def test_no_secret_is_in_a_repr(tmp_path):
    _, coordinator, _ = attack(tmp_path, 5)
    epoch = coordinator.clients[1]._epoch
    shown = f"{coordinator.clients[1]!r} {epoch!r} {epoch.secrets!r} {epoch.held!r}"
    for secret in (epoch.secrets.share_key, *epoch.secrets.mask_keys, *epoch.secrets.self_mask_seeds):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_a_mask_key_is_a_field_element_so_that_its_shares_give_it_back_exactly():
    secret = random_secret(lambda size: b"\xff" * size)
    assert len(secret) == 32
    assert kdf.public_key(secret)
