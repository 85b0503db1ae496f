"""An entry's bytes are canonical, and each stands for all before it."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.events import GaussianEvent
from dp.ledger import Cost, Entry, Kind
from dp.ledger.entries import LEDGER, NOTHING
from secagg.signed_log import FIRST_PREVIOUS

events = st.lists(
    st.builds(GaussianEvent, st.sampled_from([0.5, 2.0]), st.sampled_from([0.1, 1.0]), st.integers(1, 9)), max_size=4
).map(tuple)
costs = st.builds(Cost, events, events)


def entry(**changes) -> Entry:
    given = {
        "sequence": 1,
        "kind": Kind.CHARGE,
        "data_set": "a" * 64,
        "run": "b" * 64,
        "round": 3,
        "cost": Cost((GaussianEvent(1.5, 0.1, 20),), (GaussianEvent(40.0, 1.0, 1),)),
        "delta": 1e-5,
        "time": "2026-01-01T00:00:00+00:00",
        "previous": FIRST_PREVIOUS,
        "salt": "e" * 32,
    }
    return Entry(**given | changes)


def test_the_bytes_of_a_recorded_entry_never_change():
    # Ledgers are kept for years, and an officer must be able to check them with another program.
    assert entry().body() == (
        b'{"cost":{"metrics":[{"kind":"gaussian","noise_multiplier":40.0,"sampling_rate":1.0,"steps":1}],'
        b'"training":[{"kind":"gaussian","noise_multiplier":1.5,"sampling_rate":0.1,"steps":20}]},'
        b'"data_set":"' + b"a" * 64 + b'","delta":0.00001,"kind":"charge","origin":null,'
        b'"previous":"' + b"0" * 64 + b'","round":3,"run":"' + b"b" * 64 + b'","salt":"' + b"e" * 32 + b'",'
        b'"sequence":1,"time":"2026-01-01T00:00:00+00:00"}'
    )


def test_what_a_cost_is_beyond_another_is_told_of_training_and_of_validation():
    def cost(training, counts):
        return Cost((GaussianEvent(1.5, 0.1, training),), (GaussianEvent(40.0, 1.0, counts),))

    assert cost(20, 7).beyond(cost(15, 4)) == cost(5, 3)
    assert cost(20, 7).beyond(cost(30, 7)) == NOTHING


def test_what_a_data_set_was_called_elsewhere_is_a_field_only_where_an_officer_said_which_it_is_here():
    renamed = entry(origin="c" * 64, origin_data_set="d" * 64)
    assert b'"origin":"' + b"c" * 64 + b'","origin_data_set":"' + b"d" * 64 + b'","previous"' in renamed.body()
    assert msgspec.json.decode(renamed.body(), type=Entry) == renamed
    assert b"origin_data_set" not in entry(origin="c" * 64).body()


def test_the_chain_hash_and_what_is_signed_are_labelled_sha_256():
    body = entry().body()
    expected = hashlib.sha256(b"secagg ledger entry 1\n" + body)
    assert LEDGER.chain_hash(body) == expected.hexdigest()
    assert LEDGER.signed_bytes(body) == b"secagg ledger signature 1\n" + expected.digest()


@given(costs)
def test_an_entry_reads_back_as_it_was_written(cost):
    written = entry(cost=cost)
    assert msgspec.json.decode(written.body(), type=Entry) == written


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 2},
        {"kind": Kind.RESERVE},
        {"data_set": "c" * 64},
        {"run": "c" * 64},
        {"round": 4},
        {"cost": NOTHING},
        {"delta": 1e-6},
        {"time": ""},
        {"previous": "c" * 64},
        {"origin": "c" * 64},
        {"origin_data_set": "c" * 64},
        {"salt": "c" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_in_the_hash(change):
    assert LEDGER.chain_hash(entry(**change).body()) != LEDGER.chain_hash(entry().body())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sequence":1', b'"sequence":0'),
        (b'"kind":"charge"', b'"kind":"refund"'),
        (b'"delta":0.00001', b'"delta":1.00001'),
        (b'"round":3', b'"round":-3'),
        (b'"round":3', b'"discount":3'),
        (b'"origin":null', b'"origin":null,"origin_data_set":null'),
        (b'"data_set":"a', b'"data_set":"A'),
        (b'"steps":20', b'"steps":-20'),
        (b"2026-01-01", b"2026-01-01" * 5),
    ],
)
def test_an_entry_that_cannot_be_is_refused_when_it_is_read(old, new):
    body = entry().body()
    assert old in body
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body.replace(old, new, 1), type=Entry)


@given(costs, costs)
def test_costs_add_track_by_track_and_cover_track_by_track(first, second):
    both = first.plus(second)
    assert both == second.plus(first)
    assert both.at_least(first) == both == both.at_least(second)
    assert first.at_least(second).at_least(first) == first.at_least(second)
    assert first.plus(NOTHING) == first.at_least(NOTHING)
