"""What every engine promises, engine by engine: see `Engine` for the promises, `conftest` for the engines."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.scripted import REPORT, Fault, Order, answer, stretch
from tests.training.engines.conftest import MEMBERS, NOBODY
from training.engines.base import Exchange, Phase

EVERYBODY = frozenset(MEMBERS)


def ask(engine, *outbox, phase=Phase.MASK) -> Exchange:
    return engine.exchange(phase, list(outbox), 1)


def replies_of(exchange, member):
    return [reply for sender, reply in exchange.inbox if sender == member]


def heard(engine, member):
    """Digests of all that a party was ever sent, in its order."""
    return replies_of(ask(engine, (member, REPORT)), member)


def digests(*messages):
    return [hashlib.sha256(message).digest() for message in messages]


def failing(fault):
    return Order(replies=[b"never"], fault=fault).to_bytes()


# What is delivered


def test_each_message_reaches_its_recipient_and_each_answer_has_its_sender(engine):
    outbox = [(member, answer(b"from %d" % member)) for member in MEMBERS]
    exchange = ask(engine, *outbox)
    assert sorted(exchange.inbox) == [(member, b"from %d" % member) for member in MEMBERS]
    assert exchange.dropped == frozenset()
    for member, message in outbox:
        assert heard(engine, member) == digests(message)


def test_only_the_recipient_hears_of_a_message(engine):
    ask(engine, (2, answer(b"yes")))
    assert (heard(engine, 1), heard(engine, 3)) == ([], [])


def test_several_messages_to_one_recipient_arrive_in_their_order_and_so_do_the_answers(engine):
    first, second, third = (answer(text, text.upper()) for text in (b"a", b"b", b"c"))
    other = answer(b"other")
    exchange = ask(engine, (1, first), (2, other), (1, second), (1, third))
    assert replies_of(exchange, 1) == [b"a", b"A", b"b", b"B", b"c", b"C"]
    assert replies_of(exchange, 2) == [b"other"]
    assert heard(engine, 1) == digests(first, second, third)


@pytest.mark.parametrize("replies", [[], [b""], [b"", b"one", b""], [bytes([number]) for number in range(200)]])
def test_a_party_may_answer_nothing_something_empty_or_several_messages(engine, replies):
    exchange = ask(engine, (1, answer(*replies)), (3, answer(b"3")))
    assert replies_of(exchange, 1) == replies
    assert replies_of(exchange, 3) == [b"3"]
    assert exchange.dropped == frozenset()


def test_an_empty_message_is_a_message(engine):
    exchange = ask(engine, (1, b""), (1, answer(b"next")), (2, b""))
    assert (replies_of(exchange, 1), replies_of(exchange, 2)) == ([b"", b"next"], [b""])
    assert heard(engine, 2) == digests(b"")


def test_an_empty_outbox_brings_nothing(engine):
    assert ask(engine) == Exchange((), frozenset())


SIZES = [1, 255, 256, 65_535, 65_536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20]


def test_bytes_arrive_unchanged_both_ways_whatever_their_number(engine):
    outbox = [(1, Order(size=size, padding=stretch(size)[:size]).to_bytes()) for size in SIZES]
    exchange = ask(engine, *outbox)
    assert digests(*replies_of(exchange, 1)) == digests(*(stretch(size)[:size] for size in SIZES))
    assert heard(engine, 1) == digests(*(message for _, message in outbox))


def assert_carries(engine, size):
    message = Order(size=size, padding=stretch(size)[:size]).to_bytes()
    exchange = ask(engine, *((member, message) for member in MEMBERS))
    assert exchange.dropped == frozenset()
    for member in MEMBERS:
        assert digests(*replies_of(exchange, member)) == digests(stretch(size)[:size])
        assert heard(engine, member) == digests(message)


def test_large_messages_travel_to_all_and_back(engine):
    assert_carries(engine, 6_000_000)


@pytest.mark.slow
def test_an_update_of_25_million_parameters_travels_to_all_and_back(engine):
    assert_carries(engine, 75_000_000)


def test_nothing_is_delivered_twice(engine):
    messages = [answer(b"%d" % number) for number in range(20)]
    for message in messages:
        exchange = ask(engine, *((member, message) for member in MEMBERS))
        assert len(exchange.inbox) == len(MEMBERS)
    for member in MEMBERS:
        assert heard(engine, member) == digests(*messages)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_carried_alike(engine, phase):
    exchange = ask(engine, (1, answer(b"1")), (2, answer(b"2")), phase=phase)
    assert (sorted(exchange.inbox), exchange.dropped) == ([(1, b"1"), (2, b"2")], frozenset())


# Who drops out


def test_who_is_not_there_has_dropped_and_the_others_answer(engine):
    exchange = ask(engine, (NOBODY, answer(b"?")), (1, answer(b"1")), (2, answer(b"2")))
    assert exchange.dropped == {NOBODY}
    assert sorted(exchange.inbox) == [(1, b"1"), (2, b"2")]


def test_who_was_sent_nothing_has_not_dropped(engine):
    assert ask(engine, (NOBODY, answer(b"?"))).dropped == {NOBODY}
    assert ask(engine, (1, answer(b"1"))).dropped == frozenset()


def test_who_fails_has_dropped_and_is_asked_again_in_the_next_exchange(engine):
    exchange = ask(engine, (1, answer(b"1")), (2, failing(Fault.REFUSE)), (3, answer(b"3")))
    assert exchange.dropped == {2}
    assert sorted(exchange.inbox) == [(1, b"1"), (3, b"3")]
    assert ask(engine, (2, answer(b"again"))) == Exchange(((2, b"again"),), frozenset())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_who_fails_at_one_of_several_messages_has_dropped_with_all_its_answers(engine, place):
    messages = [answer(b"first"), answer(b"second")]
    messages.insert(place, failing(Fault.REFUSE))
    exchange = ask(engine, *((2, message) for message in messages), (3, answer(b"3")))
    assert exchange == Exchange(((3, b"3"),), frozenset({2}))


def test_who_dies_while_it_answers_has_dropped_for_good_and_the_others_answer(parties):
    engine = parties.soonest
    exchange = ask(engine, (1, answer(b"1")), (2, failing(Fault.DIE)), (3, answer(b"3")))
    assert exchange.dropped == {2}
    assert sorted(exchange.inbox) == [(1, b"1"), (3, b"3")]
    exchange = ask(engine, *((member, answer(b"on")) for member in MEMBERS))
    assert exchange.dropped == {2}
    assert sorted(exchange.inbox) == [(1, b"on"), (3, b"on")]


def test_who_has_come_back_answers_again(parties):
    ask(parties.soonest, (2, failing(Fault.DIE)))
    parties.revive()
    assert ask(parties.engine, (2, answer(b"back"))) == Exchange(((2, b"back"),), frozenset())


def test_where_everybody_drops_out_there_is_an_exchange_all_the_same(engine):
    exchange = ask(engine, *((member, failing(Fault.REFUSE)) for member in (*MEMBERS, NOBODY)))
    assert exchange == Exchange((), EVERYBODY | {NOBODY})


def test_who_is_too_late_has_dropped_and_its_answer_is_in_no_later_exchange(parties, tmp_path):
    hurried = parties.hurried
    if hurried is None:
        pytest.skip("nobody is too late for this engine")
    gate = tmp_path / "open"
    slow, soon = (Order(replies=[text], until=str(gate)).to_bytes() for text in (b"late", b"late too"))
    exchange = ask(hurried, (1, answer(b"1")), (2, slow), (3, answer(b"3")))
    assert exchange.dropped == {2}
    assert sorted(exchange.inbox) == [(1, b"1"), (3, b"3")]
    exchange = ask(hurried, (1, answer(b"on")), (2, soon))
    assert (exchange.inbox, exchange.dropped) == (((1, b"on"),), {2})
    gate.touch()
    # Its late answer travels before this one; what was to be sent to it while it was at work was not sent.
    exchange = ask(parties.engine, (2, answer(b"in time")), (3, answer(b"3")))
    assert sorted(exchange.inbox) == [(2, b"in time"), (3, b"3")]
    assert heard(parties.engine, 2) == digests(slow, answer(b"in time"))
    assert ask(hurried, (2, answer(b"as before"))) == Exchange(((2, b"as before"),), frozenset())
