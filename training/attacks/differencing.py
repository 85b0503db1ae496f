"""Attacks by subtraction: sums over cohorts that differ, of which a combination is one hospital's vector.

What is summed is the same in all of them, as feature statistics are, or an update that is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.encoding import pack
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import Consortium, Vectors

VICTIM: Final = 1
COLLUDER: Final = 6
Sums = Callable[[LyingCoordinator, Vectors], npt.NDArray[np.int64]]


def _attack(build: Build, folder: Path, difference: Sums, *colluders: int) -> Outcome:
    with Consortium.make(folder, 6, build, epoch_rounds=4) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients, colluders=colluders)
        coordinator.set_up()
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries = Tries(Refuser.HOSPITAL)
        guess = tries(difference, coordinator, vectors)
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


def drop_one(build: Build, folder: Path) -> Outcome:
    """A sum over all, and one over all but the victim."""

    def difference(coordinator: LyingCoordinator, vectors: Vectors) -> npt.NDArray[np.int64]:
        with_victim = coordinator.sum_over(vectors, coordinator.everybody)
        return with_victim - coordinator.sum_over(vectors, coordinator.all_but(VICTIM))

    return _attack(build, folder, difference)


def drop_a_colluder(build: Build, folder: Path) -> Outcome:
    """The colluder stays away from one sum, the victim from the other: the cohorts differ by two."""

    def difference(coordinator: LyingCoordinator, vectors: Vectors) -> npt.NDArray[np.int64]:
        with_victim = coordinator.sum_over(vectors, coordinator.all_but(COLLUDER))
        without_victim = coordinator.sum_over(vectors, coordinator.all_but(VICTIM))
        return with_victim - without_victim + coordinator.session.ring.to_signed(vectors[COLLUDER])

    return _attack(build, folder, difference, COLLUDER)


def intersect_four_sums(build: Build, folder: Path) -> Outcome:
    """Every two of the four cohorts differ by two hospitals, and yet one vector is half of a combination."""

    def difference(coordinator: LyingCoordinator, vectors: Vectors) -> npt.NDArray[np.int64]:
        whole = coordinator.sum_over(vectors, coordinator.everybody)
        pairs = {
            pair: whole - coordinator.sum_over(vectors, coordinator.all_but(*pair)) for pair in ((1, 2), (1, 3), (2, 3))
        }
        twice: npt.NDArray[np.int64] = pairs[1, 2] + pairs[1, 3] - pairs[2, 3]
        return twice >> 1

    return _attack(build, folder, difference)


def across_epochs(build: Build, folder: Path) -> Outcome:
    """The second sum is taken in a new epoch, from hospitals that were started again."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        coordinator.set_up()
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries = Tries(Refuser.HOSPITAL)
        with_victim = coordinator.sum_over(vectors, coordinator.everybody)
        for number in coordinator.everybody:
            stage.stop(number)
            stage.start(number)
        later = LyingCoordinator(stage.charter, stage.clients, epoch=2, first_round=2)
        later.set_up()
        without = tries(later.sum_over, vectors, later.all_but(VICTIM))
        guess = None if without is None else with_victim - without
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


def after_restart(build: Build, folder: Path) -> Outcome:
    """Every hospital is killed after the sum, and the same round of the same epoch is asked for over all but one."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        coordinator.set_up()
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries, guess = Tries(Refuser.HOSPITAL), None
        with_victim = coordinator.sum_over(vectors, coordinator.everybody)
        for number in coordinator.everybody:
            stage.stop(number)
            stage.start(number)
        for first_round in (1, 2):
            again = LyingCoordinator(stage.charter, stage.clients, first_round=first_round, rounds=1)
            tries(again.set_up)
            if again.dealt_to and guess is None:
                guess = with_victim - again.sum_over(vectors, again.all_but(VICTIM))
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


def sum_of_zeros(build: Build, folder: Path) -> Outcome:
    """A forged sum of zeros leaves the model as it is and raises the step: the second cohort is another occasion's."""
    with Consortium.make(folder, 6, build) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        coordinator.set_up()
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries = Tries(Refuser.HOSPITAL)
        with_victim = coordinator.sum_over(vectors, coordinator.everybody)
        session = coordinator.session
        zeros = coordinator.sum_message(coordinator.everybody, pack(session.ring.zeros(session.length), session.ring))
        for client in stage.clients.values():
            tries(client.receive, zeros)
        without = tries(coordinator.sum_over, vectors, coordinator.all_but(VICTIM), 2)
        guess = None if without is None else with_victim - without
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


def over_a_restored_latch(build: Build, folder: Path) -> Outcome:
    """One latch is rolled back between sums, so that its hospital, a colluder and one that knew nothing are enough."""
    with Consortium.make(folder, 4, build) as stage:
        victim, colluder, restored, other = 4, 1, 2, 3
        coordinator = LyingCoordinator(stage.charter, stage.clients, colluders=(colluder,))
        coordinator.set_up()
        backup = stage.back_up(restored)
        vectors = stage.random_vectors(np.random.default_rng(1))
        coordinator.start_round(vectors)
        for number in (restored, victim):
            coordinator.ask(number, coordinator.everybody)
        with_victim = stage.server.session.ring.to_signed(coordinator.unmask_sum(coordinator.everybody)[0])
        # It goes on only with those who have the sum; the one that is to help in the second revealed nothing for it.
        stage.clients[other].receive(coordinator.honest_sum(coordinator.everybody))
        stage.stop(restored)
        stage.restore(restored, backup)
        stage.start(restored)
        few = {number: stage.clients[number] for number in (colluder, restored, other)}
        later = LyingCoordinator(stage.charter, few, epoch=2, first_round=4, colluders=(colluder,))
        tries = Tries(Refuser.HOSPITAL)
        without = tries(_sum_of_few, later, vectors)
        guess = None if without is None else with_victim - without
        return tries.outcome(recovered(guess, stage.integers(vectors, victim), f"h{victim}'s vector"))


def _sum_of_few(coordinator: LyingCoordinator, vectors: Vectors) -> npt.NDArray[np.int64]:
    coordinator.set_up()
    return coordinator.sum_over({number: vectors[number] for number in coordinator.everybody}, coordinator.everybody)


_OVER_ROUNDS = "What holds over several rounds"
_REFUSED = Refused.with_reasons(Refuser.HOSPITAL, "differencing")

ATTACKS: Final = (
    Attack(
        "drop-one-differencing",
        Liar.COORDINATOR,
        "Has the same summed over all, then over all but the victim, and subtracts.",
        _OVER_ROUNDS,
        _REFUSED,
        drop_one,
        quick=True,
    ),
    Attack(
        "drop-a-colluder-differencing",
        Liar.BOTH,
        "Has a hospital that colludes stay away from one sum and the victim from the other, and subtracts.",
        _OVER_ROUNDS,
        _REFUSED,
        drop_a_colluder,
    ),
    Attack(
        "intersected-sums",
        Liar.COORDINATOR,
        "Takes four sums over cohorts of which every two differ by two hospitals, and combines them.",
        _OVER_ROUNDS,
        _REFUSED,
        intersect_four_sums,
    ),
    Attack(
        "differencing-across-epochs",
        Liar.COORDINATOR,
        "Takes the second sum in a new epoch, after every hospital was started again.",
        _OVER_ROUNDS,
        _REFUSED,
        across_epochs,
    ),
    Attack(
        "differencing-over-a-restored-latch",
        Liar.BOTH,
        "Has a hospital's latch rolled back to a backup between two sums, so that it answers for a second cohort.",
        _OVER_ROUNDS,
        Refused.with_reasons(Refuser.HOSPITAL, "state-restored"),
        over_a_restored_latch,
        quick=True,
    ),
    Attack(
        "round-again-after-a-restart",
        Liar.COORDINATOR,
        "Has the same round masked and summed again, over all but the victim, after every hospital was started again.",
        "What holds in one round",
        Refused.with_reasons(Refuser.HOSPITAL, "stale-epoch", "stale-round"),
        after_restart,
    ),
    Attack(
        "sum-of-zeros",
        Liar.COORDINATOR,
        "Forges a sum of zeros, so that the step rises, the model stays, and another cohort may be summed.",
        "A forged sum",
        Refused.with_reasons(Refuser.HOSPITAL, "forged-sum", "unexpected-message"),
        sum_of_zeros,
        quick=True,
    ),
)
