"""Attacks for both secrets of one hospital, its self-mask seed and its mask key: with both, its vector is read.

In one request, in two, after a restart, after a backup was restored; and the vector that comes late.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from secagg.masking import RoundSum
from training.attacks.cohorts import VICTIM, begun, vector_of
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import Consortium

_SIZE: Final = 5


def one_request(build: Build, folder: Path) -> Outcome:
    """One set that can be read in two ways: the victim is named twice, out of order, or beside everybody."""
    with Consortium.make(folder, _SIZE, build) as stage:
        coordinator, vectors = begun(stage)
        tries = Tries(Refuser.HOSPITAL)
        everybody = coordinator.everybody
        for number in coordinator.all_but(VICTIM):
            for survivors in ([VICTIM, *everybody], [*everybody, VICTIM], [*everybody[1:], VICTIM, VICTIM]):
                tries(coordinator.ask, number, survivors)
        return tries.outcome(vector_of(stage, vectors, coordinator))


Interruption = Callable[[Consortium, int, bytes], None]
"""What befalls a hospital between two requests, given a backup of its latch from before the first."""


def two_requests(build: Build, folder: Path) -> Outcome:
    """First for everybody, which gives the seed, then for all but the victim, even with agreements that were forged."""
    with Consortium.make(folder, _SIZE, build) as stage:
        coordinator, vectors = begun(stage)
        tries = Tries(Refuser.HOSPITAL)
        _ask_for_the_seed(coordinator, tries)
        _ask_for_the_key(coordinator, tries)
        return tries.outcome(vector_of(stage, vectors, coordinator))


def after_restart(build: Build, folder: Path) -> Outcome:
    """Every hospital is killed between the two requests, and started again."""

    def restart(stage: Consortium, number: int, _backup: bytes) -> None:
        stage.stop(number)
        stage.start(number)

    return _with_an_interruption(build, folder, restart)


def after_restored_backup(build: Build, folder: Path) -> Outcome:
    """Every hospital is killed between the two requests, and its latch is replaced by a copy made before the first."""

    def restore(stage: Consortium, number: int, backup: bytes) -> None:
        stage.stop(number)
        stage.restore(number, backup)
        stage.start(number)

    return _with_an_interruption(build, folder, restore)


def late_vector(build: Build, folder: Path) -> Outcome:
    """The victim is declared dropped and its mask key rebuilt; its vector, held back so far, is opened with that."""
    with Consortium.make(folder, _SIZE, build) as stage:
        coordinator, vectors = begun(stage)
        others = coordinator.all_but(VICTIM)
        tries = Tries(Refuser.HOSPITAL)
        coordinator.unmask(others)
        pairwise = coordinator.pairwise_keys(VICTIM, others)
        opened = None if pairwise is None else coordinator.without(VICTIM, pairwise)
        read = recovered(opened, stage.integers(vectors, VICTIM), "h1's vector")
        # What is left on it is its own mask: for that, it must be said to have survived after all.
        for number in coordinator.everybody:
            tries(coordinator.ask, number, coordinator.everybody)
        return tries.outcome(read or vector_of(stage, vectors, coordinator))


def late_vector_at_an_honest_coordinator(build: Build, folder: Path) -> Outcome:
    """A hospital that was declared dropped delivers its vector after all, to have the sum changed under the others."""
    with Consortium.make(folder, _SIZE, build) as stage:
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries = Tries(Refuser.COORDINATOR)
        stage.set_up()
        stage.deliver(stage.server.begin(1))
        masked = dict(stage.mask(vectors))
        late = masked.pop(VICTIM)
        outbox = stage.answer(stage.deliver(stage.answer(list(masked.items()))))
        tries(stage.server.receive, VICTIM, late)
        stage.answer(stage.deliver(outbox))
        result = stage.server.result
        total = None if not isinstance(result, RoundSum) else stage.server.session.ring.to_signed(result.vector)
        wrong = total is None or not np.array_equal(total, stage.integers(vectors, *masked))
        return tries.outcome("a sum that is not the survivors'" if wrong else None)


def _with_an_interruption(build: Build, folder: Path, interrupt: Interruption) -> Outcome:
    with Consortium.make(folder, _SIZE, build) as stage:
        coordinator, vectors = begun(stage)
        backups = {number: stage.back_up(number) for number in coordinator.everybody}
        tries = Tries(Refuser.HOSPITAL)
        _ask_for_the_seed(coordinator, tries)
        for number in coordinator.everybody:
            interrupt(stage, number, backups[number])
        _ask_for_the_key(coordinator, tries)
        # The epoch that they were in, and the round that they masked, once more.
        for epoch, first_round in ((1, 2), (2, 1)):
            again = LyingCoordinator(stage.charter, stage.clients, epoch=epoch, first_round=first_round, rounds=1)
            for number in coordinator.everybody:
                tries(again.open, [number])
        return tries.outcome(vector_of(stage, vectors, coordinator))


def _ask_for_the_seed(coordinator: LyingCoordinator, tries: Tries) -> None:
    for number in coordinator.all_but(VICTIM):
        tries(coordinator.ask, number, coordinator.everybody)


def _ask_for_the_key(coordinator: LyingCoordinator, tries: Tries) -> None:
    others = coordinator.all_but(VICTIM)
    agreements = [coordinator.sign_for(number, others) for number in others]
    for number in others:
        tries(coordinator.ask, number, others, agreements)


_ROUND = "What holds in one round"
_BONAWITZ = "Bonawitz et al. 2017, section 6.2"
_HOSPITAL = Refuser.HOSPITAL

ATTACKS: Final = (
    Attack(
        "both-shares-in-one-request",
        Liar.COORDINATOR,
        "Names the victim so that a hospital may take it for a survivor and for a drop-out at once.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "malformed-survivors"),
        one_request,
        _BONAWITZ,
    ),
    Attack(
        "both-shares-in-two-requests",
        Liar.COORDINATOR,
        "Asks once with the victim among the survivors and once without, even with everybody's forged agreement.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "unexpected-message"),
        two_requests,
        _BONAWITZ,
        quick=True,
    ),
    Attack(
        "both-shares-after-a-restart",
        Liar.COORDINATOR,
        "Asks the second time after every hospital was killed and started again.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "unexpected-message", "stale-epoch", "stale-round"),
        after_restart,
        quick=True,
    ),
    Attack(
        "both-shares-after-a-restored-backup",
        Liar.COORDINATOR,
        "Asks the second time after every hospital's latch was replaced by a copy from before the first.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "unexpected-message", "stale-epoch", "stale-round"),
        after_restored_backup,
    ),
    Attack(
        "late-vector",
        Liar.COORDINATOR,
        "Holds the victim's vector back, has its mask key rebuilt as a drop-out's, and opens the vector with that.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "unexpected-message"),
        late_vector,
        "Bonawitz et al. 2017, section 4 (why there are two masks)",
        quick=True,
    ),
    Attack(
        "late-vector-into-the-sum",
        Liar.HOSPITAL,
        "Delivers its vector after the others have agreed that it dropped.",
        _ROUND,
        Refused.with_reasons(Refuser.COORDINATOR, "unexpected-message"),
        late_vector_at_an_honest_coordinator,
    ),
)
