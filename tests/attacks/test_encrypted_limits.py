"""What encryption does not prevent, shown on the real build; and that the attacks' own tools do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.encoding import unpack
from secagg.errors import RemoteProtocolError
from secagg.homomorphic.parameters import noise_bound
from secagg.homomorphic.spec import SEED_SIZE
from secagg.homomorphic.vectors import decrypt_vector
from secagg.homomorphic.words import pack_words, unpack_words
from secagg.masking.messages import Begin, Masked, Sum
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError
from secagg.wire import Sealer, Stage, open_envelope
from secagg.wire.envelope import decode
from tests.attacks.weakened.group_secret import without_masks
from training.attacks.encrypted import COLLUDER, ENCRYPTED, VICTIM, WITHOUT_MASKS, EncryptedCoordinator, encrypted_round
from training.attacks.group_secret import opened_vectors
from training.attacks.model import Succeeded
from training.attacks.ward import Party, Ward
from training.messages import AskSnapshot, Endorsed, Query
from training.testbed.build import Build
from training.testbed.consortium import Consortium

LIAR = 2
CURIOUS = 2
encrypted = pytest.mark.parametrize("scheme", ENCRYPTED)
unmasked = pytest.mark.parametrize("scheme", WITHOUT_MASKS)


@pytest.fixture
def stage(tmp_path, scheme):
    with Consortium.make(tmp_path, 5, scheme=scheme) as made:
        yield made


@encrypted
def test_a_sum_that_the_attackers_tools_add_up_honestly_is_taken_by_all(stage):
    coordinator, vectors = encrypted_round(stage)
    survivors = coordinator.all_but(VICTIM)
    coordinator.unmask(survivors)
    coordinator.give_sum([VICTIM], message := coordinator.encrypted_sum(survivors))
    for number in survivors:
        stage.clients[number].receive(message)
        total = stage.clients[number].take_sum().total.vector
        np.testing.assert_array_equal(coordinator.session.ring.to_signed(total), stage.integers(vectors, *survivors))


# --- With a hospital that colludes -------------------------------------------------------------------------------


@unmasked
def test_limit_with_one_hospitals_secret_the_coordinator_reads_every_vector_of_bfv_and_ckks(stage):
    coordinator, vectors = encrypted_round(stage, COLLUDER)
    for number in coordinator.everybody:
        np.testing.assert_array_equal(coordinator.without(number, []), stage.integers(vectors, number))


@pytest.mark.parametrize("scheme", ["double-lock"])
def test_with_one_hospitals_secret_the_coordinator_has_the_sum_of_double_lock_and_no_number_of_any_vector(stage):
    coordinator, vectors = encrypted_round(stage, COLLUDER)
    survivors = coordinator.all_but(VICTIM)
    for number in coordinator.everybody:
        assert not np.equal(coordinator.without(number, []), stage.integers(vectors, number)).any()
    coordinator.unmask(survivors)
    coordinator.ask(COLLUDER, survivors)
    stage.clients[COLLUDER].receive(coordinator.encrypted_sum(survivors))
    total = stage.clients[COLLUDER].take_sum().total
    assert total.survivors.numbers == tuple(survivors)
    np.testing.assert_array_equal(coordinator.session.ring.to_signed(total.vector), stage.integers(vectors, *survivors))


def test_control_double_lock_without_its_masks_is_as_open_as_bfv(tmp_path):
    with without_masks():
        assert isinstance(opened_vectors(Build(), tmp_path), Succeeded)


# --- What a hospital can do ----------------------------------------------------------------------------------------


def with_changed_vector(stage: Consortium, coordinator: EncryptedCoordinator, shift: int) -> None:
    """The liar's ciphertext with something added to the first coefficient of its first polynomial: noise, that is."""
    spec, masked = coordinator.session.form.spec, coordinator.masked_payload(LIAR)
    vector = memoryview(bytearray(masked.vector))
    words = unpack_words(vector[SEED_SIZE : spec.fresh_block_size], spec.block)
    words[0] = (int(words[0]) + shift) % spec.parameters.modulus
    pack_words(words, vector[SEED_SIZE : spec.fresh_block_size])
    sealer = Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], 1)
    changed = Masked(masked.model_digest, vector, masked.tags)
    coordinator.masked[LIAR] = sealer.seal(Stage.MASKED, changed, round=coordinator.round)


@encrypted
def test_limit_a_hospital_that_adds_too_much_noise_stops_all_and_the_coordinator_is_blamed(stage):
    coordinator, _ = encrypted_round(stage)
    with_changed_vector(stage, coordinator, coordinator.session.form.spec.parameters.modulus // 2)
    coordinator.unmask(coordinator.everybody)
    message = coordinator.encrypted_sum(coordinator.everybody)
    for client in stage.clients.values():
        with pytest.raises(ForgedSumError) as caught:
            client.receive(message)
        assert caught.value.culprit == "the coordinator"
        assert "a hospital has sent a wrong tag" in caught.value.remedy
        assert client.state is ClientState.STOPPED


@pytest.mark.parametrize("scheme", ["mask", *ENCRYPTED])
def test_limit_a_hospital_that_makes_the_sum_wrap_stops_all(tmp_path, scheme):
    """Within the ring a false number is taken for a true one; beyond it, the sum is not that of its tags any more."""
    with Consortium.make(tmp_path, 5, scheme=scheme) as stage:
        ring = stage.server.session.ring
        vectors = {number: ring.from_signed(np.full(21, 1000)) for number in stage.clients}
        vectors[LIAR] = ring.from_signed(np.full(21, ring.largest - 4000))
        stage.set_up()
        stage.run_round(vectors)
        for client in stage.clients.values():
            total = ring.to_signed(client.take_sum().total.vector)
            np.testing.assert_array_equal(total, ring.largest)
        vectors[LIAR][3] += ring.dtype.type(1)
        with pytest.raises(ForgedSumError):
            stage.run_round(vectors, step=2)


# --- What a coordinator can do -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["bfv"])
def test_limit_whether_a_hospital_stops_tells_the_coordinator_one_bit_about_the_noise(stage):
    """It adds noise to the true sum. One hospital takes it: together it was not too much. The next one stops."""
    coordinator, vectors = encrypted_round(stage)
    form = coordinator.session.form
    room = form.spec.parameters.modulus >> (form.spec.bits + 1)
    least = noise_bound(len(stage.clients), form.value_count)
    stage.clients[1].receive(sum_with_noise(coordinator, room - 2 * least))
    total = coordinator.session.ring.to_signed(stage.clients[1].take_sum().total.vector)
    np.testing.assert_array_equal(total, stage.integers(vectors, *coordinator.everybody))
    with pytest.raises(ForgedSumError):
        stage.clients[2].receive(sum_with_noise(coordinator, room + 2 * least))


def sum_with_noise(coordinator: EncryptedCoordinator, added: int) -> bytes:
    """The true sum of all, with something added to the first coefficient of its first polynomial."""
    spec = coordinator.session.form.spec
    vector = memoryview(bytearray(coordinator.added(coordinator.everybody)))
    half = len(vector) // 2
    words = unpack_words(vector[:half], spec.block)
    words[0] = (int(words[0]) + added) % spec.parameters.modulus
    pack_words(words, vector[:half])
    return coordinator.encrypted_sum(coordinator.everybody, bytes(vector))


@encrypted
def test_limit_when_too_few_are_left_for_another_round_those_who_have_not_opened_this_one_still_do(stage):
    """Everybody signed for the round before anybody opened: that t of them must live keeps nobody from answering."""
    coordinator, _ = encrypted_round(stage)
    everybody, threshold = coordinator.everybody, coordinator.session.threshold
    coordinator.unmask(everybody)
    false = sum_with_noise(coordinator, coordinator.session.form.spec.parameters.modulus // 2)
    stopped = everybody[: len(everybody) - threshold + 1]
    for number in stopped:
        with pytest.raises(ForgedSumError):
            stage.clients[number].receive(false)
    one_who_says_yes, *others = everybody[len(stopped) :]
    assert 1 + len(others) < threshold
    stage.clients[one_who_says_yes].receive(coordinator.encrypted_sum(everybody))
    assert stage.clients[one_who_says_yes].take_sum().total.survivors.numbers == tuple(everybody)
    for number in others:
        with pytest.raises(ForgedSumError):
            stage.clients[number].receive(false)


@unmasked
def test_a_false_step_opens_no_second_sum_at_a_hospital_that_missed_the_beginning(tmp_path, scheme):
    """It must believe what step it is; which state was summed from, the tag vouches for."""
    with Ward.open(tmp_path, standardise="none", scheme=scheme) as ward:
        coordinator = EncryptedCoordinator(ward.charter, dict(ward.parties))
        coordinator.set_up()
        coordinator.start_round(ward.nothing_to_mask())
        everybody, others, curious = coordinator.everybody, coordinator.all_but(VICTIM), ward.parties[VICTIM]
        model = coordinator.masked_payload(VICTIM).model_digest
        curious.receive(coordinator.encrypted_sum(everybody, model=model))
        before = curious.hospital.state
        assert before.sums == 1
        coordinator.round += 1
        again = coordinator.forge(Stage.BEGIN, Begin(step=1), round_number=coordinator.round)
        for number in others:
            ward.parties[number].receive(again)
            coordinator.masked[number] = ward.parties[number].mask(None, model)
        for step in (1, 2):
            with pytest.raises(RemoteProtocolError) as caught:
                curious.receive(coordinator.encrypted_sum(others, model=model, step=step))
            assert caught.value.reason == "differencing"
        assert curious.hospital.state is before


@unmasked
def test_limit_what_a_hospital_does_not_open_it_can_be_handed_by_others_and_so_has_two_sums_of_one_step(
    tmp_path, scheme
):
    """A coordinator that lies, with honest hospitals only: it gives one of them a sum over all, has the others lead it
    back by that, and gives those a sum over all but the victim. It would not open that one, and takes it from them.
    """
    with Ward.open(tmp_path, standardise="none", scheme=scheme) as ward:
        coordinator = EncryptedCoordinator(ward.charter, dict(ward.parties))
        coordinator.set_up()
        coordinator.start_round(ward.nothing_to_mask())
        everybody, others, curious = coordinator.everybody, coordinator.all_but(VICTIM), ward.parties[CURIOUS]
        truth = vector_of(coordinator, VICTIM, curious)
        model = coordinator.masked_payload(VICTIM).model_digest
        curious.receive(coordinator.encrypted_sum(everybody, model=model))
        with_victim = last_sum(ward, coordinator)
        hand_over_to_the_curious(ward)
        assert curious.hospital.state.sums == 0
        without_victim = coordinator.encrypted_sum(others, model=model)
        for number in (3, 4, 5):
            ward.parties[number].receive(without_victim)
        with pytest.raises(RemoteProtocolError):
            curious.receive(without_victim)
        hand_over_to_the_curious(ward)
        np.testing.assert_array_equal(with_victim - last_sum(ward, coordinator), truth)
        assert not any(party.hospital.stopped for party in ward.parties.values())


def vector_of(coordinator: EncryptedCoordinator, number: int, party: Party) -> np.ndarray:
    """What a hospital has encrypted, opened with another's secret."""
    session, cipher = coordinator.session, party.hospital._client._current().group._cipher
    packed = decrypt_vector(memoryview(coordinator.added([number])), session.form, cipher)
    return session.ring.to_signed(session.form.codec.unpack(packed, session.length))


def last_sum(ward: Ward, coordinator: EncryptedCoordinator) -> np.ndarray:
    """The sum that the curious hospital has in its state file."""
    message, session = ward.parties[CURIOUS].hospital.state.last_sum, coordinator.session
    payload = decode(open_envelope(message, ward.charter, len(message)).payload, Sum)
    return session.ring.to_signed(unpack(payload.vector, session.length, session.ring))


def hand_over_to_the_curious(ward: Ward) -> None:
    """Have it take what the third hospital has, on the word of three."""
    told = {number: party.receive(ward.forge(Stage.QUERY, Query()))[0] for number, party in ward.parties.items()}
    ask = ward.forge(Stage.ASK_SNAPSHOT, AskSnapshot(memoryview(told[CURIOUS])))
    (snapshot,) = ward.parties[3].receive(ask)
    ward.parties[CURIOUS].receive(snapshot)
    word = Endorsed([memoryview(told[number]) for number in (3, 4, 5)])
    ward.parties[CURIOUS].receive(ward.forge(Stage.ENDORSED, word))
