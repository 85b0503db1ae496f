from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from secagg.charter.sections import ServerStep
from secagg.errors import InputError
from training.server_optimizer import apply, initial_state, learning_rate

MODEL = np.array([1.0, -2.0, 0.5], np.float32)
UPDATE = np.array([0.1, 0.2, -0.3])


def steps(settings: ServerStep, count: int) -> np.ndarray:
    state, model = initial_state(3), MODEL
    for _ in range(count):
        state, model = apply(settings, state, model, UPDATE, 100)
    return model


def test_fedavg_adds_the_update() -> None:
    expected = (MODEL.astype(np.float64) + UPDATE).astype(np.float32)
    assert steps(ServerStep(), 1).tolist() == expected.tolist()
    halved = ServerStep(learning_rate=0.5)
    np.testing.assert_allclose(steps(halved, 2), MODEL + UPDATE, rtol=1e-6)


def test_momentum_remembers_earlier_updates() -> None:
    settings = ServerStep(optimizer="momentum", learning_rate=0.1, momentum=0.5)
    np.testing.assert_allclose(steps(settings, 3), MODEL + 0.1 * (1 + 1.5 + 1.75) * UPDATE, rtol=1e-6)


def test_adam_is_the_one_of_reddi_and_others() -> None:
    settings = ServerStep(optimizer="adam", learning_rate=0.1, beta1=0.9, beta2=0.99, tau=0.01)
    first, second, expected = np.zeros(3), np.zeros(3), MODEL.astype(np.float64)
    for _ in range(4):
        first = 0.9 * first + 0.1 * UPDATE
        second = 0.99 * second + 0.01 * UPDATE**2
        expected = expected + 0.1 * first / (np.sqrt(second) + 0.01)
    np.testing.assert_allclose(steps(settings, 4), expected, rtol=1e-6)


def test_the_bits_of_a_long_run_never_change() -> None:
    words = (np.arange(20_000, dtype=np.uint64) * np.uint64(2_654_435_761) % np.uint64(2**20)).reshape(20, 1000)
    for name, expected in (
        ("fedavg", "cd02d269df91d38e"),
        ("momentum", "8cd8e44bdc7a732d"),
        ("adam", "2c6478e1aba72882"),
    ):
        state, model = initial_state(1000), np.zeros(1000, np.float32)
        for row in words:
            state, model = apply(ServerStep(optimizer=name, learning_rate=0.3), state, model, row / 2**20 - 0.5, 100)
        assert hashlib.sha256(model.astype("<f4").tobytes()).hexdigest()[:16] == expected


def test_nothing_is_changed_in_place() -> None:
    state, model, update = initial_state(3), MODEL.copy(), UPDATE.copy()
    after, _ = apply(ServerStep(optimizer="adam"), state, model, update, 100)
    assert (model == MODEL).all()
    assert (update == UPDATE).all()
    assert (state.first == 0).all()
    assert (state.step, after.step) == (0, 1)


@pytest.mark.parametrize(
    ("model", "update"),
    [(MODEL.astype(np.float64), UPDATE), (MODEL, UPDATE.astype(np.float32)), (MODEL[:2], UPDATE), (MODEL, UPDATE[:2])],
)
def test_vectors_of_the_wrong_kind_are_refused(model: np.ndarray, update: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        apply(ServerStep(), initial_state(3), model, update, 100)
    assert caught.value.reason == "model-shape"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_step_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(InputError) as caught:
        apply(ServerStep(optimizer="momentum"), initial_state(3), MODEL, np.array([0.0, value, 0.0]), 100)
    assert caught.value.reason == "model-not-finite"


def rates(rounds: int = 10, **settings: object) -> list[float]:
    return [learning_rate(ServerStep(learning_rate=2.0, **settings), step, rounds) for step in range(rounds)]


def test_a_constant_schedule_keeps_the_learning_rate() -> None:
    assert rates() == [2.0] * 10


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_falling_schedule_begins_at_the_learning_rate_and_ends_near_zero(schedule) -> None:
    found = rates(schedule=schedule)
    assert found[0] == 2.0
    assert all(later < earlier for earlier, later in pairwise(found))
    assert 0 < found[-1] < 0.25


def test_a_cosine_is_half_way_down_in_the_middle() -> None:
    assert rates(schedule="cosine")[5] == pytest.approx(1.0)


def test_a_warm_up_rises_to_the_learning_rate_before_it_falls() -> None:
    found = rates(warm_up=3, schedule="linear")
    assert found[:4] == [0.5, 1.0, 1.5, 2.0]
    assert found[4] < 2.0
