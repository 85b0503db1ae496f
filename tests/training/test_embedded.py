"""The engine that has the whole consortium in one process: what it delivers, what it loses, in which order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from secagg.errors import InputError, SecaggError
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine, parse_drop_out

NUMBERS = {"cleveland": 1, "st.mary-2": 2, "va": 3}


@dataclass
class Echo:
    replies: int = 1
    heard: list[bytes] = field(default_factory=list)

    def receive(self, message):
        self.heard.append(message)
        return [message + bytes([index]) for index in range(self.replies)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cleveland:3", DropOut(1, 3, Phase.MASK)),
        ("st.mary-2:1:reveal", DropOut(2, 1, Phase.REVEAL)),
        ("va:12:mask", DropOut(3, 12, Phase.MASK)),
        ("va:2:apply", DropOut(3, 2, Phase.APPLY)),
    ],
)
def test_a_drop_out_is_a_name_a_round_and_perhaps_a_phase(text, expected):
    assert parse_drop_out(text, NUMBERS) == expected


@pytest.mark.parametrize(
    "text",
    ["", "va", "va:", "va:x", "nobody:3", "va:3:sleeping", "va:3:mask:more", ":3", "va:1.5", "VA:3", "va:0", "va:-3"],
)
def test_what_is_no_drop_out_is_refused_with_an_example(text):
    with pytest.raises(InputError) as caught:
        parse_drop_out(text, NUMBERS)
    assert caught.value.reason == "bad-drop-out"
    assert "cleveland:3" in caught.value.remedy


def test_answers_come_in_the_order_of_the_outbox_with_their_senders():
    parties = {1: Echo(), 2: Echo(replies=2), 3: Echo(replies=0)}
    exchange = EmbeddedEngine(parties).exchange(Phase.MASK, [(1, b"a"), (2, b"b"), (3, b"c")], 1)
    assert exchange.inbox == ((1, b"a\0"), (2, b"b\0"), (2, b"b\1"))
    assert exchange.dropped == frozenset()


def test_who_has_dropped_out_gets_nothing_in_that_phase_of_that_round_and_all_in_others():
    parties = {1: Echo(), 2: Echo()}
    engine = EmbeddedEngine(parties, [DropOut(2, 3, Phase.REVEAL)])
    outbox = [(1, b"to 1"), (2, b"to 2")]
    exchange = engine.exchange(Phase.REVEAL, outbox, 3)
    assert (exchange.inbox, exchange.dropped) == (((1, b"to 1\0"),), frozenset({2}))
    assert parties[2].heard == []
    for phase, number in ((Phase.MASK, 3), (Phase.REVEAL, 2), (Phase.REVEAL, 4)):
        assert engine.exchange(phase, outbox, number).dropped == frozenset()
    assert parties[2].heard == [b"to 2"] * 3


def test_several_messages_to_one_party_arrive_in_order():
    party = Echo()
    EmbeddedEngine({1: party}).exchange(Phase.QUERY, [(1, b"first"), (1, b"second")], 0)
    assert party.heard == [b"first", b"second"]


def test_progress_is_told_of_those_who_were_reached():
    told = []
    engine = EmbeddedEngine({1: Echo(), 2: Echo()}, [DropOut(1, 1, Phase.MASK)], lambda *what: told.append(what))
    engine.exchange(Phase.MASK, [(1, b""), (2, b"")], 1)
    assert told == [(Phase.MASK, 2)]


@dataclass
class Failing:
    error: Exception

    def receive(self, message):
        raise self.error


def test_why_a_party_could_not_answer_is_told_and_no_answer_of_it():
    failed, answered = [], []
    error = InputError("unwritable", "No space is left.")
    parties = {1: Echo(), 2: Failing(error)}
    engine = EmbeddedEngine(
        parties, on_answer=lambda _phase, member: answered.append(member), on_failure=lambda *what: failed.append(what)
    )
    assert engine.exchange(Phase.MASK, [(1, b"a"), (2, b"b")], 1).dropped == {2}
    assert (failed, answered) == ([(2, error)], [1])


def test_what_is_no_failure_of_a_party_but_of_this_process_is_raised():
    error = RuntimeError("a fault")
    assert not isinstance(error, SecaggError)
    with pytest.raises(RuntimeError, match="a fault"):
        EmbeddedEngine({1: Failing(error)}).exchange(Phase.MASK, [(1, b"a")], 1)
