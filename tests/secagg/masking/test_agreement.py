"""Agree, then reveal: what a lying coordinator and its colluders can try with proposals, agreements and replays."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest

from secagg.charter import Model
from secagg.errors import RemoteProtocolError
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.kdf import Secret
from secagg.masking.limits import payload_limit
from secagg.masking.messages import Advertise, Agree, Agreement, Begin, Propose, Unmask
from secagg.masking.states import ClientState, ServerState
from secagg.wire import COORDINATOR, Sealer, Stage
from secagg.wire.envelope import decode, is_too_large, peek
from tests.support.consortium import (
    MODEL_DIGEST,
    Consortium,
    integer_sum,
    make_charter,
    make_identities,
    sign_by_all,
)
from tests.support.misbehaving import MisbehavingCoordinator, sum_with_a_traitor

MEMBERS, COLLUDER = 6, 6
ALL = [1, 2, 3, 4, 5, 6]
WITHOUT_ONE = [2, 3, 4, 5, 6]
WITHOUT_TWO = [1, 3, 4, 5, 6]


@pytest.fixture
def masked(tmp_path) -> tuple[MisbehavingCoordinator, dict]:
    """Six hospitals of which the last colludes, t = 4; all have masked round 1."""
    return start(tmp_path)


def start(folder: Path, **changes: object) -> tuple[MisbehavingCoordinator, dict]:
    consortium = Consortium.make(folder, MEMBERS, **changes)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients, colluders=[COLLUDER])
    coordinator.set_up()
    next_round(coordinator, vectors)
    return coordinator, vectors


def next_round(coordinator: MisbehavingCoordinator, vectors: dict, step: int = 1) -> None:
    coordinator.begin(step=step)
    coordinator.collect(vectors)


def refusal(call, *arguments) -> str:
    return blamed(call, *arguments)[0]


def blamed(call, *arguments) -> tuple[str, str | None]:
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments)
    return caught.value.reason, caught.value.culprit


def nothing_is_known_of(coordinator: MisbehavingCoordinator, number: int) -> bool:
    return coordinator.strip(number, coordinator.everybody) is None


# --- What counts as an agreement -----------------------------------------------------------------------------


def test_shares_of_mask_keys_leave_once_t_survivors_have_signed_the_set(masked):
    coordinator, vectors = masked
    for number in (2, 3):
        coordinator.propose(number, WITHOUT_ONE)
    assert refusal(coordinator.ask, 2, WITHOUT_ONE) == "no-agreement"
    assert coordinator.clients[2].state is ClientState.AGREED
    coordinator.propose(4, WITHOUT_ONE)
    for number in (2, 3, 4):
        coordinator.ask(number, WITHOUT_ONE)
    signed = coordinator.session.ring.to_signed
    expected = sum(signed(vectors[number]) for number in WITHOUT_ONE)
    np.testing.assert_array_equal(signed(coordinator.unmask_sum(WITHOUT_ONE)[0]), expected)


def test_one_hospitals_agreement_counts_once_however_often_it_is_shown(masked):
    coordinator, _ = masked
    for number in (2, 3):
        coordinator.propose(number, WITHOUT_ONE)
    shown = coordinator.agreements_to(WITHOUT_ONE)
    again = [coordinator.sign_for(COLLUDER, WITHOUT_ONE) for _ in range(3)]
    assert refusal(coordinator.ask, 2, WITHOUT_ONE, shown * 2) == "no-agreement"
    assert refusal(coordinator.ask, 2, WITHOUT_ONE, [*shown, *again]) == "no-agreement"


@pytest.mark.parametrize(
    ("survivors", "header"),
    [
        (WITHOUT_TWO, {}),
        (ALL, {}),
        (WITHOUT_ONE, {"round": 2}),
        (WITHOUT_ONE, {"round": 0}),
        (WITHOUT_ONE, {"epoch": 2}),
    ],
)
def test_an_agreement_to_another_set_or_of_another_round_or_epoch_is_none(masked, survivors, header):
    coordinator, _ = masked
    for number in (2, 3, 4):
        coordinator.propose(number, WITHOUT_ONE)
    coordinator.colluders = frozenset()
    shown = [*coordinator.agreements_to(WITHOUT_ONE), coordinator.sign_for(COLLUDER, survivors, **header)]
    assert refusal(coordinator.ask, 2, WITHOUT_ONE, shown) == "forged-agreement"


def test_who_was_shown_a_forged_agreement_answers_no_more_in_that_round(masked):
    coordinator, vectors = masked
    for number in (2, 3, 4):
        coordinator.propose(number, WITHOUT_ONE)
    coordinator.colluders = frozenset()
    true = coordinator.agreements_to(WITHOUT_ONE)
    assert refusal(coordinator.ask, 2, WITHOUT_ONE, [*true, coordinator.sign_for(5, ALL)]) == "forged-agreement"
    assert coordinator.clients[2].state is ClientState.READY
    assert refusal(coordinator.ask, 2, WITHOUT_ONE, true) == "unexpected-message"
    next_round(coordinator, vectors)
    coordinator.unmask(ALL)


def test_an_agreement_of_a_hospital_that_is_not_among_the_survivors_is_none(masked):
    coordinator, _ = masked
    for number in (1, 2, 3):
        coordinator.propose(number, [1, 2, 3, 4, 5])
    outside = coordinator.sign_for(COLLUDER, [1, 2, 3, 4, 5])
    shown = [*coordinator.agreements_to([1, 2, 3, 4, 5]), outside]
    assert refusal(coordinator.ask, 1, [1, 2, 3, 4, 5], shown) == "no-agreement"


def test_what_is_no_agreement_or_not_its_signers_own_is_refused(masked):
    coordinator, _ = masked
    for number in (2, 3, 4):
        coordinator.propose(number, WITHOUT_ONE)
    coordinator.colluders = frozenset()
    shown = coordinator.agreements_to(WITHOUT_ONE)
    charter, identities = coordinator.session.charter, make_identities(MEMBERS)
    agree = msgspec.msgpack.decode(coordinator.read(shown[0]).payload, type=Agree)
    in_anothers_name = Sealer(charter, 5, identities[COLLUDER - 1], 1).seal(Stage.AGREE, agree, round=1)
    of_another_charter = Sealer(
        sign_by_all(make_charter(identities, name="other"), identities), COLLUDER, identities[COLLUDER - 1], 1
    ).seal(Stage.AGREE, agree, round=1)
    for asked, (extra, expected) in enumerate(
        (
            (in_anothers_name, "forged-agreement"),
            (of_another_charter, "forged-agreement"),
            (coordinator.masked[5], "forged-agreement"),
            (coordinator.proposal(WITHOUT_ONE), "malformed"),
        ),
        start=2,
    ):
        assert refusal(coordinator.ask, asked, WITHOUT_ONE, [*shown, extra]) == expected


def test_a_hospital_that_missed_the_proposal_reveals_on_the_agreement_of_t_others(masked):
    coordinator, _ = masked
    for number in (2, 3, 4):
        coordinator.propose(number, WITHOUT_ONE)
    assert coordinator.clients[5].state is ClientState.MASKED
    reveal = coordinator.ask(5, WITHOUT_ONE)
    assert len(reveal.mask_key_shares) == 32


# --- One set a round -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [ALL, WITHOUT_TWO, [3, 4, 5, 6]], ids=str)
def test_who_has_agreed_to_one_set_answers_for_no_other(masked, asked):
    coordinator, _ = masked
    coordinator.propose(3, WITHOUT_ONE)
    agreements = [coordinator.sign_for(number, asked) for number in asked]
    assert refusal(coordinator.ask, 3, asked, agreements) == "survivors-changed"
    assert refusal(coordinator.propose, 3, asked) == "unexpected-message"
    assert refusal(coordinator.propose, 3, WITHOUT_ONE) == "unexpected-message"


def test_who_has_revealed_agrees_to_nothing_more_in_this_round(masked):
    coordinator, _ = masked
    coordinator.ask(3, ALL)
    for survivors in (ALL, WITHOUT_ONE):
        assert refusal(coordinator.propose, 3, survivors) == "unexpected-message"


@pytest.mark.parametrize("first", [set(half) for size in range(6) for half in combinations(range(1, 6), size)], ids=str)
def test_no_split_of_the_hospitals_gives_two_agreed_sets(tmp_path, first):
    """Each honest hospital is proposed one of two sets; the colluder signs both."""
    coordinator, _ = start(tmp_path)
    sets = (WITHOUT_ONE, WITHOUT_TWO)
    for number in (1, 2, 3, 4, 5):
        survivors = sets[0] if number in first else sets[1]
        if number in survivors:
            coordinator.propose(number, survivors)
    enough = [survivors for survivors in sets if len(coordinator.agreements_to(survivors)) >= 4]
    assert len(enough) <= 1


@pytest.mark.parametrize("told_all", [{1}, {1, 2}, {2, 3}, {1, 2, 3}, {2, 3, 4}, {1, 2, 3, 4}], ids=str)
def test_everybody_told_to_some_and_a_drop_out_to_the_others_gives_one_whole_sum_at_most(tmp_path, told_all):
    """Some are asked for self-mask seeds of all, without any agreement; the others to agree that hospital 1 dropped."""
    coordinator, _ = start(tmp_path)
    for number in told_all:
        coordinator.ask(number, ALL)
    rest = {1, 2, 3, 4, 5} - told_all - {1}
    for number in rest:
        coordinator.propose(number, WITHOUT_ONE)
    refused = []
    for number in rest:
        try:
            coordinator.ask(number, WITHOUT_ONE)
        except RemoteProtocolError as error:
            refused.append(error.reason)
    assert set(refused) <= {"no-agreement"}
    honest = (1, 2, 3, 4, 5)
    assert all(nothing_is_known_of(coordinator, number) for number in honest)
    # Mask keys only once three honest hospitals and the colluder agreed: too few are left to give seed 1 as well.
    key, seed = coordinator.rebuild(1, Secret.MASK_KEY), coordinator.rebuild(1, Secret.SELF_MASK_SEED)
    assert (key is not None) == (len(rest) >= 3)
    assert None in (key, seed)


@pytest.mark.parametrize("seed", range(20))
def test_hospitals_reveal_for_exactly_what_the_model_of_the_rules_says(tmp_path, seed):
    """One strategy of `test_reveal_rules`, drawn at random, with real messages: a set for every honest hospital."""
    generator = np.random.default_rng(seed)
    coordinator, _ = start(tmp_path)
    honest = [1, 2, 3, 4, 5]
    few = [list(map(int, generator.choice(ALL, size, replace=False))) for size in (4, 5, 5)]
    drawn = [few[int(generator.choice(3, p=[0.2, 0.6, 0.2]))] if generator.random() < 0.8 else ALL for _ in honest]
    told = {number: sorted({*drawn[number - 1], number}) for number in honest}
    for number, survivors in told.items():
        if survivors != ALL:
            coordinator.propose(number, survivors)
    answered = {}
    for number, survivors in told.items():
        signers = sum(other == survivors for other in told.values()) + (COLLUDER in survivors)
        if survivors == ALL or signers >= 4:
            coordinator.ask(number, survivors)
            answered[number] = survivors
        else:
            assert refusal(coordinator.ask, number, survivors) == "no-agreement"
    for owner in honest:
        seeds = 1 + sum(owner in survivors for survivors in answered.values())
        keys = 1 + sum(owner not in survivors for survivors in answered.values())
        assert (coordinator.rebuild(owner, Secret.SELF_MASK_SEED) is not None) == (seeds >= 4)
        assert (coordinator.rebuild(owner, Secret.MASK_KEY) is not None) == (keys >= 4)
        assert nothing_is_known_of(coordinator, owner)


# --- Replays, aborted rounds, epochs -------------------------------------------------------------------------


def test_agreements_of_an_aborted_round_are_worth_nothing_in_the_next(masked):
    coordinator, vectors = masked
    for number in (2, 3, 4):
        coordinator.propose(number, WITHOUT_ONE)
    old = coordinator.agreements_to(WITHOUT_ONE)
    asked = coordinator.unmask_request(WITHOUT_ONE)
    for number in ALL:
        coordinator.clients[number].receive(coordinator.abort_message())
    assert refusal(coordinator.clients[2].receive, asked) == "unexpected-message"
    next_round(coordinator, vectors)
    assert refusal(coordinator.clients[2].receive, asked) == "other-round"
    assert refusal(coordinator.ask, 2, WITHOUT_ONE, old) == "forged-agreement"
    coordinator.unmask(WITHOUT_TWO)


@pytest.mark.parametrize("ending", ["abort", "sum"])
def test_a_round_that_is_over_is_not_answered_for_any_more(masked, ending):
    coordinator, _ = masked
    packed = bytes(coordinator.session.vector_bytes)
    over = coordinator.abort_message() if ending == "abort" else sum_with_a_traitor(coordinator, ALL, packed)
    coordinator.clients[1].receive(over)
    assert coordinator.clients[1].state is ClientState.READY
    assert refusal(coordinator.ask, 1, ALL) == "unexpected-message"
    assert refusal(coordinator.propose, 1, [1, 2, 3, 4]) == "unexpected-message"
    begin_again = coordinator.forge(Stage.BEGIN, Begin(1), round_number=1)
    assert refusal(coordinator.clients[1].receive, begin_again) == "stale-round"


def test_agreements_of_an_earlier_epoch_are_worth_nothing_in_the_next(masked):
    coordinator, vectors = masked
    coordinator.propose(2, WITHOUT_ONE)
    old = coordinator.agreements_to(WITHOUT_ONE)
    later = MisbehavingCoordinator(
        coordinator.session.charter, coordinator.clients, epoch=2, first_round=2, colluders=[COLLUDER]
    )
    later.set_up()
    next_round(later, vectors)
    for number in (2, 3, 4):
        later.propose(number, WITHOUT_ONE)
    later.agreements[later.round, tuple(WITHOUT_ONE)].pop(2)
    shown = [*later.agreements_to(WITHOUT_ONE), *(message for message in old if peek(message).sender == 2)]
    replayed = coordinator.unmask_request(WITHOUT_ONE)
    assert refusal(later.clients[2].receive, replayed) == "other-epoch"
    assert refusal(later.ask, 2, WITHOUT_ONE, shown) == "forged-agreement"


def test_an_epoch_opened_in_the_middle_of_a_round_ends_it_for_good(masked):
    coordinator, _ = masked
    for number in (2, 3, 4):
        coordinator.propose(number, WITHOUT_ONE)
    later = MisbehavingCoordinator(coordinator.session.charter, coordinator.clients, epoch=2, first_round=2)
    later.open()
    assert refusal(coordinator.ask, 2, WITHOUT_ONE) == "unexpected-message"
    same_number = MisbehavingCoordinator(coordinator.session.charter, coordinator.clients, epoch=3, first_round=1)
    assert refusal(same_number.open, [2]) == "stale-round"


@pytest.mark.parametrize("scheme", ["mask", "bfv"])
@pytest.mark.parametrize("opened", [{"purpose": Purpose.STATISTICS}, {"first_round": 2}, {"rounds": 2}], ids=str)
def test_who_opens_an_epoch_in_two_ways_is_named_and_no_hospital_for_it(tmp_path, scheme, opened):
    consortium = Consortium.make(tmp_path, MEMBERS, scheme=scheme)
    one = MisbehavingCoordinator(consortium.charter, consortium.clients)
    other = MisbehavingCoordinator(consortium.charter, consortium.clients, **opened)
    one.open([1, 2, 3])
    other.open([4, 5, 6])
    one.advertisements |= other.advertisements
    if "rounds" in opened and scheme == "mask":
        # There are other numbers of keys, so that nobody even deals.
        assert blamed(one.send_roster, [1]) == blamed(one.send_roster, [4]) == ("wrong-length", "the coordinator")
        return
    one.send_roster()
    assert blamed(one.send_deals, [1]) == blamed(one.send_deals, [4]) == ("other-roster", "the coordinator")


# --- Sums out of turn ----------------------------------------------------------------------------------------


def test_a_sum_that_lists_a_hospital_that_has_not_masked_is_refused_by_it(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    packed = bytes(coordinator.session.vector_bytes)
    coordinator.round = 1
    hospital = coordinator.clients[1]
    assert refusal(hospital.receive, coordinator.sum_message(ALL, packed)) == "never-masked"
    assert (hospital.state, hospital.round) == (ClientState.READY, 0)
    coordinator.round = 0
    coordinator.begin()
    assert refusal(hospital.receive, coordinator.sum_message(ALL, packed)) == "never-masked"
    assert hospital.state is ClientState.ASKED
    hospital.receive(sum_with_a_traitor(coordinator, WITHOUT_ONE, packed))
    assert hospital.take_sum().total.survivors.numbers == tuple(WITHOUT_ONE)


def test_what_a_sum_says_of_itself_is_judged_before_its_numbers_are_read(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    coordinator.begin()
    hospital, none = coordinator.clients[1], b""
    assert refusal(hospital.receive, coordinator.sum_message(ALL, none)) == "never-masked"
    assert refusal(hospital.receive, coordinator.sum_message(WITHOUT_ONE, none, step=2)) == "step-changed"
    assert refusal(hospital.receive, coordinator.sum_message(WITHOUT_ONE, none)) == "wrong-length"


def test_a_hospital_that_missed_the_beginning_takes_a_rounds_sum_once_and_answers_nothing_of_it(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    coordinator.round = 1
    message = sum_with_a_traitor(coordinator, WITHOUT_ONE, bytes(coordinator.session.vector_bytes))
    coordinator.clients[1].receive(message)
    assert refusal(coordinator.clients[1].receive, message) == "stale-round"
    coordinator.round = 0
    assert refusal(coordinator.begin, [1]) == "stale-round"
    assert refusal(coordinator.ask, 1, ALL) == "unexpected-message"


# --- The coordinator's own side ------------------------------------------------------------------------------


def to_agreeing(folder: Path, **changes: object) -> tuple[Consortium, dict, list[tuple[int, bytes]]]:
    consortium = Consortium.make(folder, MEMBERS, **changes)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    outbox = consortium.answer([(n, consortium.clients[n].mask(vectors[n], MODEL_DIGEST)) for n in WITHOUT_ONE])
    assert consortium.server.state is ServerState.AGREEING
    return consortium, vectors, consortium.deliver(outbox)


def test_with_everybody_there_is_no_proposal_and_no_share_of_a_mask_key_leaves(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    consortium.set_up()
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)))
    stages = [peek(message).stage for _, message in consortium.sent]
    assert stages.count(Stage.AGREE) == 0
    reader = MisbehavingCoordinator(consortium.charter, consortium.clients)
    for _, message in consortium.sent:
        if peek(message).stage is Stage.REVEAL:
            assert msgspec.msgpack.decode(reader.read(message).payload)[3] == b""


def test_with_a_drop_out_the_proposal_goes_to_the_survivors_and_t_agreements_are_enough(tmp_path):
    consortium, vectors, agreements = to_agreeing(tmp_path)
    assert [number for number, _ in agreements] == WITHOUT_ONE
    assert consortium.server.missing == set(WITHOUT_ONE)
    for sender, message in agreements[:3]:
        assert consortium.server.receive(sender, message) == []
    outbox = consortium.server.receive(*agreements[3])
    assert consortium.server.state is ServerState.UNMASKING
    assert [number for number, _ in outbox] == WITHOUT_ONE
    # The fifth comes late: it is in turn, and not needed.
    assert consortium.server.receive(*agreements[4]) == []
    reveals = consortium.deliver(outbox)
    for sender, message in reveals[:4]:
        outbox = consortium.server.receive(sender, message)
    assert consortium.server.state is ServerState.READY
    assert consortium.server.receive(*reveals[4]) == []
    consortium.deliver(outbox)
    ring = consortium.server.session.ring
    expected = integer_sum(consortium, vectors, WITHOUT_ONE)
    np.testing.assert_array_equal(ring.to_signed(consortium.clients[1].take_sum().total.vector), expected)


def test_too_few_agreements_end_the_round_and_the_same_hospitals_may_try_again(tmp_path):
    consortium, vectors, agreements = to_agreeing(tmp_path)
    for sender, message in agreements[:3]:
        consortium.server.receive(sender, message)
    consortium.deliver(consortium.server.timeout())
    assert consortium.server.fault.reason == "too-few-agreed"
    consortium.run_round(vectors)
    assert consortium.server.result.survivors.numbers == tuple(ALL)


@pytest.mark.parametrize("changes", [{"survivors": ALL}, {"round": 2}])
def test_an_agreement_to_something_else_is_refused_and_its_sender_named(tmp_path, changes):
    consortium, _, _ = to_agreeing(tmp_path)
    liar = MisbehavingCoordinator(consortium.charter, consortium.clients)
    liar.round = 1
    forged = liar.sign_for(3, changes.pop("survivors", WITHOUT_ONE), **changes)
    if "round" in changes:
        assert consortium.server.receive(3, forged) == []
        assert 3 in consortium.server.missing
        return
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(3, forged)
    assert (caught.value.reason, caught.value.culprit) == ("survivors-changed", "h3")


def test_an_agreement_of_a_hospital_that_is_not_in_the_sum_is_refused_and_it_is_named(tmp_path):
    """It is to the right survivors, and all of them would refuse it."""
    consortium, _, agreements = to_agreeing(tmp_path)
    liar = MisbehavingCoordinator(consortium.charter, consortium.clients)
    liar.round = 1
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(1, liar.sign_for(1, WITHOUT_ONE))
    assert (caught.value.reason, caught.value.culprit) == ("not-a-survivor", "h1")
    outbox = consortium.answer(agreements)
    consortium.deliver(consortium.answer(consortium.deliver(outbox)))
    assert consortium.server.result.survivors.numbers == tuple(WITHOUT_ONE)


@pytest.mark.parametrize("scheme", ["mask", "double-lock"])
def test_shares_of_a_hospital_that_is_not_in_the_sum_are_refused_and_it_is_named(tmp_path, scheme):
    consortium, _, agreements = to_agreeing(tmp_path, scheme=scheme)
    reveals = consortium.deliver(consortium.answer(agreements))
    theirs = MisbehavingCoordinator(consortium.charter, consortium.clients).read(reveals[0][1])
    sealer = Sealer(consortium.charter, 1, consortium.identities[0], 1)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(1, sealer.seal(Stage.REVEAL, msgspec.Raw(theirs.payload), round=1))
    assert (caught.value.reason, caught.value.culprit) == ("not-a-survivor", "h1")
    consortium.deliver(consortium.answer(reveals))
    assert consortium.clients[2].take_sum().total.survivors.numbers == tuple(WITHOUT_ONE)


def test_a_vector_of_a_round_that_was_begun_without_its_sender_is_refused_and_it_is_named(tmp_path):
    """With it the step would be summed over others than those who gave shares, who would refuse that."""
    consortium = Consortium.make(tmp_path, MEMBERS)
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.set_up()
    begin = consortium.server.begin(1, tuple(WITHOUT_ONE))
    assert [number for number, _ in begin] == WITHOUT_ONE
    consortium.clients[1].receive(begin[0][1])
    consortium.deliver(begin)
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(1, consortium.clients[1].mask(vectors[1], MODEL_DIGEST))
    assert (caught.value.reason, caught.value.culprit) == ("not-asked", "h1")
    outbox = consortium.answer(consortium.mask(vectors))
    consortium.deliver(consortium.answer(consortium.deliver(consortium.answer(consortium.deliver(outbox)))))
    assert consortium.server.result.survivors.numbers == tuple(WITHOUT_ONE)


def test_dealing_that_is_incomplete_is_given_up_and_opened_again_with_those_who_dealt(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    server = consortium.server
    outbox = consortium.answer(consortium.deliver(server.open()))
    deals = consortium.deliver(outbox, silent={5})
    # Hospital 4 dealt to all but one.
    deals = [(sender, message) for sender, message in deals if (sender, peek(message).recipient) != (4, 1)]
    consortium.deliver(consortium.answer(deals))
    assert (server.state, server.fault.reason) == (ServerState.CLOSED, "incomplete-dealing")
    assert server.answering == {1, 2, 3, 6}
    session = Session(consortium.charter, 2, server.session.purpose, 1, server.session.rounds)
    consortium.server = MaskingServer(session, server.answering)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.run_round(vectors)
    assert consortium.server.result.survivors.numbers == (1, 2, 3, 6)


def test_a_hospital_that_is_no_longer_taking_part_is_told_so_and_accused_of_nothing(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    replies = consortium.deliver(consortium.server.open())
    for sender, message in replies[1:]:
        consortium.server.receive(sender, message)
    consortium.server.timeout()
    with pytest.raises(RemoteProtocolError) as caught:
        consortium.server.receive(*replies[0])
    assert (caught.value.reason, caught.value.culprit) == ("not-taking-part", None)


def test_a_key_of_low_order_is_refused_when_it_is_advertised(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    replies = dict(consortium.deliver(consortium.server.open()))
    reader = MisbehavingCoordinator(consortium.charter, consortium.clients)
    honest = msgspec.msgpack.decode(reader.read(replies[3]).payload, type=Advertise)
    sealer = Sealer(consortium.charter, 3, make_identities(MEMBERS)[2], 1)
    for weak in (
        msgspec.structs.replace(honest, share_key=bytes(32)),
        msgspec.structs.replace(honest, mask_keys=honest.mask_keys[:-32] + bytes(32)),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            consortium.server.receive(3, sealer.seal(Stage.ADVERTISE, weak))
        assert (caught.value.reason, caught.value.culprit) == ("weak-key", "h3")


def test_messages_of_the_set_up_belong_to_no_round(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    replies = dict(consortium.deliver(consortium.server.open()))
    reader = MisbehavingCoordinator(consortium.charter, consortium.clients)
    honest = msgspec.msgpack.decode(reader.read(replies[3]).payload, type=Advertise)
    sealer = Sealer(consortium.charter, 3, make_identities(MEMBERS)[2], 1)
    assert refusal(consortium.server.receive, 3, sealer.seal(Stage.ADVERTISE, honest, round=1)) == "other-round"


def test_a_proposal_and_a_request_are_bounded(masked):
    coordinator, _ = masked
    for stage, payload in (
        (Stage.PROPOSE, Propose([1] * 10_000)),
        (Stage.UNMASK, Unmask(ALL, bytes(32), [Agreement(1, 0, bytes(64))] * 10_000)),
    ):
        message = coordinator.forge(stage, payload, round_number=1)
        assert refusal(coordinator.clients[1].receive, message) == "oversized"


def test_each_message_is_held_to_its_own_stage_however_large_others_in_turn_may_be(tmp_path):
    model = Model(digest=MODEL_DIGEST, parameters=5000)
    consortium = Consortium.make(tmp_path, MEMBERS, model=model)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    hospital, session = consortium.clients[1], consortium.server.session
    hospital.mask(session.ring.zeros(session.length), MODEL_DIGEST)
    message = Sealer(consortium.charter, COORDINATOR, None, 1).seal(Stage.PROPOSE, Propose([1] * 900), round=1)
    assert not is_too_large(message, payload_limit(session, Stage.SUM))
    assert refusal(hospital.receive, message) == "oversized"


def test_no_list_is_longer_than_a_consortium_may_be():
    assert len(decode(memoryview(msgspec.msgpack.encode(Propose([1] * 1000))), Propose).survivors) == 1000
    assert refusal(decode, memoryview(msgspec.msgpack.encode(Propose([1] * 1001))), Propose) == "malformed"
