"""Random schedules of drop, delay, duplication, reordering and restarts: an exact sum or a clean abort, and no leak.

Every schedule is one seed: a failing one prints it, and all that happened. The controls run the same schedules against
builds that lack one rule; the numbers are how many schedules the oracle may need to notice, and which it noticed at.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from secagg.masking import MaskingClient, MaskingServer, Survivors, client
from secagg.masking.server_gate import Gate
from secagg.masking.states import ClientState
from tests.secagg.masking.schedules.scheduler import Twist, run_schedule
from tests.secagg.masking.schedules.tally import MANY, run_many
from tests.secagg.masking.schedules.world import World, under_scheme, with_few_neighbours, with_noise

FEW = 120


def told(failed):
    return "\n\n".join(str(outcome) for outcome in failed[:3])


def test_sixty_random_schedules_end_in_exact_sums_or_clean_aborts_and_leak_nothing():
    tally = run_many(FEW // 2)
    assert not tally.failed, told(tally.failed)
    assert tally.with_a_sum > FEW / 6
    assert tally.with_an_abort > FEW / 6
    assert set(tally.twists) == set(Twist)


def test_schedules_among_few_neighbours_end_in_exact_sums_or_clean_aborts_and_leak_nothing():
    tally = run_many(FEW // 3, run=partial(run_schedule, factory=with_few_neighbours))
    assert not tally.failed, told(tally.failed)
    assert tally.with_a_sum > FEW / 16
    assert tally.with_an_abort > FEW / 16


def test_schedules_with_noise_leave_what_must_stay_and_leak_none_of_it():
    tally = run_many(FEW // 8, run=partial(run_schedule, factory=with_noise))
    assert not tally.failed, told(tally.failed)
    assert tally.with_a_sum > FEW / 32
    assert tally.with_an_abort > FEW / 32


@pytest.mark.parametrize("scheme", ["bfv", "ckks", "double-lock"])
def test_schedules_of_encrypted_sums_end_in_exact_sums_or_clean_aborts_and_leak_nothing(scheme):
    tally = run_many(FEW // 5, run=partial(run_schedule, factory=partial(under_scheme, scheme)))
    assert not tally.failed, told(tally.failed)
    assert tally.with_a_sum > FEW / 20
    assert tally.with_an_abort > FEW / 20
    assert set(tally.twists) == set(Twist)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_random_schedules_end_in_exact_sums_or_clean_aborts_and_leak_nothing():
    tally = run_many(MANY)
    assert not tally.failed, told(tally.failed)
    assert tally.schedules == MANY


def test_a_seed_gives_the_same_schedule_again():
    first, second = run_schedule(5), run_schedule(5)
    assert first.trace == second.trace
    assert (first.ends, first.refusals) == (second.ends, second.refusals)


def test_a_failing_schedule_says_its_seed_and_what_happened():
    outcome = run_schedule(3)
    outcome.violations.append("nothing, really")
    lines = str(outcome).splitlines()
    assert lines[0].startswith("seed 3, ")
    assert any("deliver OPEN of epoch 1" in line for line in lines)
    assert lines[-1] == "  nothing, really"


# --- Controls --------------------------------------------------------------------------------------------------


def is_noticed(rule: str, most: int, likely: int, **weakened) -> bool:
    """Whether one of the first schedules makes the oracle say ``rule``: that of ``likely``, which did, or another."""
    for seed in dict.fromkeys((likely, *range(most))):
        if any(wrong.startswith(rule) for wrong in run_schedule(seed, **weakened).violations):
            return True
    raise AssertionError(f"{most} schedules, and nobody noticed: {rule}")


class RevealsTwice(MaskingClient):
    """A weakened build: has not revealed, however often it has."""

    def receive(self, message: bytes) -> list[bytes]:
        self._latch.record_revealed = lambda *arguments: None
        replies = super().receive(message)
        if self.state is ClientState.REVEALED:
            self.state = ClientState.MASKED
        return replies


class AnswersForAnySet(RevealsTwice):
    """A weakened build: bound by nothing that it agreed to or revealed, and content without others' agreement."""

    def receive(self, message: bytes) -> list[bytes]:
        self._latch.record_agreed = lambda *arguments: None
        replies = super().receive(message)
        if self.state is ClientState.AGREED:
            self.state = ClientState.MASKED
        self._answered = None
        return replies

    def _require_agreement(self, survivors: Survivors, payload: client.Unmask) -> None:
        pass


class WithoutDifferencing(MaskingClient):
    """A weakened build: sums the same once more over others."""

    def _refuse_differencing(self, survivors: Survivors, occasion: bytes) -> None:
        pass


class FromABackup(World):
    """A weakened build: every restart begins without a latch."""

    def restart(self, number: int) -> None:
        path = Path(self.sites[number].client._latch._path)
        for file in path.parent.glob(f"{path.name}*"):
            if not file.name.endswith(".lock"):
                file.unlink()
        super().restart(number)


@pytest.fixture
def without_memory(monkeypatch) -> None:
    """A weakened build: a coordinator takes a message as often as it comes."""
    monkeypatch.setattr(Gate, "remember", lambda *arguments: None)


class WaitsForever(MaskingServer):
    """A weakened build: gives nothing up."""

    def timeout(self) -> list[tuple[int, bytes]]:
        return []


class WithoutPatience(World):
    server_type = WaitsForever


def test_control_a_hospital_that_reveals_twice_is_noticed():
    assert is_noticed("answered twice", 40, 8, client=RevealsTwice)


def test_control_a_hospital_that_answers_for_any_set_lets_both_its_secrets_be_rebuilt_and_is_noticed():
    assert is_noticed("both secrets", 60, 16, client=AnswersForAnySet, twist=Twist.DOUBLE_LIFE)


def test_control_a_hospital_that_reveals_for_two_cohorts_of_one_step_is_noticed():
    assert is_noticed("two cohorts", 60, 2, client=WithoutDifferencing)


def test_control_a_hospital_that_answers_for_any_set_lets_noise_be_rebuilt_that_must_stay_and_is_noticed():
    weakened = {"client": AnswersForAnySet, "twist": Twist.DOUBLE_LIFE, "factory": with_noise}
    assert is_noticed("noise that must stay", 100, 16, **weakened)


def test_control_a_latch_that_forgets_is_noticed():
    assert is_noticed("answered twice", 60, 53, world_type=FromABackup)


def test_control_a_coordinator_that_adds_a_vector_twice_is_noticed(without_memory):
    assert is_noticed("wrong sum", 60, 3)


def test_control_a_coordinator_that_waits_forever_is_noticed():
    assert is_noticed("wedged", 60, 0, world_type=WithoutPatience)


def test_control_under_the_double_lock_both_secrets_in_sealed_shares_are_noticed():
    weakened = {"client": AnswersForAnySet, "twist": Twist.DOUBLE_LIFE, "factory": partial(under_scheme, "double-lock")}
    assert is_noticed("both secrets", 60, 19, **weakened)


def test_control_a_ciphertext_that_is_added_twice_is_noticed(without_memory):
    assert is_noticed("stopped", 60, 0, factory=partial(under_scheme, "bfv"))
