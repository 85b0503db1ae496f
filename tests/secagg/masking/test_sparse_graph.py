"""Where hospitals mask with a few others only: the sums stay exact, and what must not be had cannot be had."""

from __future__ import annotations

import os
from collections.abc import Collection

import msgspec
import numpy as np
import pytest

from secagg.charter import NeighbourGraph
from secagg.charter.thresholds import smallest_threshold
from secagg.errors import InputError
from secagg.graph import Graph, smallest_graph
from secagg.masking import MaskingClient, MaskingServer, Session, dealing, neighbours
from secagg.masking.agreement import sample_size
from secagg.masking.dealt import Dealt
from secagg.masking.messages import Advertise, Agreement, Deals, Roster, Unmask
from secagg.masking.neighbours import draw_holders
from secagg.masking.shamir import random_secret
from secagg.masking.states import ClientState, ServerState
from secagg.transcript import audit_epoch
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from secagg.wire.envelope import peek
from tests.support.consortium import (
    MODEL_DIGEST,
    Build,
    Consortium,
    integer_sum,
    make_charter,
    make_identities,
    sign_by_all,
)
from tests.support.errors import reason_of

MEMBERS = 40
COLLUDING = 1
DROPPED = 4
GRAPH = smallest_graph(MEMBERS, COLLUDING, DROPPED)
NEIGHBOURS = NeighbourGraph.of(GRAPH)


def sparse(folder, *, client: type[MaskingClient] = MaskingClient, **changes: object) -> Consortium:
    return Consortium.make(folder, MEMBERS, Build(client=client), graph=NEIGHBOURS, max_colluding=COLLUDING, **changes)


@pytest.fixture
def consortium(tmp_path) -> Consortium:
    made = sparse(tmp_path)
    made.set_up()
    return made


def check_sum(consortium: Consortium, vectors: dict, survivors: Collection[int]) -> None:
    ring = consortium.server.session.ring
    expected = integer_sum(consortium, vectors, survivors)
    assert set(consortium.server.result.survivors.numbers) == set(survivors)
    np.testing.assert_array_equal(ring.to_signed(consortium.server.result.vector), expected)
    for number in survivors:
        np.testing.assert_array_equal(ring.to_signed(consortium.clients[number].take_sum().total.vector), expected)


# --- Sums ----------------------------------------------------------------------------------------------------


def test_a_round_of_all_and_a_round_with_drop_outs_give_the_exact_sum(consortium):
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.run_round(vectors)
    check_sum(consortium, vectors, consortium.clients)
    gone = {3, 17, 25, 40}
    consortium.run_round(vectors, mask_silent=gone, step=2)
    check_sum(consortium, vectors, set(consortium.clients) - gone)


def test_who_is_drawn_by_nobody_takes_part_all_the_same(tmp_path, monkeypatch):
    """Among few hospitals that happens by chance; the first of all is dealt nothing then, not even for the tag key."""
    monkeypatch.setattr(neighbours, "draw", lambda items, count, _randomness: list(items)[-count:])
    consortium = sparse(tmp_path)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    gone = {2, 40}
    consortium.run_round(vectors, mask_silent=gone)
    check_sum(consortium, vectors, set(consortium.clients) - gone)
    assert not consortium.server._set_up.dealt.held_by[1]


class FalseInTheFirstRound(MaskingClient):
    """Deals shares of another seed than it committed to, for the first round of an epoch."""

    def _deal(self, payload: Roster) -> list[bytes]:
        secrets = self._current().secrets
        advertised = secrets.advertisement()
        secrets.advertisement = lambda: advertised
        honest, secrets.rounds[0] = secrets.rounds[0], (random_secret(os.urandom), *secrets.rounds[0][1:])
        replies = super()._deal(payload)
        secrets.rounds[0] = honest
        return replies


def test_a_step_that_one_dealt_wrongly_for_is_summed_in_a_later_round_of_its_own_epoch(tmp_path):
    consortium = sparse(tmp_path)
    consortium.clients[2].__class__ = FalseInTheFirstRound
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.run_round(vectors)
    assert (consortium.server.fault.reason, consortium.server.fault.culprit) == ("wrong-dealing", "h2")
    consortium.run_round(vectors)
    check_sum(consortium, vectors, consortium.clients)


@pytest.mark.parametrize("seed", range(6))
def test_any_pattern_of_drop_outs_gives_the_exact_sum_or_none(tmp_path, seed):
    generator = np.random.default_rng(seed)

    def some(share: float) -> set[int]:
        return {number for number in range(1, MEMBERS + 1) if generator.random() < share}

    consortium = sparse(tmp_path)
    vectors = consortium.random_vectors(generator)
    consortium.set_up(some(0.1), some(0.05))
    if consortium.server.state is not ServerState.READY:
        assert consortium.server.fault is not None
        return
    masked = consortium.server.participants - some(0.1)
    consortium.run_round(vectors, set(consortium.clients) - masked, some(0.1), some(0.1))
    if consortium.server.result is None:
        assert consortium.server.fault.reason in ("too-few-masked", "too-few-agreed", "too-few-revealed")
    else:
        assert set(consortium.server.result.survivors.numbers) == masked
        ring = consortium.server.session.ring
        expected = integer_sum(consortium, vectors, masked)
        np.testing.assert_array_equal(ring.to_signed(consortium.server.result.vector), expected)


def test_a_hospital_deals_to_the_holders_it_drew_and_the_first_of_all_the_tag_key_to_everybody(tmp_path):
    consortium = sparse(tmp_path)
    outbox = consortium.answer(consortium.deliver(consortium.server.open()))
    deals = consortium.deliver(outbox)
    for number, client in consortium.clients.items():
        recipients = {peek(message).recipient for sender, message in deals if sender == number}
        assert recipients >= set(client._epoch.secrets.holders)
        assert len(recipients) == (MEMBERS - 1 if number == 1 else GRAPH.degree)


def test_a_hospital_sees_the_keys_of_those_it_has_to_do_with_and_no_others(consortium):
    for number, client in consortium.clients.items():
        related = {1, number, *client._epoch.secrets.holders, *client._epoch.held}
        if number != 1:
            assert set(client._epoch.roster) == related


def test_who_takes_no_part_is_not_dealt_to_and_the_others_go_on(tmp_path):
    consortium = sparse(tmp_path)
    consortium.set_up(advertise_silent={1, 2})
    vectors = consortium.random_vectors(np.random.default_rng(2))
    consortium.run_round(vectors, mask_silent={1, 2, 5})
    check_sum(consortium, vectors, set(consortium.clients) - {1, 2, 5})


def test_a_hospital_too_few_of_whose_holders_take_part_is_left_out(tmp_path):
    # One graph for certain: who is left out may be missed by others in turn.
    consortium = sparse(tmp_path, randomness=lambda number: np.random.default_rng(number).bytes)
    replies = consortium.deliver(consortium.server.open())
    drawn = consortium.clients[7]._epoch.secrets.holders
    silent = set(drawn[: GRAPH.degree - GRAPH.threshold + 1])
    consortium.answer([(sender, reply) for sender, reply in replies if sender not in silent])
    assert consortium.server.state is ServerState.DEALING
    assert 7 not in consortium.server.participants


FEW = set(range(MEMBERS - GRAPH.degree + GRAPH.threshold, MEMBERS + 1))


def seeded(number: int):
    """The same graph every time: in some, an honest hospital has drawn many of the few by chance."""
    return np.random.default_rng(number).bytes


def test_limit_a_few_hospitals_that_one_names_as_its_holders_end_every_round_of_a_step(tmp_path, monkeypatch):
    named = sorted({*range(3, 3 + GRAPH.degree - len(FEW)), *FEW})

    def drawn(session, owner, randomness):
        return named if owner == 2 else draw_holders(session, owner, randomness)

    monkeypatch.setattr(dealing, "draw_holders", drawn)
    consortium = sparse(tmp_path, randomness=seeded)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    for _ in range(2):
        consortium.run_round(vectors, reveal_silent=FEW)
        assert consortium.server.fault.reason == "too-few-revealed"
    assert len(FEW) + 1 < MEMBERS - consortium.server.session.threshold + 1


def test_control_where_all_have_drawn_their_holders_the_same_few_end_none(tmp_path):
    consortium = sparse(tmp_path, randomness=seeded)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.run_round(vectors, reveal_silent=FEW)
    assert consortium.server.result is not None


def test_an_epoch_is_run_again_from_its_transcript(tmp_path):
    consortium, events = sparse(tmp_path), []
    consortium.server = MaskingServer(consortium.server.session, None, events.append)
    consortium.set_up()
    consortium.run_round(consortium.random_vectors(np.random.default_rng(2)), mask_silent={3})
    audit = audit_epoch(events, consortium.charter)
    assert audit.findings == []
    assert [len(record.survivors) for record in audit.rounds] == [MEMBERS - 1]


# --- The draw ------------------------------------------------------------------------------------------------


def test_holders_are_drawn_uniformly_from_the_others():
    session = consortium_session()
    counts = np.zeros(MEMBERS + 1)
    generator = np.random.default_rng(5)
    draws = 3000
    for _ in range(draws):
        drawn = draw_holders(session, 9, generator.bytes)
        assert len(set(drawn)) == GRAPH.degree
        assert drawn == sorted(drawn)
        counts[drawn] += 1
    assert counts[0] == counts[9] == 0
    others = np.delete(counts, [0, 9])
    chance = GRAPH.degree / (MEMBERS - 1)
    # Draws without replacement: each count is binomial, and their squares add up to a chi-square but for this factor.
    statistic = np.sum((others - draws * chance) ** 2) / (draws * chance * (1 - chance)) * (MEMBERS - 2) / (MEMBERS - 1)
    assert statistic < 75  # the 99.9th percentile of chi-square with 38 degrees of freedom is 70.7


def consortium_session() -> Session:
    identities = make_identities(MEMBERS)
    charter = sign_by_all(make_charter(identities, graph=NEIGHBOURS), identities)
    return Session(charter, 1, "training", 1, 3)


def test_every_epoch_has_a_graph_of_its_own(tmp_path):
    consortium = sparse(tmp_path)
    consortium.set_up()
    first = [client._epoch.secrets.holders for client in consortium.clients.values()]
    old = consortium.server.session
    consortium.server = MaskingServer(Session(consortium.charter, 2, old.purpose, old.first_round, old.rounds))
    consortium.set_up()
    assert first != [client._epoch.secrets.holders for client in consortium.clients.values()]


@pytest.mark.parametrize("holders", [[], [2], list(range(2, 3 + GRAPH.degree)), [1, *range(3, 2 + GRAPH.degree)]])
def test_other_holders_than_the_charter_lets_a_hospital_draw_are_refused(tmp_path, holders):
    consortium = sparse(tmp_path)
    consortium.server.open()
    identity = make_identities(MEMBERS)[0]
    session = consortium.server.session
    payload = Advertise(bytes(32), bytes(32 * session.rounds), bytes(32 * session.rounds), bytes(32), holders)
    message = Sealer(consortium.charter, 1, identity, 1).seal(Stage.ADVERTISE, payload)
    assert reason_of(consortium.server.receive, 1, message) == "bad-holders"


# --- The charter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (Graph(GRAPH.degree, GRAPH.threshold - 2), "unsafe-graph"),
        (Graph(5, 4), "unsafe-graph"),
        (Graph(MEMBERS, GRAPH.threshold), "graph-contradicts"),
        (Graph(GRAPH.degree, GRAPH.degree + 1), "graph-contradicts"),
        (Graph(GRAPH.degree, 0), "graph-contradicts"),
        (Graph(0, 3), "graph-contradicts"),
    ],
)
def test_a_graph_that_does_not_hide_is_not_signed(graph, reason):
    with pytest.raises(InputError) as caught:
        make_charter(make_identities(MEMBERS), graph=NeighbourGraph.of(graph))
    assert caught.value.reason == reason
    assert caught.value.remedy


# --- A coordinator that lies ---------------------------------------------------------------------------------


def agreed_round(consortium: Consortium, vectors: dict) -> list[tuple[int, bytes]]:
    """A round with a drop-out, up to the requests to unmask."""
    consortium.deliver(consortium.server.begin(1))
    masked = [(n, consortium.clients[n].mask(vectors[n], MODEL_DIGEST)) for n in consortium.clients if n != 5]
    outbox = consortium.answer(masked)
    return consortium.answer(consortium.deliver(outbox))


def with_forged_agreements(consortium: Consortium, message: bytes, true: int) -> bytes:
    """The same request, in which all agreements but the first ``true`` are forged."""
    envelope = open_envelope(message, consortium.charter, 1 << 20)
    unmask = msgspec.msgpack.decode(envelope.payload, type=Unmask)
    forged = [
        agreement if index < true else Agreement(agreement.sender, agreement.sequence, bytes(64))
        for index, agreement in enumerate(unmask.agreements)
    ]
    payload = Unmask(unmask.survivors, unmask.inputs_digest, forged)
    return Sealer(consortium.charter, COORDINATOR, None, 1).seal(Stage.UNMASK, payload, round=1)


def test_agreements_that_are_forged_are_found_by_every_hospital_though_it_checks_some(consortium):
    outbox = agreed_round(consortium, consortium.random_vectors(np.random.default_rng(4)))
    threshold = consortium.server.session.threshold
    assert sample_size(MEMBERS - 1, threshold) < MEMBERS - 1
    for number, message in outbox:
        forged = with_forged_agreements(consortium, message, threshold - 1)
        assert reason_of(consortium.clients[number].receive, forged) == "forged-agreement"
        assert consortium.clients[number].state is ClientState.READY
        assert reason_of(consortium.clients[number].receive, message) == "unexpected-message"


@pytest.mark.parametrize(("shown", "threshold"), [(36, 21), (180, 111), (900, 551), (551, 551), (60, 31)])
def test_a_sample_misses_too_few_true_agreements_with_less_than_two_to_the_minus_forty(shown, threshold):
    size = sample_size(shown, threshold)

    def missed(drawn: int) -> float:
        return float(np.prod([(threshold - 1 - i) / (shown - i) for i in range(drawn)]))

    assert missed(size) <= 2.0**-40
    assert size == 0 or missed(size - 1) > 2.0**-40


def test_the_work_of_checking_does_not_grow_with_the_consortium():
    sizes = [
        sample_size(members - members // 10, smallest_threshold(members, members // 10)) for members in (200, 500, 1000)
    ]
    assert max(sizes) < 60


def shown_fewer(consortium: Consortium, message: bytes, hidden: Collection[int], gone: Collection[int] = ()) -> bytes:
    """The same roster without the keys of ``hidden``, and without ``gone`` among the participants."""
    header = peek(message)
    roster = msgspec.msgpack.decode(open_envelope(message, consortium.charter, 1 << 22).payload, type=Roster)
    fewer = Roster(
        [number for number in roster.participants if number not in gone],
        [ad for ad in roster.advertisements if peek(ad).sender not in hidden],
    )
    return Sealer(consortium.charter, COORDINATOR, None, 1).seal(Stage.ROSTER, fewer, recipient=header.recipient)


def test_a_hospital_masks_with_every_holder_of_its_shares_whatever_deals_are_withheld(tmp_path):
    """A holder that it did not mask with could open it: nothing would tie them together."""
    consortium = sparse(tmp_path)
    outbox = dict(consortium.answer(consortium.deliver(consortium.server.open())))
    victim = consortium.clients[7]
    holders = set(victim._epoch.secrets.holders)
    drew = {n for n, one in consortium.clients.items() if 7 in one._epoch.secrets.holders} - holders - {1}
    # Who drew it and holds nothing of it can be hidden from it: it does not miss their deals.
    outbox[7] = shown_fewer(consortium, outbox[7], drew)
    deals = dict(consortium.answer(consortium.deliver(list(outbox.items()))))
    payload = msgspec.msgpack.decode(open_envelope(deals[7], consortium.charter, 1 << 22).payload, type=Deals)
    sealer = Sealer(consortium.charter, COORDINATOR, None, 1)
    for hidden, refused in ((drew | {min(holders)}, True), (drew, False)):
        shown = Deals([deal for deal in payload.deals if peek(deal).sender not in hidden])
        message = sealer.seal(Stage.DEALS, shown, recipient=7)
        if refused and 7 in consortium.clients[min(holders)]._epoch.secrets.holders:
            assert reason_of(victim.receive, message) == "deals-missing"
        elif not refused:
            victim.receive(message)
    peers = holders | set(victim._epoch.held)
    assert not peers & drew
    assert len(victim._epoch.mask_keys(1, MODEL_DIGEST)) == 1 + len(peers)


def test_a_roster_without_the_keys_of_a_holder_is_refused(tmp_path):
    consortium = sparse(tmp_path)
    outbox = dict(consortium.answer(consortium.deliver(consortium.server.open())))
    holder = consortium.clients[7]._epoch.secrets.holders[-1]
    fewer = shown_fewer(consortium, outbox[7], {holder})
    assert reason_of(consortium.clients[7].receive, fewer) == "keys-missing"


def test_different_participants_for_two_hospitals_are_found_out_when_shares_are_exchanged(tmp_path, monkeypatch):
    # A coordinator that lies about the roster passes on what was dealt on it.
    monkeypatch.setattr(Dealt, "_require_roster", lambda *_: None)
    consortium = sparse(tmp_path)
    outbox = dict(consortium.answer(consortium.deliver(consortium.server.open())))
    related = {1, 7, *consortium.clients[7]._epoch.secrets.holders}
    related |= {n for n, one in consortium.clients.items() if 7 in one._epoch.secrets.holders}
    stranger = next(number for number in consortium.clients if number not in related)
    outbox[7] = shown_fewer(consortium, outbox[7], {stranger}, gone={stranger})
    deals = dict(consortium.answer(consortium.deliver(list(outbox.items()))))
    assert reason_of(consortium.clients[7].receive, deals[7]) == "other-roster"
