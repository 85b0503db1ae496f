"""A coordinator that changes the sum is caught by every hospital before anything is done with it; with controls."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from secagg.encoding import pack
from secagg.errors import RemoteProtocolError
from secagg.masking import client as masking_client
from secagg.masking import kdf, tags, verification
from secagg.masking.dealing import HeldShares
from secagg.masking.messages import Begin
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError, VerifiedSum
from secagg.wire import Stage
from tests.support.consortium import MODEL_DIGEST, Consortium
from tests.support.misbehaving import MisbehavingCoordinator

MEMBERS = 5
ALL = (1, 2, 3, 4, 5)


@pytest.fixture
def revealed(tmp_path):
    """A round in which all have revealed: the coordinator has the sum and its tag, and has not given them out."""
    return reveal_all(tmp_path)


def reveal_all(folder) -> MisbehavingCoordinator:
    consortium = Consortium.make(folder, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    begin_and_reveal(coordinator)
    return coordinator


def begin_and_reveal(coordinator: MisbehavingCoordinator, step: int = 1) -> None:
    coordinator.begin(step=step)
    coordinator.collect({number: vector_of(coordinator, number) for number in ALL})
    coordinator.unmask(ALL)


def vector_of(coordinator: MisbehavingCoordinator, number: int):
    session = coordinator.session
    largest = session.ring.largest // MEMBERS
    generator = np.random.default_rng((coordinator.round, number))
    return session.ring.from_signed(generator.integers(-largest, largest, session.length))


def caught(coordinator: MisbehavingCoordinator, message: bytes) -> bool:
    """Whether every hospital refuses it, takes no sum, and stops."""
    for hospital in coordinator.clients.values():
        with pytest.raises(ForgedSumError) as raised:
            hospital.receive(message)
        assert (raised.value.reason, raised.value.exit_code) == ("forged-sum", 4)
        assert hospital.take_sum() is None
        assert hospital.state is ClientState.STOPPED
    return True


def sum_with(coordinator: MisbehavingCoordinator, change, survivors=ALL, tag_change=lambda tag: tag) -> bytes:
    vector, tag = coordinator.unmask_sum(survivors)
    changed = change(vector)
    modulus = 1 << 8 * coordinator.session.tag_size
    packed = pack(changed, coordinator.session.ring)
    return coordinator.sum_message(survivors, packed, tag=tag_change(tag) % modulus)


def one_more(place: int):
    def change(vector):
        vector[place] += 1
        return vector

    return change


def accepted(coordinator: MisbehavingCoordinator, message: bytes) -> bool:
    for hospital in coordinator.clients.values():
        hospital.receive(message)
    return all(hospital.take_sum() is not None for hospital in coordinator.clients.values())


def test_control_the_true_sum_is_taken_by_every_hospital(revealed):
    assert accepted(revealed, revealed.honest_sum(ALL))


@pytest.mark.parametrize("place", [0, 7, -1])
def test_one_coordinate_changed_by_one_is_caught_by_every_hospital(revealed, place):
    assert caught(revealed, sum_with(revealed, one_more(place)))


def test_control_without_the_check_the_changed_sum_is_taken(revealed, monkeypatch):
    unchecked = VerifiedSum.__new__(VerifiedSum)
    monkeypatch.setattr(masking_client, "verify_sum", lambda *arguments: unchecked)
    assert accepted(revealed, sum_with(revealed, one_more(0)))


def test_an_omitted_hospital_is_caught(revealed):
    """Even if the coordinator knows its vector and can take it out."""
    assert caught(revealed, sum_with(revealed, lambda vector: vector - vector_of(revealed, 5)))


def test_a_hospital_that_counts_twice_is_caught(revealed):
    assert caught(revealed, sum_with(revealed, lambda vector: vector + vector_of(revealed, 5)))


def test_a_sum_of_zeros_with_any_tag_is_caught(revealed):
    assert caught(revealed, revealed.zero_sum(ALL))


def doubled(coordinator: MisbehavingCoordinator) -> bytes:
    return sum_with(coordinator, lambda vector: vector * vector.dtype.type(2), tag_change=lambda tag: 2 * tag)


@pytest.fixture
def small(tmp_path):
    """A round whose sum may be doubled without a wrap."""
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    coordinator.begin()
    ring = coordinator.session.ring
    values = np.arange(coordinator.session.length)
    coordinator.collect({number: ring.from_signed(values - number) for number in ALL})
    return coordinator


def test_twice_the_sum_with_twice_the_tag_is_caught(small):
    small.unmask(ALL)
    assert caught(small, doubled(small))


def test_control_without_offsets_twice_the_sum_has_twice_the_tag(tmp_path, monkeypatch):
    """A linear code alone: what the offsets r_i are there for."""
    original = tags.tag

    def without_offsets(vector, ring, key, members, contributors):
        return original(vector, ring, key, members, [])

    monkeypatch.setattr(verification, "tag", without_offsets)
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    coordinator.begin()
    ring = coordinator.session.ring
    values = np.arange(coordinator.session.length)
    coordinator.collect({number: ring.from_signed(values - number) for number in ALL})
    coordinator.unmask(ALL)
    assert accepted(coordinator, doubled(coordinator))


def test_the_sum_of_an_earlier_round_is_caught_in_the_next(revealed):
    vector, tag = revealed.unmask_sum(ALL)
    assert accepted(revealed, revealed.honest_sum(ALL))
    begin_and_reveal(revealed, step=2)
    packed = pack(vector, revealed.session.ring)
    assert caught(revealed, revealed.sum_message(ALL, packed, step=2, tag=tag))


def test_a_sum_said_to_start_from_another_model_is_caught(revealed):
    honest = revealed.read(revealed.honest_sum(ALL))
    payload = msgspec.msgpack.decode(honest.payload, type=masking_client.Sum)
    other = msgspec.structs.replace(payload, model_digest=bytes([7]) * 32)
    assert caught(revealed, revealed.forge(Stage.SUM, other, round_number=revealed.round))


def test_a_hospital_that_missed_the_round_checks_its_sum_too(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    coordinator.round = 1
    late = coordinator.clients[5]
    with pytest.raises(ForgedSumError):
        late.receive(coordinator.zero_sum((1, 2, 3, 4)))
    assert late.state is ClientState.STOPPED


def test_one_try_is_all_that_a_forger_has(revealed):
    """After a forged sum nothing is taken: not the true one, no new epoch, no round."""
    true = revealed.honest_sum(ALL)
    assert caught(revealed, revealed.zero_sum(ALL))
    for message in (true, revealed.forge(Stage.BEGIN, Begin(2), round_number=2)):
        with pytest.raises(RemoteProtocolError) as refused:
            revealed.clients[1].receive(message)
        assert refused.value.reason == "unexpected-message"
    later = MisbehavingCoordinator(revealed.session.charter, revealed.clients, epoch=2, first_round=5)
    with pytest.raises(RemoteProtocolError):
        later.open()


# --- The key --------------------------------------------------------------------------------------------------


def test_all_hospitals_of_an_epoch_have_one_tag_key_and_those_of_another_epoch_another(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    keys = []
    for epoch in (1, 2):
        coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=epoch, first_round=epoch)
        coordinator.set_up()
        (key,) = {client.tag_key for client in consortium.clients.values()}
        keys.append(key)
    assert keys[0] != keys[1]


def test_the_coordinator_never_sees_the_tag_key_or_a_part_of_it(revealed):
    """Neither does whoever reads along: no message of the epoch holds any of these bytes."""
    secrets = [revealed.clients[1].tag_key]
    secrets += [client._epoch.secrets.tag_contribution for client in revealed.clients.values()]
    messages = [*revealed.advertisements.values(), *revealed.deals.values(), *revealed.masked.values()]
    assert len(messages) > 30 // 2
    assert not any(secret in bytes(message) for secret in secrets for message in messages)


def test_the_tag_that_is_sent_is_masked(revealed):
    """The same vector in two rounds: the tags that leave have nothing to do with those that the key gives."""
    session = revealed.session
    payload = msgspec.msgpack.decode(revealed.read(revealed.masked[1]).payload, type=masking_client.Masked)
    key = kdf.round_tag_key(revealed.clients[1].tag_key, session, revealed.round, MODEL_DIGEST)
    vector = session.ring.zeros(session.length)
    plain = tags.tag(vector, session.ring, key, MEMBERS, [1]).to_bytes(session.tag_size, "little")
    assert payload.tag != plain
    assert len(payload.tag) == session.tag_size


def lying_contributor(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Member ``number`` gives each peer another part of the tag key than it committed to."""
    original = masking_client.share_out

    def share_out(secrets, session, members, randomness):
        shares = original(secrets, session, members, randomness)
        if secrets._owner != number:
            return shares
        return {
            member: held if member == number else HeldShares(held.self_mask, held.mask_key, bytes([member]) * 32)
            for member, held in shares.items()
        }

    monkeypatch.setattr(masking_client, "share_out", share_out)


def test_a_part_of_the_tag_key_that_was_not_committed_to_is_refused_and_its_dealer_named(tmp_path, monkeypatch):
    lying_contributor(monkeypatch, 2)
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    with pytest.raises(RemoteProtocolError) as refused:
        coordinator.set_up()
    assert (refused.value.reason, refused.value.culprit) == ("bad-tag-contribution", "h2")


def test_control_without_the_commitment_hospitals_have_different_keys_and_blame_the_coordinator(tmp_path, monkeypatch):
    lying_contributor(monkeypatch, 2)
    monkeypatch.setattr(kdf, "tag_contribution_commitment", lambda *arguments: bytes(32))
    coordinator = reveal_all(tmp_path)
    assert len({client.tag_key for client in coordinator.clients.values()}) > 1
    with pytest.raises(ForgedSumError):
        coordinator.clients[1].receive(coordinator.honest_sum(ALL))
