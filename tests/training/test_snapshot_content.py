"""A state as bytes: it comes back bit for bit, and what is no state under the charter is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from secagg.charter import Metrics, Model, Statistics, Training
from secagg.charter.sections import ServerStep
from secagg.charter.state_size import largest_snapshot
from secagg.encoding.moments import moments_length
from secagg.errors import RemoteProtocolError
from secagg.masking.messages import Sum
from secagg.masking.session import Purpose, Session
from secagg.wire import COORDINATOR, Sealer, Stage
from tests.support.consortium import MODEL_DIGEST, make_charter, make_identities, sign_by_all
from training.hospital_state import AppliedSum, EpochTagKey, HospitalState
from training.messages import Snapshot
from training.model_state import ModelLayout, TensorShape
from training.server_optimizer import OptimizerState, apply
from training.snapshot_content import content_of_state, content_of_sum, read_content, read_state
from training.standardisation import Moments

SIZE, FEATURES, CELLS, MEMBERS, ROUNDS = 7, 3, 2, 9, 5
IDENTITIES = make_identities(MEMBERS)
LAYOUT = ModelLayout((TensorShape("weight", (SIZE,)),))


def charter_of(**changes):
    settings = {
        "model": Model(digest=MODEL_DIGEST, parameters=SIZE),
        "statistics": Statistics(features=FEATURES),
        "metrics": Metrics(release="exact", cells=CELLS),
        "training": Training(rounds=ROUNDS),
    }
    return sign_by_all(make_charter(IDENTITIES, **(settings | changes)), IDENTITIES)


CHARTER = charter_of()


def started(charter=CHARTER):
    return HospitalState.start(charter.digest, np.arange(SIZE, dtype=np.float32))


def moments(seed):
    dice = np.random.default_rng(seed)
    return Moments(dice.normal(size=FEATURES), dice.random(FEATURES))


def after(steps, statistics=1, optimizer="adam", state=None):
    """A state after some sums; the same numbers every time."""
    state = state or started()
    if statistics and state.moments is None:
        state = state.after_moments(moments(1))
    for step in range(state.sums + 1, steps + 1):
        dice = np.random.default_rng(step)
        kept = [dice.normal(size=SIZE) if optimizer == "adam" else np.zeros(SIZE) for _ in range(2)]
        survivors = tuple(sorted(dice.choice(np.arange(1, MEMBERS + 1), 7, replace=False).tolist()))
        applied = AppliedSum(statistics + step + step // 3, survivors, (-step, (1 << 62) + step))
        state = state.after_sum(applied, dice.normal(size=SIZE).astype(np.float32), OptimizerState(step, *kept))
    return state


def shared(state, charter=CHARTER):
    return read_content(content_of_state(state, charter.charter)).state


def refused(own=None, **changes):
    """The reason why a state with some of its bytes exchanged is refused."""
    altered = msgspec.structs.replace(shared(after(3)), **{name: memoryview(data) for name, data in changes.items()})
    with pytest.raises(RemoteProtocolError) as caught:
        read_state(altered, CHARTER, own or started(), LAYOUT)
    return caught.value.reason


# What comes back


@pytest.mark.parametrize(
    "state",
    [after(0), after(1), after(ROUNDS), after(3, optimizer="fedavg")],
    ids=["statistics alone", "one sum", "all", "no optimizer moments"],
)
def test_a_state_comes_back_bit_for_bit(state):
    read = read_state(shared(state), CHARTER, started(), LAYOUT)
    assert read.digest(LAYOUT) == state.digest(LAYOUT)
    assert read.progress == state.progress
    assert read.optimizer.step == state.optimizer.step
    for one, other in [
        (read.model, state.model),
        (read.optimizer.first, state.optimizer.first),
        (read.optimizer.second, state.optimizer.second),
        (read.moments.mean, state.moments.mean),
        (read.moments.variance, state.moments.variance),
    ]:
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())


def test_a_zero_with_a_sign_keeps_it():
    """What comes of it later must be the same too."""
    state = after(1)
    signed = OptimizerState(1, np.full(SIZE, -0.0), np.zeros(SIZE))
    state = HospitalState(state.model, signed, state.progress, state.moments)
    assert np.signbit(read_state(shared(state), CHARTER, started(), LAYOUT).optimizer.first).all()


@pytest.mark.parametrize("zeros", ["first", "second", "mean", "variance"])
def test_two_states_with_zeros_of_another_sign_have_two_digests(zeros):
    plain = {name: np.zeros(SIZE) for name in ("first", "second")} | {
        name: np.zeros(FEATURES) for name in ("mean", "variance")
    }
    signed = plain | {zeros: -plain[zeros]}
    one, other = (
        HospitalState(
            started().model,
            OptimizerState(1, arrays["first"], arrays["second"]),
            started().progress,
            Moments(arrays["mean"], arrays["variance"]),
        ).digest(LAYOUT)
        for arrays in (plain, signed)
    )
    assert one != other


def test_a_charter_without_statistics_counts_and_optimizer_has_states_too():
    plain = charter_of(statistics=Statistics(), metrics=Metrics())
    state = started(plain).after_sum(
        AppliedSum(1, (1, 2, 3, 4, 5, 6)), np.ones(SIZE, np.float32), OptimizerState(1, np.zeros(SIZE), np.zeros(SIZE))
    )
    assert read_state(shared(state, plain), plain, started(plain), LAYOUT).digest(LAYOUT) == state.digest(LAYOUT)


def test_what_is_a_hospitals_own_stays_its_own():
    own = started().after_set_up(4, bytes(32))
    giver = after(2).after_set_up(1, bytes([1]) * 32).after_conclusion(2).with_last_sum(b"a sum")
    read = read_state(shared(giver), CHARTER, own, LAYOUT)
    assert read.progress.tag_keys == (EpochTagKey(4, bytes(32)),)
    assert not read.progress.concluded
    assert read.last_sum == b""


def test_a_sum_comes_back_as_the_message_that_it_is():
    content = read_content(content_of_sum(b"a message"))
    assert (content.state, bytes(content.missed_sum)) == (None, b"a message")


# What is refused


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc0", b"\x92\xc0\xc4\x00", msgspec.msgpack.encode([[b""] * 7, b"too much"]), b"\x93\xc0\xc4\x01a\xc0"],
    ids=["nothing", "nil", "neither", "both", "a field more"],
)
def test_what_holds_no_state_and_no_sum_or_both_is_malformed(data):
    with pytest.raises(RemoteProtocolError) as caught:
        read_content(data)
    assert caught.value.reason == "malformed"


FIELDS = ("model", "first", "second", "moments", "rounds", "survivors", "cells")


@pytest.mark.parametrize("field", FIELDS)
def test_a_byte_more_or_less_is_refused(field):
    data = bytes(getattr(shared(after(3)), field))
    assert refused(**{field: data + b"\0"}) == "wrong-length"
    assert refused(**{field: data[:-1]}) == "wrong-length"


@pytest.mark.parametrize(("field", "kind"), [("model", "<f4"), ("first", "<f8"), ("second", "<f8"), ("moments", "<f8")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(field, kind, value):
    numbers = np.frombuffer(getattr(shared(after(3)), field), kind).copy()
    numbers[-1] = value
    assert refused(**{field: numbers.tobytes()}) == "not-finite"


@pytest.mark.parametrize("rounds", [[3, 3, 5], [5, 4, 3], [0, 3, 4]], ids=str)
def test_rounds_out_of_order_are_refused(rounds):
    assert refused(rounds=np.array(rounds, "<u4").tobytes()) == "bad-history"


def test_more_sums_than_the_charter_asks_for_are_refused_before_they_are_read():
    many = np.arange(1, ROUNDS + 2, dtype="<u4").tobytes()
    assert refused(rounds=many) == "bad-history"


@pytest.mark.parametrize(
    ("bits", "reason"),
    [(b"\x07\x00", "below-threshold"), (b"\xff\x03", "unknown-survivor"), (b"\xff\x81", "unknown-survivor")],
    ids=["three", "the tenth of nine", "the sixteenth of nine"],
)
def test_sums_over_strangers_or_too_few_are_refused(bits, reason):
    assert refused(survivors=bits * 3) == reason


@pytest.mark.parametrize("size", [0, 8 * FEATURES, 8 * 4 * FEATURES])
def test_a_sum_of_training_without_statistics_or_with_others_than_one_sum_of_them_is_refused(size):
    assert refused(moments=bytes(size)) == "wrong-length"


def test_statistics_that_the_charter_does_not_ask_for_are_refused():
    plain = charter_of(statistics=Statistics())
    altered = msgspec.structs.replace(shared(after(1, statistics=0)), moments=memoryview(bytes(8)))
    with pytest.raises(RemoteProtocolError) as caught:
        read_state(altered, plain, started(plain), LAYOUT)
    assert caught.value.reason == "wrong-length"


@pytest.mark.parametrize("own", [after(3), after(ROUNDS)], ids=["the same", "two further"])
def test_a_state_that_is_not_ahead_is_refused(own):
    assert refused(own) == "not-ahead"


def test_a_state_one_sum_earlier_is_read_by_who_has_not_concluded():
    """Whoever has a sum that nobody can vouch for gives it up, but never one that it has signed a release of."""
    own = after(4)
    assert read_state(shared(after(3)), CHARTER, own, LAYOUT).sums == 3
    assert refused(own.after_conclusion(5)) == "not-ahead"


def by_another_sum(state):
    """The same state, had its first sum been that of another round."""
    first, *others = state.progress.applied
    progress = msgspec.structs.replace(state.progress, applied=(msgspec.structs.replace(first, round=0), *others))
    return HospitalState(state.model, state.optimizer, progress, state.moments)


@pytest.mark.parametrize("steps", [1, 3], ids=["a later one", "one as far"])
def test_a_state_that_came_from_other_sums_than_this_hospitals_is_read_by_who_has_not_concluded(steps):
    """Whether it is the true one is for others to say."""
    own = by_another_sum(after(steps))
    assert refused(own.after_conclusion(5)) == "not-ahead"
    assert read_state(shared(after(3)), CHARTER, own, LAYOUT).digest(LAYOUT) == after(3).digest(LAYOUT)


# How large it can be


def on_the_wire(content):
    return len(msgspec.msgpack.encode(Snapshot(bytes(32), memoryview(bytes(len(content) + 16)))))


@pytest.mark.parametrize("optimizer", ["fedavg", "momentum", "adam"])
@pytest.mark.parametrize("members", [3, 9, 300])
@pytest.mark.parametrize("size", [1, 1000])
def test_no_snapshot_is_larger_than_the_charter_lets_it_be(members, size, optimizer):
    identities = make_identities(members)
    charter = make_charter(
        identities,
        model=Model(digest=MODEL_DIGEST, parameters=size),
        statistics=Statistics(features=FEATURES),
        metrics=Metrics(release="exact", cells=CELLS),
        training=Training(rounds=ROUNDS, server=ServerStep(optimizer=optimizer)),
    )
    largest, everybody = largest_snapshot(charter), tuple(range(1, members + 1))
    state = HospitalState.start(charter.digest(), np.ones(size, np.float32))
    state = state.after_moments(moments(1))
    for step in range(1, ROUNDS + 1):
        kept, model = apply(charter.training.server, state.optimizer, state.model, np.ones(size), ROUNDS)
        state = state.after_sum(AppliedSum(step, everybody, (1 << 62,) * CELLS), model, kept)
    whole = on_the_wire(content_of_state(state, charter))
    assert whole <= largest <= whole + 2048 + 5 * members + 8 * moments_length(FEATURES)
    for purpose in Purpose:
        session = Session(sign_by_all(charter, identities), 1, purpose, 1, 1)
        vector, tag = memoryview(bytes(session.vector_bytes)), bytes(session.tag_size)
        total = Sum(1 << 31, list(everybody), bytes(32), vector, tag)
        message = Sealer(session.charter, COORDINATOR, None, 1 << 31).seal(Stage.MISSED_SUM, total, round=1 << 31)
        assert on_the_wire(content_of_sum(message)) <= largest
