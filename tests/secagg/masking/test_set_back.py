"""A hospital whose folder was restored from a backup, copied or removed is told by the others, and takes no part."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from secagg.errors import RemoteProtocolError
from secagg.latch import Latch, Sighting
from secagg.masking import MaskingClient
from secagg.masking.states import ClientState
from tests.support.consortium import Build, Consortium, make_identities, open_policy
from tests.support.misbehaving import MisbehavingCoordinator

MEMBERS, COLLUDER, RESTORED, LEFT_OUT, VICTIM = 4, 1, 2, 4, 4


class WithoutMemory(MaskingClient):
    """A weakened build: does not listen to what others remember."""

    def _require_not_set_back(self, collected) -> None:
        pass


def restart(consortium: Consortium, number: int, client: type[MaskingClient] = MaskingClient) -> None:
    """The same hospital in a new process, on the latch that lies in its folder now."""
    charter = consortium.charter
    latch = Latch(Path(consortium.clients[number]._latch._path))
    identity = make_identities(MEMBERS)[number - 1]
    consortium.clients[number] = client(charter, identity, latch, open_policy(charter.charter))


def back_up(consortium: Consortium, number: int, folder: Path) -> Path:
    """What a nightly backup does: the file as it is, with all that was written to it."""
    latch = consortium.clients[number]._latch
    latch._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(shutil.copy(latch._path, folder / "backup"))


def restore(consortium: Consortium, number: int, backup: Path) -> None:
    latch = consortium.clients[number]._latch
    latch.close()
    for left in latch._path.parent.glob(f"{latch._path.name}*"):
        left.unlink()
    shutil.copy(backup, latch._path)


def start(folder: Path, client: type[MaskingClient] = MaskingClient) -> Consortium:
    return Consortium.make(folder, MEMBERS, Build(client=client))


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


def refusal(call, *arguments, **named) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments, **named)
    return caught.value


@pytest.mark.parametrize("before", ["anything", "the second epoch"])
def test_a_restored_hospital_refuses_the_next_epoch_and_says_who_remembers_more(tmp_path, before):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    backup = back_up(consortium, RESTORED, tmp_path)
    run_round(epoch(consortium, 1, 1), vectors, (1, 2, 3, 4))
    if before == "the second epoch":
        backup = back_up(consortium, RESTORED, tmp_path)
    run_round(epoch(consortium, 2, 4), vectors, (1, 2, 3, 4))
    restore(consortium, RESTORED, backup)
    restart(consortium, RESTORED)
    error = refusal(epoch, consortium, 3, 7)
    assert (error.reason, error.culprit) == ("state-restored", "h1")
    assert "epoch 2 and round 4" in error.message
    assert error.remedy
    assert consortium.clients[RESTORED].state is ClientState.DEALT


def test_a_hospital_set_back_within_an_epoch_is_told_of_the_round_that_its_latch_does_not_know(tmp_path):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    coordinator = epoch(consortium, 1, 1)
    backup = back_up(consortium, RESTORED, tmp_path)
    run_round(coordinator, vectors, (1, 2, 3, 4))
    restore(consortium, RESTORED, backup)
    restart(consortium, RESTORED)
    error = refusal(epoch, consortium, 2, 4)
    assert error.reason == "state-restored"
    assert "epoch 1 and round 1" in error.message


def test_a_hospital_whose_latch_was_removed_refuses(tmp_path):
    consortium = start(tmp_path)
    run_round(epoch(consortium, 1, 1), consortium.random_vectors(np.random.default_rng(8)), (1, 2, 3, 4))
    latch = consortium.clients[RESTORED]._latch
    latch.close()
    latch._path.unlink()
    restart(consortium, RESTORED)
    assert refusal(epoch, consortium, 2, 4).reason == "state-restored"


def test_of_two_copies_of_a_folder_the_one_that_took_no_part_refuses(tmp_path):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    run_round(epoch(consortium, 1, 1), vectors, (1, 2, 3, 4))
    copy = back_up(consortium, RESTORED, tmp_path)
    run_round(epoch(consortium, 2, 4), vectors, (1, 2, 3, 4))
    identity, charter = make_identities(MEMBERS)[RESTORED - 1], consortium.charter
    consortium.clients[RESTORED] = MaskingClient(charter, identity, Latch(copy), open_policy(charter.charter))
    assert refusal(epoch, consortium, 3, 7).reason == "state-restored"


def test_a_hospital_that_was_only_killed_goes_on(tmp_path):
    consortium = start(tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    run_round(epoch(consortium, 1, 1), vectors, (1, 2, 3, 4))
    for number in consortium.clients:
        consortium.clients[number]._latch.close()
        restart(consortium, number)
    run_round(epoch(consortium, 2, 4), vectors, (1, 2, 3, 4))
    assert all(client.take_sum() for client in consortium.clients.values())


def difference_over_a_restored_latch(tmp_path: Path, client: type[MaskingClient]) -> np.ndarray:
    """Two sums of the same vectors, over all and without one, though every cohort must be the same.

    The first sum is revealed by the colluder, the victim and the hospital whose latch is then set back; the second by
    the colluder, the hospital that was set back and the one that revealed nothing before.
    """
    consortium = start(tmp_path, client)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    signed = consortium.server.session.ring.to_signed
    coordinator = epoch(consortium, 1, 1)
    backup = back_up(consortium, RESTORED, tmp_path)
    coordinator.begin()
    coordinator.collect(vectors)
    for number in (RESTORED, VICTIM):
        coordinator.ask(number, [1, 2, 3, 4])
    first, _ = coordinator.unmask_sum([1, 2, 3, 4])
    # The true sum: hospital 3 takes it, and so remembers that the restored one took part.
    coordinator.clients[3].receive(coordinator.honest_sum([1, 2, 3, 4]))
    restore(consortium, RESTORED, backup)
    restart(consortium, RESTORED, client)
    again = epoch(consortium, 2, 4, participants=(1, 2, 3))
    again.begin()
    again.collect({number: vectors[number] for number in (1, 2, 3)})
    for number in (RESTORED, 3):
        again.ask(number, [1, 2, 3])
    second, _ = again.unmask_sum([1, 2, 3])
    return signed(first - second) - signed(vectors[VICTIM])


def test_a_restored_latch_does_not_give_a_second_cohort_of_one_occasion(tmp_path):
    assert refusal(difference_over_a_restored_latch, tmp_path, MaskingClient).reason == "state-restored"


def test_control_where_nobody_listens_to_the_others_memory_the_difference_is_the_victims_vector(tmp_path):
    assert not difference_over_a_restored_latch(tmp_path, WithoutMemory).any()


def test_limit_who_saw_nothing_of_the_restored_hospital_cannot_tell_it(tmp_path):
    """One set-back hospital, c colluders, and the others shown nothing since the backup: then it counts as one of c."""
    consortium = start(tmp_path)
    coordinator = epoch(consortium, 1, 1)
    backup = back_up(consortium, RESTORED, tmp_path)
    vectors = consortium.random_vectors(np.random.default_rng(8))
    coordinator.begin()
    coordinator.collect(vectors)
    coordinator.ask(RESTORED, [1, 2, 3, 4])
    restore(consortium, RESTORED, backup)
    restart(consortium, RESTORED)
    epoch(consortium, 2, 4, participants=(1, 2, 3))
    assert consortium.clients[RESTORED].state is ClientState.READY


def test_what_is_remembered_of_others_only_grows(tmp_path):
    with Latch(tmp_path / "latch") as latch:
        charter = bytes(32)
        assert latch.sightings(charter) == {}
        latch.record_seen(charter, {3: Sighting(2, 5), 1: Sighting(1, 0)})
        latch.record_seen(charter, {3: Sighting(1, 9)})
        assert latch.sightings(charter) == {1: Sighting(1, 0), 2: Sighting(0, 0), 3: Sighting(2, 9)}
        assert latch.sightings(bytes([1] * 32)) == {}
