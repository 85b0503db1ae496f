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
from secagg.errors import RefusedError, RemoteProtocolError
from secagg.identity import Identity
from secagg.latch import Latch
from secagg.masking import MaskingClient, Purpose, Survivors, client, dealing, kdf
from secagg.masking.dealing import EpochSecrets
from secagg.masking.kdf import Secret
from secagg.masking.messages import Advertise, Begin, Deal, Deals, Roster
from secagg.masking.shamir import random_secret
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError
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


def forged(call, *arguments) -> bool:
    with pytest.raises(ForgedSumError) as caught:
        call(*arguments)
    return caught.value.exit_code == 4


def all_but(coordinator: MisbehavingCoordinator, *numbers: int) -> list[int]:
    return [number for number in coordinator.everybody if number not in numbers]


class WithoutAgreement(MaskingClient):
    """A weakened build: reveals without anybody's agreement."""

    def _require_agreement(self, survivors: Survivors, payload: client.Unmask) -> None:
        pass


class WithPartialDeals(MaskingClient):
    """A weakened build: goes on with those whose deals came, however few."""

    def _collect(self, payload: Deals) -> None:
        epoch = self._current()
        epoch.dealers = frozenset(envelope.peek(message).sender for message in payload.deals)
        epoch.participants = epoch.dealers | {self.number}
        super()._collect(payload)


class WithoutBoth(WithoutAgreement, WithPartialDeals):
    """The build in which the survivor sets were not compared and deals could be withheld."""


class Forgetful:
    """A weakened build: a hospital that does not remember that it has answered."""

    @staticmethod
    def install(monkeypatch: pytest.MonkeyPatch, coordinator: MisbehavingCoordinator) -> None:
        monkeypatch.setattr(Latch, "record_revealed", lambda *arguments: None)
        monkeypatch.setattr(Latch, "cohorts", lambda *arguments: ())
        for number, hospital in coordinator.clients.items():
            original = hospital.receive

            def receive(message: bytes, number: int = number, original=original) -> list[bytes]:
                replies = original(message)
                if coordinator.clients[number].state is ClientState.REVEALED:
                    coordinator.clients[number].state = ClientState.MASKED
                    coordinator.clients[number]._answered = None
                return replies

            monkeypatch.setattr(hospital, "receive", receive)


# --- Both shares of one victim -------------------------------------------------------------------------------


def ask_all_twice(coordinator: MisbehavingCoordinator) -> list[str]:
    """First for the victim's self-mask seed, then for its mask key; what was refused.

    Even if everybody's agreement could be forged.
    """
    refused = []
    for survivors in (coordinator.everybody, all_but(coordinator, VICTIM)):
        agreements = [coordinator.sign_for(number, survivors) for number in all_but(coordinator, VICTIM)]
        for number in all_but(coordinator, VICTIM):
            try:
                coordinator.ask(number, survivors, agreements)
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


def test_the_latch_alone_refuses_a_second_answer_if_the_state_is_lost(tmp_path, monkeypatch):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    coordinator.ask(2, coordinator.everybody)
    coordinator.clients[2].state = ClientState.MASKED
    coordinator.clients[2]._answered = None
    others = all_but(coordinator, VICTIM)
    agreements = [coordinator.sign_for(number, others) for number in others]
    with monkeypatch.context() as patch:
        patch.setattr(Latch, "cohorts", lambda *arguments: ())
        assert refusal(coordinator.ask, 2, others, agreements) == "already-revealed"
        assert refusal(coordinator.propose, 2, others) == "already-answered"


def test_the_same_request_twice_is_refused_too(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    coordinator.ask(2, coordinator.everybody)
    assert refusal(coordinator.ask, 2, coordinator.everybody) == "unexpected-message"


def split_responders(coordinator: MisbehavingCoordinator) -> list[str]:
    """Half of the others are told that the victim survived, half that it dropped; what was refused."""
    others = all_but(coordinator, VICTIM, *coordinator.colluders)
    with_victim, without_victim = others[: len(others) // 2], others[len(others) // 2 :]
    refused = []
    for number in without_victim:
        coordinator.propose(number, all_but(coordinator, VICTIM))
    for numbers, survivors in (
        (with_victim, coordinator.everybody),
        (without_victim, all_but(coordinator, VICTIM)),
    ):
        for number in numbers:
            try:
                coordinator.ask(number, survivors)
            except RemoteProtocolError as error:
                refused.append(error.reason)
    return refused


def test_two_survivor_sets_shown_to_two_halves_rebuild_at_most_one_of_the_victims_secrets(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 6, colluders=[6])
    start_round(coordinator, vectors)
    assert split_responders(coordinator) == ["no-agreement"] * 2
    rebuilt = [coordinator.rebuild(VICTIM, secret) for secret in Secret]
    assert None in rebuilt


def test_control_with_a_threshold_that_ignores_colluders_the_two_halves_give_both(tmp_path, monkeypatch):
    monkeypatch.setattr(charter_model, "smallest_threshold", lambda members, colluding: 2)
    _, coordinator, vectors = attack(tmp_path, 6, colluders=[6], threshold=3)
    start_round(coordinator, vectors)
    assert split_responders(coordinator) == []
    stripped = coordinator.strip(VICTIM, coordinator.everybody)
    np.testing.assert_array_equal(stripped, plain(coordinator, vectors, VICTIM))


# --- A survivor set of its own for every hospital ------------------------------------------------------------


def isolate(coordinator: MisbehavingCoordinator, vectors: dict) -> tuple[np.ndarray | None, list[str]]:
    """Name another survivor set to every hospital, so that the victim's few neighbours all seem to have dropped.

    The victim is given the deals of t - 1 neighbours only. Every hospital is told that the victim survived and that the
    neighbours, itself excepted, did not: t hospitals reveal the victim's seed, and t the mask key of each neighbour.
    The victim's own mask key is never asked for: its masks can be had from the other end.
    """
    refused: list[str] = []

    def attempt(call, *arguments: object) -> None:
        try:
            call(*arguments)
        except RemoteProtocolError as error:
            refused.append(error.reason)

    threshold = coordinator.session.threshold
    hidden = [VICTIM, *coordinator.colluders]
    neighbours = [*hidden, *all_but(coordinator, *hidden)][:threshold]
    exposed = [number for number in neighbours if number not in hidden]
    coordinator.open()
    coordinator.send_roster()
    attempt(coordinator.send_deals, [VICTIM], neighbours)
    if refused:
        # The victim wants everybody's deals: it gets them, and the rest is tried without withholding any.
        coordinator.send_deals([VICTIM])
        neighbours = coordinator.everybody
    coordinator.send_deals(all_but(coordinator, VICTIM))
    start_round(coordinator, vectors)
    for number in all_but(coordinator, *coordinator.colluders):
        survivors = sorted(neighbours) if number == VICTIM else all_but(coordinator, *(set(exposed) - {number}))
        if len(survivors) < len(coordinator.everybody):
            attempt(coordinator.propose, number, survivors)
        attempt(coordinator.ask, number, survivors)
    return coordinator.strip(VICTIM, neighbours), refused


ISOLATIONS = pytest.mark.parametrize(("members", "colluders"), [(7, 0), (6, 1), (10, 1), (21, 0)])


def prepare_isolation(folder: Path, members: int, colluders: int, build: type[MaskingClient] = MaskingClient):
    _, coordinator, vectors = attack(
        folder,
        members,
        colluders=list(range(2, 2 + colluders)),
        set_up=False,
        client=build,
        max_colluding=colluders,
        threshold=charter_model.smallest_threshold(members, colluders),
    )
    return coordinator, vectors


@ISOLATIONS
def test_a_survivor_set_of_its_own_for_every_hospital_isolates_nobody(tmp_path, members, colluders):
    coordinator, vectors = prepare_isolation(tmp_path, members, colluders)
    stripped, refused = isolate(coordinator, vectors)
    assert stripped is None
    # The victim, whose set is everybody now, reveals shares of self-mask seeds only; nobody else reveals anything.
    assert refused == ["deals-missing"] + ["no-agreement"] * (members - colluders - 1)
    for owner in all_but(coordinator, *coordinator.colluders):
        assert [coordinator.rebuild(owner, secret) for secret in Secret] == [None, None]


@ISOLATIONS
def test_control_without_agreement_and_with_partial_deals_the_victims_vector_is_read(tmp_path, members, colluders):
    coordinator, vectors = prepare_isolation(tmp_path, members, colluders, WithoutBoth)
    stripped, refused = isolate(coordinator, vectors)
    assert refused == []
    np.testing.assert_array_equal(stripped, plain(coordinator, vectors, VICTIM))


def withhold_all_deals_but_one(coordinator: MisbehavingCoordinator, vectors: dict) -> np.ndarray | None:
    """The victim masks with one neighbour only; that one is said to have dropped, and all the others agree."""
    coordinator.open()
    coordinator.send_roster()
    coordinator.send_deals([VICTIM], dealers=[2])
    coordinator.send_deals(all_but(coordinator, VICTIM))
    start_round(coordinator, vectors)
    survivors = all_but(coordinator, 2)
    for number in all_but(coordinator, VICTIM, 2):
        coordinator.propose(number, survivors)
    for number in all_but(coordinator, VICTIM, 2):
        coordinator.ask(number, survivors)
    return coordinator.strip(VICTIM, [2])


def test_a_hospital_whose_deals_are_withheld_refuses_and_names_a_dealer(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 6, set_up=False)
    with pytest.raises(RemoteProtocolError) as caught:
        withhold_all_deals_but_one(coordinator, vectors)
    assert (caught.value.reason, caught.value.culprit) == ("deals-missing", "h3")
    assert coordinator.clients[VICTIM].state is ClientState.DEALT


def test_control_with_partial_deals_an_agreed_set_still_gives_the_victims_vector(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 6, set_up=False, client=WithPartialDeals)
    stripped = withhold_all_deals_but_one(coordinator, vectors)
    np.testing.assert_array_equal(stripped, plain(coordinator, vectors, VICTIM))


# --- Two sums over hospitals that differ by few --------------------------------------------------------------


def sum_over(coordinator: MisbehavingCoordinator, vectors: dict, survivors: list[int], step: int = 1) -> np.ndarray:
    """An honest-looking round in which only ``survivors`` are said to have answered; as signed integers."""
    coordinator.begin(step=step)
    coordinator.collect(vectors)
    coordinator.unmask(survivors)
    return coordinator.session.ring.to_signed(coordinator.unmask_sum(survivors)[0])


class WithoutGuard(MaskingClient):
    """A weakened build: does not remember over whom it was summed."""

    def _refuse_differencing(self, survivors: Survivors) -> None:
        pass


class WithPairwiseGuard(MaskingClient):
    """A weakened build: asks of every two cohorts of an occasion that they differ by two hospitals, or by none."""

    def _refuse_differencing(self, survivors: Survivors) -> None:
        for earlier in self._latch.cohorts(self._charter.digest, self._occasion()):
            if len(earlier ^ set(survivors.numbers)) == 1:
                raise RemoteProtocolError("differencing", "They differ by one.")


def by_one(coordinator: MisbehavingCoordinator, vectors: dict) -> np.ndarray:
    """What is summed is the same in both rounds, as feature statistics are."""
    with_victim = sum_over(coordinator, vectors, coordinator.everybody)
    return with_victim - sum_over(coordinator, vectors, all_but(coordinator, VICTIM))


def by_a_colluder(coordinator: MisbehavingCoordinator, vectors: dict) -> np.ndarray:
    """The colluder stays away from one sum, the victim from the other."""
    colluder = min(coordinator.colluders)
    with_victim = sum_over(coordinator, vectors, all_but(coordinator, colluder))
    without_victim = sum_over(coordinator, vectors, all_but(coordinator, VICTIM))
    return with_victim - without_victim + plain(coordinator, vectors, colluder)


def by_four_sums(coordinator: MisbehavingCoordinator, vectors: dict) -> np.ndarray:
    """Every two of the four cohorts differ by two hospitals, and yet one hospital's vector is half of a combination."""
    whole = sum_over(coordinator, vectors, coordinator.everybody)
    pairs = {
        pair: whole - sum_over(coordinator, vectors, all_but(coordinator, *pair)) for pair in ((1, 2), (1, 3), (2, 3))
    }
    return (pairs[1, 2] + pairs[1, 3] - pairs[2, 3]) // 2


DIFFERENCINGS = [
    (by_one, [], WithoutGuard),
    (by_a_colluder, [6], WithPairwiseGuard),
    (by_four_sums, [], WithPairwiseGuard),
]


@pytest.mark.parametrize(("difference", "colluders", "_weakened"), DIFFERENCINGS)
def test_two_different_cohorts_of_one_occasion_are_refused(tmp_path, difference, colluders, _weakened):
    _, coordinator, vectors = attack(tmp_path, 6, colluders=colluders, epoch_rounds=4)
    assert refusal(difference, coordinator, vectors) == "differencing"


@pytest.mark.parametrize(("difference", "colluders", "weakened"), DIFFERENCINGS)
def test_control_with_a_weaker_guard_the_difference_is_the_victims_vector(tmp_path, difference, colluders, weakened):
    _, coordinator, vectors = attack(tmp_path, 6, colluders=colluders, epoch_rounds=4, client=weakened)
    np.testing.assert_array_equal(difference(coordinator, vectors), plain(coordinator, vectors, VICTIM))


def test_the_same_cohort_may_be_summed_again_and_another_on_another_occasion(tmp_path):
    _, coordinator, vectors = attack(tmp_path, 6, epoch_rounds=4)
    first = sum_over(coordinator, vectors, all_but(coordinator, 2))
    np.testing.assert_array_equal(sum_over(coordinator, vectors, all_but(coordinator, 2)), first)
    assert refusal(sum_over, coordinator, vectors, coordinator.everybody) == "differencing"
    sum_over(coordinator, vectors, coordinator.everybody, step=2)


def test_a_forged_sum_of_zeros_does_not_begin_a_new_occasion_on_the_same_model(tmp_path):
    """It would leave the model as it was and raise the step, so that the guard would not compare the two cohorts."""
    _, coordinator, vectors = attack(tmp_path, 6)
    sum_over(coordinator, vectors, coordinator.everybody)
    zeros = coordinator.sum_message(coordinator.everybody, bytes(coordinator.session.vector_bytes))
    for hospital in coordinator.clients.values():
        assert forged(hospital.receive, zeros)
    assert refusal(sum_over, coordinator, vectors, all_but(coordinator, VICTIM), 2) == "unexpected-message"


def test_limit_with_a_traitor_a_forged_sum_of_zeros_begins_a_new_occasion(tmp_path):
    """Not prevented, and described as such: a hospital that colludes gives the coordinator the tag's key."""
    _, coordinator, vectors = attack(tmp_path, 6)
    with_victim = sum_over(coordinator, vectors, coordinator.everybody)
    zeros = coordinator.sum_with_a_traitor(coordinator.everybody, bytes(coordinator.session.vector_bytes))
    for hospital in coordinator.clients.values():
        hospital.receive(zeros)
    without_victim = sum_over(coordinator, vectors, all_but(coordinator, VICTIM), step=2)
    np.testing.assert_array_equal(with_victim - without_victim, plain(coordinator, vectors, VICTIM))


def test_the_guard_outlives_epochs_and_restarts(tmp_path):
    consortium, coordinator, vectors = attack(tmp_path, 5)
    sum_over(coordinator, vectors, coordinator.everybody)
    for number in coordinator.everybody:
        consortium.clients[number] = restarted(consortium, number, tmp_path)
    later = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=2, first_round=2)
    later.set_up()
    assert refusal(sum_over, later, vectors, all_but(later, VICTIM)) == "differencing"


def test_an_occasion_is_the_model_the_purpose_and_the_step(tmp_path):
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
    assert len(occasions) == 4


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
    for call in (coordinator.propose, coordinator.ask):
        assert refusal(call, 1, survivors) == expected
        assert coordinator.clients[1].state is ClientState.MASKED
    coordinator.unmask([1, 2, 3, 4])


@pytest.mark.parametrize("survivors", [[1, 2, 3], [1, 2, 2, 3], [1, 3, 2, 4], [1, 1, 1, 1]])
def test_control_without_the_checks_of_a_survivor_set_each_of_them_is_answered(tmp_path, monkeypatch, survivors):
    _, coordinator, vectors = attack(tmp_path, 5)
    start_round(coordinator, vectors)
    unchecked(monkeypatch)
    assert len(coordinator.ask(1, survivors).self_mask_shares) == 32 * len(set(survivors))


def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weakened build: any survivor set will do."""
    monkeypatch.setattr(Survivors, "check", classmethod(lambda cls, numbers, *rest: cls(tuple(numbers))))
    monkeypatch.setattr(MaskingClient, "_require_enough", lambda *arguments: None)
    monkeypatch.setattr(MaskingClient, "_require_agreement", lambda *arguments: None)


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
    assert refusal(coordinator.propose, 1, [1, 2, 3, 4]) == "below-threshold"
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
    consortium.answer(consortium.deliver(consortium.answer(consortium.deliver(outbox))))
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
    consortium.answer(consortium.deliver(consortium.answer(consortium.deliver(outbox))))
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
            message = sealer.seal(
                Stage.MASKED, client.Masked(MODEL_DIGEST, memoryview(payload[1]), payload[2]), round=1
            )
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


def test_control_a_hospital_that_trusts_any_roster_masks_with_keys_that_nobody_else_has(tmp_path, monkeypatch):
    """Its peers share masks with the exchanged keys, and seal to them what was meant for it."""
    _, coordinator, _ = attack(tmp_path, 5, set_up=False)
    coordinator.open()
    signed = substitute(coordinator, 1, make_identities(5)[0])
    monkeypatch.setattr(EpochSecrets, "advertisement", lambda secrets: ANY)
    coordinator.send_roster(None, with_substitute(coordinator, 1, signed))
    assert coordinator.clients[1].state is ClientState.DEALT
    stolen = EpochSecrets(coordinator.session, 1, np.random.default_rng(1).bytes)
    deal = msgspec.msgpack.decode(coordinator.read(coordinator.deals[2, 1]).payload, type=Deal)
    route = coordinator.clients[1]._epoch.route(2, 1)
    advertised = msgspec.msgpack.decode(coordinator.read(coordinator.advertisements[2]).payload, type=Advertise)
    opened = dealing.open_deal(route, deal, stolen.share_key, advertised, coordinator.session.rounds)
    assert len(opened.mask_key) == coordinator.session.rounds


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


def test_control_without_roster_digests_two_halves_are_set_up_with_different_keys(tmp_path, monkeypatch):
    """Twice over: the digest is compared, and it is in the key that seals the shares."""
    _, coordinator, _ = attack(tmp_path, 6, set_up=False)
    coordinator.open()
    other = with_substitute(coordinator, 6, substitute(coordinator, 6, make_identities(6)[5]))
    monkeypatch.setattr(client, "roster_digest", lambda *parts: bytes(32))
    coordinator.send_roster([1, 2, 6])
    coordinator.send_roster([3, 4, 5], other)
    dealt = {dealer: coordinator.deals[dealer, 1] for dealer in (2, 3, 4, 5, 6)}
    coordinator.clients[1].receive(coordinator.deal_bundle(1, list(dealt.values())))
    assert coordinator.clients[1].state is ClientState.READY
    shown = [coordinator.clients[number]._epoch.roster[6] for number in (1, 3)]
    assert shown[0] != shown[1]


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
    assert give(deals[2, 1], deals[3, 1], deals[4, 1]) == "deals-missing"
    assert give() == "deals-missing"


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
            other.tag_contribution = secrets.tag_contribution
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
    monkeypatch.setattr(client, "verify_sum", lambda total, *_: total)
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
    agreed = consortium.deliver(consortium.answer(masked))
    return consortium, consortium.deliver(consortium.answer(agreed)), vectors


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


def test_control_without_share_digests_a_wrong_share_is_laid_at_its_dealers_door(tmp_path, monkeypatch):
    consortium, replies, _ = to_unmasking(tmp_path)
    reveal = msgspec.msgpack.decode(reader(consortium).read(replies[1][1]).payload, type=client.Reveal)
    wrong = bytearray(reveal.self_mask_shares)
    wrong[0] ^= 1
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    forged = sealer.seal(Stage.REVEAL, msgspec.structs.replace(reveal, self_mask_shares=bytes(wrong)), round=1)
    monkeypatch.setattr(kdf, "share_digest", lambda *arguments: ANY)
    consortium.answer([replies[0], (2, forged), *replies[2:]])
    assert consortium.server.result is None
    assert (consortium.server.fault.reason, consortium.server.fault.culprit) == ("wrong-dealing", "h1")


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
    other = sealer.seal(Stage.MASKED, client.Masked(MODEL_DIGEST, memoryview(bytes(63)), bytes(8)), round=1)
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
    coordinator.clients[1].receive(coordinator.sum_with_a_traitor(coordinator.everybody, bytes(63)))
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


def test_control_without_its_latch_a_restarted_hospital_masks_the_round_again_with_other_keys(tmp_path):
    """And reveals again: two sums of one round, over cohorts that differ by one."""
    consortium, coordinator, vectors = attack(tmp_path, 5)
    first = sum_over(coordinator, vectors, coordinator.everybody)
    for number in coordinator.everybody:
        consortium.clients[number]._latch.close()
        for file in tmp_path.glob(f"latch{number}.sqlite*"):
            file.unlink()
        old = consortium.clients[number]
        latch = Latch(tmp_path / f"latch{number}.sqlite")
        consortium.clients[number] = MaskingClient(consortium.charter, old._identity, latch, old._policy)
    again = MisbehavingCoordinator(consortium.charter, consortium.clients)
    again.set_up()
    second = sum_over(again, vectors, all_but(again, VICTIM))
    np.testing.assert_array_equal(first - second, plain(again, vectors, VICTIM))


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
    message = Sealer(other, 2, identities[1], 1).seal(Stage.ADVERTISE, Advertise(bytes(32), b"", b"", bytes(32), []))
    consortium.server.open()
    assert refusal(consortium.server.receive, 2, message) == "other-charter"


def test_control_without_the_charters_hash_in_the_header_a_round_of_another_charter_begins(tmp_path, monkeypatch):
    consortium, _, _ = attack(tmp_path, 5)
    identities = make_identities(5)
    other = sign_by_all(make_charter(identities, name="other"), identities)
    stranger = MisbehavingCoordinator(other, consortium.clients)
    assert refusal(stranger.begin, [1]) == "other-charter"
    monkeypatch.setattr(other, "digest", consortium.charter.digest)
    stranger.round = 0
    stranger.begin([1])
    assert consortium.clients[1].state is ClientState.ASKED


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
