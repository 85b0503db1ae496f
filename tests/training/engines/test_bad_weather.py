"""A whole consortium over a network that loses, delays, repeats and reorders: real hospitals, keys, files and ledgers.

However bad the weather, a hospital answers nothing twice, no secret can be put together that must not be, no ledger
says less than left, and all who took part end with one model: at once, or once the weather is better.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest

from secagg.errors import ProtocolError
from secagg.release.dsse import read_envelope, verify_signatures
from secagg.release.statement import read_statement
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.secagg.masking.schedules.oracle import Oracle
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK, choices_of, tabular_spec
from tests.support.unreliable import UnreliableEngine, Weather
from training.engines.base import Phase
from training.engines.embedded import EmbeddedEngine

HOSPITALS = 5
STEPS = 3
SET_UP = frozenset({Phase.QUERY, Phase.CATCH_UP, Phase.ADVERTISE, Phase.DEAL, Phase.READY})
WEATHERS = {
    "rounds in a drizzle": Weather(lost=0.02, late=0.02, repeated=0.1, shuffled=True, sheltered=SET_UP),
    "rounds in a storm": Weather(lost=0.06, late=0.06, repeated=0.2, shuffled=True, sheltered=SET_UP),
    "a storm": Weather(lost=0.06, late=0.06, repeated=0.2, shuffled=True),
}
TRIES = 3
# A budget for more rounds than the charter asks for: a round that the weather spoiled has been paid for.
RUNS = {
    "masked": (choices_of(), tabular_spec()),
    "private": (PRIVATE_CHOICES, PRIVATE_TASK),
}
FEW, MANY = range(1), range(1, 40)


class Watched:
    """A hospital under the eyes of the oracle: every reply counts as sent, whether it arrives or not."""

    def __init__(self, hospital, oracle):
        self.hospital = hospital
        self.oracle = oracle
        self.masked = set()

    def receive(self, message):
        replies = self.hospital.receive(message)
        self.oracle.look_at(self.hospital._client)
        for reply in replies:
            self.oracle.left(reply)
            if peek(reply).stage is Stage.MASKED:
                self.masked.add(peek(reply).round)
        return replies


def with_room(policy):
    return msgspec.structs.replace(policy, maximum_epsilon=1000.0) if policy.maximum_epsilon else policy


@pytest.fixture
def watched(open_ward):
    def watch(run):
        choices, spec = RUNS[run]
        ward = open_ward(HOSPITALS, choices, spec, policy=with_room)
        oracle = Oracle(ward.charter, ward.charter.charter.threshold)
        return ward, oracle, {number: Watched(hospital, oracle) for number, hospital in ward.hospitals.items()}

    return watch


def released(coordinator):
    """The release, or None where the run stopped with a reason."""
    try:
        return coordinator.run()
    except ProtocolError:
        return None


def assert_nothing_is_off_the_books(ward, parties):
    for number, party in parties.items():
        budget = ward.hospitals[number]._budget
        assert budget.rounds_charged >= len(party.masked)


def run_through(watched, run, weather, seed):
    ward, oracle, parties = watched(run)
    bad, good = UnreliableEngine(parties, weather, seed), EmbeddedEngine(parties)
    signed = None
    for engine in (*[bad] * TRIES, *[good] * TRIES):
        signed = signed or released(ward.coordinator(engine=engine))
        assert oracle.violations() == []
    assert signed, "in good weather a run must come to its end"
    if run == "private":
        assert_nothing_is_off_the_books(ward, parties)
    return ward, signed


def release_of(ward, signed):
    envelope = read_envelope(signed)
    release = read_statement(envelope.payload).predicate
    verify_signatures(envelope, ward.charter.charter, [entry.name for entry in release.contributors])
    return release


def assert_one_model(ward, release):
    models = defaultdict(set)
    for hospital in ward.hospitals.values():
        models[hospital.state.sums].add(hospital.state.model.tobytes())
    assert all(len(found) == 1 for found in models.values())
    at_the_end = {hospital.name for hospital in ward.hospitals.values() if hospital.state.sums == STEPS}
    assert {entry.name for entry in release.contributors} <= at_the_end


def assert_ends_well(watched, run, weather, seed):
    ward, signed = run_through(watched, run, WEATHERS[weather], seed)
    release = release_of(ward, signed)
    assert release.sums == STEPS
    assert_one_model(ward, release)
    if run == "private":
        spent = max(hospital.epsilon for hospital in ward.hospitals.values())
        assert release.privacy.epsilon >= spent - 1e-9


@pytest.mark.parametrize("seed", FEW)
@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("run", RUNS)
def test_whatever_the_weather_all_end_with_one_model_and_nothing_leaves_that_must_not(watched, run, weather, seed):
    assert_ends_well(watched, run, weather, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("run", RUNS)
def test_whatever_the_weather_for_many_days(watched, run, weather, seed):
    assert_ends_well(watched, run, weather, seed)


# The weather itself: the support code's own check


def exchanges(weather, count):
    """A party and what came back, exchange by exchange."""
    party = Repeating()
    engine = UnreliableEngine({1: party}, weather, seed=1)
    return party, [engine.exchange(Phase.MASK, [(1, b"%d" % number)], 1) for number in range(count)]


class Repeating:
    def __init__(self):
        self.heard = []

    def receive(self, message):
        self.heard.append(message)
        return [message]


def test_what_is_lost_arrives_nowhere_and_the_sender_has_dropped():
    party, found = exchanges(Weather(lost=1.0), 5)
    assert party.heard == []
    assert all((one.inbox, one.dropped) == ((), {1}) for one in found)


def test_what_is_late_turns_up_in_a_later_exchange():
    party, found = exchanges(Weather(late=0.5), 40)
    assert len(party.heard) > 20
    assert any((1, b"%d" % number) not in one.inbox and one.inbox for number, one in enumerate(found))


def test_what_is_repeated_arrives_more_than_once():
    party, _ = exchanges(Weather(repeated=1.0), 20)
    assert len(party.heard) > len(set(party.heard))


def test_control_in_a_calm_everything_arrives_once_and_in_order():
    party, found = exchanges(Weather(), 20)
    assert party.heard == [b"%d" % number for number in range(20)]
    assert [one.inbox for one in found] == [((1, message),) for message in party.heard]
