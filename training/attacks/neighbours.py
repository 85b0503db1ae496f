"""Attacks on large consortia, where hospitals mask with a few neighbours: to cut one off from all it masks with.

A small graph stands for a large one; it hides with the same bound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.charter import NeighbourGraph
from secagg.errors import LocalProtocolError
from secagg.graph import smallest_graph
from secagg.masking.messages import Agreement, Unmask
from secagg.wire import Stage
from secagg.wire.envelope import decode
from training.attacks.build import Build
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.attacks.stage import Consortium, Vectors, recovered

_MEMBERS: Final = 60
_DROPPED: Final = 1


def _consortium(folder: Path, build: Build) -> Consortium:
    graph = smallest_graph(_MEMBERS, 1, _DROPPED)
    if graph is None:
        raise LocalProtocolError("no-graph", f"{_MEMBERS} hospitals have no sparse graph.")
    chosen = NeighbourGraph(degree=graph.degree, threshold=graph.threshold)
    return Consortium.make(folder, _MEMBERS, build, graph=chosen, epoch_rounds=1)


def _begun(stage: Consortium) -> tuple[LyingCoordinator, Vectors]:
    stage.set_up()
    coordinator = LyingCoordinator(stage.charter, stage.clients)
    coordinator.adopt(stage.sent)
    vectors = stage.random_vectors(np.random.default_rng(1))
    coordinator.start_round(vectors)
    return coordinator, vectors


def isolation(build: Build, folder: Path) -> Outcome:
    """A few holders of the victim hear that all survived, everybody else that the victim's neighbours have dropped."""
    with _consortium(folder, build) as stage:
        coordinator, vectors = _begun(stage)
        victim = next(number for number in coordinator.everybody if _can_be_cut_off(coordinator, number))
        tries, neighbours = Tries(Refuser.HOSPITAL), _neighbours(coordinator, victim)
        told_all = _enough_holders(coordinator, victim)
        for number in told_all:
            tries(coordinator.ask, number, coordinator.everybody, [])
        for number in coordinator.all_but(*told_all, victim):
            tries(coordinator.ask, number, coordinator.all_but(*(neighbours - {number})), [])
        guess = coordinator.strip(victim, neighbours)
        return tries.outcome(recovered(guess, stage.integers(vectors, victim), f"h{victim}'s vector"))


def _neighbours(coordinator: LyingCoordinator, victim: int) -> set[int]:
    drew = {number for number in coordinator.everybody if victim in coordinator.advertised(number).holders}
    return drew | set(coordinator.advertised(victim).holders)


def _enough_holders(coordinator: LyingCoordinator, victim: int) -> list[int]:
    return coordinator.advertised(victim).holders[: coordinator.session.share_threshold]


def _can_be_cut_off(coordinator: LyingCoordinator, victim: int) -> bool:
    """Whether every neighbour's mask key can be had from others than those who give the victim's self-mask seed."""
    told_all = set(_enough_holders(coordinator, victim))
    return all(
        len(set(coordinator.advertised(neighbour).holders) - told_all - {victim}) >= coordinator.session.share_threshold
        for neighbour in _neighbours(coordinator, victim)
    )


def forged_agreements(build: Build, folder: Path) -> Outcome:
    """All agreements but one are invented: a hospital that checks some only might miss that."""
    with _consortium(folder, build) as stage:
        coordinator, _ = _begun(stage)
        tries, taken = Tries(Refuser.HOSPITAL), 0
        survivors = coordinator.all_but(_MEMBERS)
        for number in survivors:
            coordinator.propose(number, survivors)
        for number in survivors:
            taken += tries(coordinator.clients[number].receive, _forged(coordinator, survivors)) is not None
        return tries.outcome(f"shares of {taken} hospitals, for a set that one has agreed to" if taken else None)


def _forged(coordinator: LyingCoordinator, survivors: list[int]) -> bytes:
    honest = decode(coordinator.read(coordinator.unmask_request(survivors)).payload, Unmask)
    first, *others = honest.agreements
    invented = [Agreement(sender=one.sender, sequence=one.sequence, signature=bytes(64)) for one in others]
    payload = msgspec.structs.replace(honest, agreements=[first, *invented])
    return coordinator.forge(Stage.UNMASK, payload, round_number=coordinator.round)


_LARGE = "What holds in a large consortium"

ATTACKS: Final = (
    Attack(
        "isolation-among-neighbours",
        Liar.COORDINATOR,
        "Tells a victim's holders that all survived and all others that its neighbours dropped, to open all its masks.",
        _LARGE,
        Refused.with_reasons(Refuser.HOSPITAL, "no-agreement"),
        isolation,
        "Bell et al. 2020",
        quick=True,
    ),
    Attack(
        "forged-agreements",
        Liar.COORDINATOR,
        "Shows many agreements of which all but one are invented, to hospitals that check some of them.",
        _LARGE,
        Refused.with_reasons(Refuser.HOSPITAL, "forged-agreement"),
        forged_agreements,
    ),
)
