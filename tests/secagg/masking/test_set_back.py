"""A hospital whose folder was restored from a backup, copied or removed is told by the others, and takes no part."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from secagg.errors import RemoteProtocolError
from secagg.latch import Latch, Sighting
from secagg.masking import MaskingClient, Purpose
from secagg.masking.messages import Open
from secagg.masking.states import ClientState
from secagg.wire import COORDINATOR, Sealer, Stage
from tests.support.consortium import Consortium, make_identities, open_policy
from tests.support.errors import error_of
from tests.support.misbehaving import MisbehavingCoordinator

MEMBERS, COLLUDER, RESTORED = 4, 1, 2


def set_back(consortium: Consortium, number: int, backup: bytes) -> None:
    """End a hospital's process, put a backup of its latch back, and start it again."""
    consortium.stop(number)
    consortium.restore(number, backup)
    consortium.start(number)


def start(folder: Path) -> Consortium:
    return Consortium.make(folder, MEMBERS)


def epoch(
    consortium: Consortium, number: int, first_round: int, *, participants=(1, 2, 3, 4)
) -> MisbehavingCoordinator:
    clients = {member: consortium.clients[member] for member in participants}
    coordinator = MisbehavingCoordinator(
        consortium.charter, clients, epoch=number, first_round=first_round, colluders=(COLLUDER,)
    )
    coordinator.set_up()
    return coordinator


def run_round(coordinator: MisbehavingCoordinator, vectors: dict, told: tuple[int, ...]) -> None:
    """One round of all, after which ``told`` are given the sum."""
    coordinator.begin()
    coordinator.collect({number: vectors[number] for number in coordinator.everybody})
    for number in coordinator.everybody:
        coordinator.ask(number, coordinator.everybody)
    message = coordinator.honest_sum(coordinator.everybody)
    for number in told:
        coordinator.clients[number].receive(message)


@pytest.mark.parametrize("before", ["anything", "the second epoch"])
def test_a_restored_hospital_refuses_the_next_epoch_and_says_who_remembers_more(tmp_path, before):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    backup = consortium.back_up(RESTORED)
    run_round(epoch(consortium, 1, 1), vectors, (1, 2, 3, 4))
    if before == "the second epoch":
        backup = consortium.back_up(RESTORED)
    run_round(epoch(consortium, 2, 4), vectors, (1, 2, 3, 4))
    set_back(consortium, RESTORED, backup)
    error = error_of(epoch, consortium, 3, 7)
    assert (error.reason, error.culprit) == ("state-restored", "h1")
    assert "epoch 2 and round 4" in error.message
    assert error.remedy
    assert consortium.clients[RESTORED].state is ClientState.DEALT


def test_a_hospital_set_back_within_an_epoch_is_told_of_the_round_that_its_latch_does_not_know(tmp_path):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    coordinator = epoch(consortium, 1, 1)
    backup = consortium.back_up(RESTORED)
    run_round(coordinator, vectors, (1, 2, 3, 4))
    set_back(consortium, RESTORED, backup)
    error = error_of(epoch, consortium, 2, 4)
    assert error.reason == "state-restored"
    assert "epoch 1 and round 1" in error.message


def test_a_hospital_whose_latch_was_removed_refuses(tmp_path):
    consortium = start(tmp_path)
    run_round(epoch(consortium, 1, 1), consortium.random_vectors(np.random.default_rng(8)), (1, 2, 3, 4))
    consortium.stop(RESTORED)
    consortium.latch_file(RESTORED).unlink()
    consortium.start(RESTORED)
    assert error_of(epoch, consortium, 2, 4).reason == "state-restored"


def test_of_two_copies_of_a_folder_the_one_that_took_no_part_refuses(tmp_path):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    run_round(epoch(consortium, 1, 1), vectors, (1, 2, 3, 4))
    copy = tmp_path / "copy"
    copy.write_bytes(consortium.back_up(RESTORED))
    run_round(epoch(consortium, 2, 4), vectors, (1, 2, 3, 4))
    identity, charter = make_identities(MEMBERS)[RESTORED - 1], consortium.charter
    consortium.clients[RESTORED] = MaskingClient(charter, identity, Latch(copy), open_policy(charter.charter))
    assert error_of(epoch, consortium, 3, 7).reason == "state-restored"


def test_limit_one_that_says_it_saw_everybody_far_ahead_keeps_all_others_out(tmp_path):
    consortium = start(tmp_path)
    far = Sighting(2**32 - 1, 2**32 - 1)
    consortium.clients[1]._latch.record_seen(consortium.charter.digest, dict.fromkeys((2, 3, 4), far))
    outbox = consortium.answer(consortium.deliver(consortium.server.open()))
    for number, deals in consortium.answer(consortium.deliver(outbox)):
        if number != 1:
            error = error_of(consortium.clients[number].receive, deals)
            assert (error.reason, error.culprit) == ("state-restored", "h1")


def test_a_hospital_that_was_only_killed_goes_on(tmp_path):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    run_round(epoch(consortium, 1, 1), vectors, (1, 2, 3, 4))
    for number in consortium.clients:
        consortium.stop(number)
        consortium.start(number)
    run_round(epoch(consortium, 2, 4), vectors, (1, 2, 3, 4))
    assert all(client.take_sum() for client in consortium.clients.values())


def test_a_roster_that_had_to_be_shown_twice_accuses_nobody(tmp_path):
    """What a hospital says of others is what it knew before the epoch, also if it has begun to deal in it before."""
    consortium = start(tmp_path)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.open()
    weak = msgspec.structs.replace(coordinator.advertised(4), share_key=bytes(32))
    signed = Sealer(consortium.charter, 4, make_identities(MEMBERS)[3], 1).seal(Stage.ADVERTISE, weak)
    with pytest.raises(RemoteProtocolError, match="gives no secret"):
        coordinator.send_roster([1], coordinator.with_exchanged(4, signed))
    coordinator.send_roster()
    coordinator.send_deals()
    assert all(client.state is ClientState.READY for client in consortium.clients.values())


def test_limit_who_saw_nothing_of_the_restored_hospital_cannot_tell_it(tmp_path):
    """One set-back hospital, c colluders, and the others shown nothing since the backup: then it counts as one of c."""
    consortium = start(tmp_path)
    coordinator = epoch(consortium, 1, 1)
    backup = consortium.back_up(RESTORED)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    coordinator.begin()
    coordinator.collect(vectors)
    coordinator.ask(RESTORED, [1, 2, 3, 4])
    set_back(consortium, RESTORED, backup)
    epoch(consortium, 2, 4, participants=(1, 2, 3))
    assert consortium.clients[RESTORED].state is ClientState.READY


def open_to_the_restored_alone(consortium: Consortium, number: int, first_round: int) -> None:
    message = Sealer(consortium.charter, COORDINATOR, None, number).seal(
        Stage.OPEN, Open(Purpose.TRAINING, first_round, 1)
    )
    consortium.clients[RESTORED].receive(message)


def restored_after_an_epoch(folder: Path, *, told: tuple[int, ...]) -> Consortium:
    """One that has lost a whole epoch with a round in it, the sum of which some others were given."""
    consortium = start(folder)
    backup = consortium.back_up(RESTORED)
    run_round(epoch(consortium, 1, 1), consortium.random_vectors(np.random.default_rng(8)), told)
    set_back(consortium, RESTORED, backup)
    return consortium


def test_limit_an_epoch_opened_to_it_alone_keeps_a_restored_hospital_from_hearing_of_the_lost_one(tmp_path):
    """Its latch then knows of a later epoch than the one in which others say that they have seen it."""
    consortium = restored_after_an_epoch(tmp_path, told=())
    open_to_the_restored_alone(consortium, 2, 4)
    epoch(consortium, 3, 5, participants=(1, 2, 3))
    assert consortium.clients[RESTORED].state is ClientState.READY


def test_control_where_no_such_epoch_is_opened_it_is_told_of_the_lost_one(tmp_path):
    consortium = restored_after_an_epoch(tmp_path, told=())
    assert error_of(epoch, consortium, 3, 5, participants=(1, 2, 3)).reason == "state-restored"


def test_but_it_is_told_of_a_round_of_which_one_that_deals_to_it_was_given_the_sum(tmp_path):
    consortium = restored_after_an_epoch(tmp_path, told=(3,))
    open_to_the_restored_alone(consortium, 2, 4)
    error = error_of(epoch, consortium, 3, 5, participants=(1, 2, 3))
    assert (error.reason, error.culprit) == ("state-restored", "h3")


def test_what_is_remembered_of_others_only_grows(tmp_path):
    with Latch(tmp_path / "latch") as latch:
        charter = bytes(32)
        assert latch.sightings(charter) == {}
        latch.record_seen(charter, {3: Sighting(2, 5), 1: Sighting(1, 0)})
        latch.record_seen(charter, {3: Sighting(1, 9)})
        latch.record_seen(charter, {3: Sighting(3, 4)})
        assert latch.sightings(charter) == {1: Sighting(1, 0), 2: Sighting(0, 0), 3: Sighting(3, 9)}
        assert latch.sightings(bytes([1] * 32)) == {}
