"""Attacks by the model that an update starts from: another one at each hospital, or another one for the same round."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from secagg.encoding import unpack
from secagg.masking.messages import Begin
from secagg.wire import Stage
from training.attacks.cohorts import VICTIM
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import Consortium

_OTHER_MODEL: Final = bytes([7]) * 32


def inconsistency(build: Build, folder: Path) -> Outcome:
    """All but the victim hold a model whose update is zero; the sum over all is then the victim's update.

    How they came to hold different models does not matter here: the coordinator of this protocol sends none.
    """
    with Consortium.make(folder, 5, build) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        coordinator.set_up()
        coordinator.begin()
        vectors = stage.random_vectors(np.random.default_rng(1))
        zeros = coordinator.session.ring.zeros(coordinator.session.length)
        coordinator.collect({VICTIM: vectors[VICTIM]})
        coordinator.collect(dict.fromkeys(coordinator.all_but(VICTIM), zeros), _OTHER_MODEL)
        tries = Tries(Refuser.HOSPITAL)
        for number in coordinator.everybody:
            tries(coordinator.ask, number, coordinator.everybody)
        guess = coordinator.session.ring.to_signed(coordinator.unmask_sum(coordinator.everybody)[0])
        announced = coordinator.honest_sum(coordinator.everybody)
        for client in stage.clients.values():
            tries(client.receive, announced)
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


def rerun(build: Build, folder: Path) -> Outcome:
    """A round is given up and begun again, in the same epoch and in a new one, once the hospital holds another model.

    If the same masks came again, the two masked vectors' difference would be that of the two updates.
    """
    with Consortium.make(folder, 5, build) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        coordinator.set_up()
        coordinator.begin()
        generator = np.random.default_rng(1)
        first, second = (stage.random_vectors(generator) for _ in range(2))
        coordinator.collect({VICTIM: first[VICTIM]})
        victim, before = stage.clients[VICTIM], coordinator.masked[VICTIM]
        victim.receive(coordinator.abort_message())
        tries = Tries(Refuser.HOSPITAL)
        tries(victim.receive, coordinator.forge(Stage.BEGIN, Begin(step=1), round_number=1))
        if tries.reasons:
            later = LyingCoordinator(stage.charter, stage.clients, epoch=2, first_round=1)
            tries(later.open, [VICTIM])
            return tries.outcome(None)
        coordinator.collect({VICTIM: second[VICTIM]}, _OTHER_MODEL)
        ring, length = coordinator.session.ring, coordinator.session.length
        again = unpack(coordinator.masked_payload(VICTIM).vector, length, ring)
        coordinator.masked[VICTIM] = before
        difference = ring.to_signed(again - unpack(coordinator.masked_payload(VICTIM).vector, length, ring))
        truth = stage.integers(second, VICTIM) - stage.integers(first, VICTIM)
        return tries.outcome(recovered(difference, truth, "the difference of h1's two updates"))


_ROUND = "What holds in one round"

ATTACKS: Final = (
    Attack(
        "model-inconsistency",
        Liar.BOTH,
        "Has all but the victim hold a model whose update is zero, so that the sum over all is the victim's update.",
        _ROUND,
        Refused.with_reasons(Refuser.HOSPITAL, "forged-sum"),
        inconsistency,
        "Pasquini et al. 2022",
        quick=True,
    ),
    Attack(
        "round-rerun-with-another-model",
        Liar.COORDINATOR,
        "Gives a round up and begins it again once the hospital holds another model, and subtracts what it sends.",
        _ROUND,
        Refused.with_reasons(Refuser.HOSPITAL, "stale-round"),
        rerun,
        quick=True,
    ),
)
