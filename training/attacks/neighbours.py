"""Attacks on large consortia, where hospitals mask with a few neighbours: to cut one off from all it masks with.

A small graph stands for a large one; it hides with the same bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from secagg.charter import NeighbourGraph
from secagg.errors import LocalProtocolError
from secagg.graph import smallest_graph
from secagg.masking.messages import Agreement, Roster, Unmask
from secagg.masking.neighbours import recipients_of, viable
from secagg.wire import Stage
from secagg.wire.envelope import decode
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import Consortium, Vectors

_MEMBERS: Final = 60
_MANY: Final = 80
_DROPPED: Final = 1


def _consortium(folder: Path, build: Build, members: int = _MEMBERS, dropped: int = _DROPPED) -> Consortium:
    graph = smallest_graph(members, 1, dropped)
    if graph is None:
        raise LocalProtocolError("no-graph", f"{members} hospitals have no sparse graph.")
    chosen = NeighbourGraph.of(graph)
    return Consortium.make(folder, members, build, graph=chosen, epoch_rounds=1)


def _begun(stage: Consortium) -> tuple[LyingCoordinator, Vectors]:
    stage.set_up()
    coordinator = LyingCoordinator(stage.charter, stage.clients)
    coordinator.adopt(stage.sent)
    vectors = stage.random_vectors(np.random.default_rng(1))
    coordinator.start_round(vectors)
    return coordinator, vectors


def isolation(build: Build, folder: Path) -> Outcome:
    """A few holders of the victim hear that all survived, everybody else that the victim's neighbours have dropped."""
    for attempt in range(20):
        place = folder / str(attempt)
        place.mkdir()
        with _consortium(place, build) as stage:
            coordinator, vectors = _begun(stage)
            # Not in every graph that is drawn is there one.
            for victim in coordinator.everybody:
                if _can_be_cut_off(coordinator, victim):
                    return _isolate(stage, coordinator, vectors, victim)
    raise LocalProtocolError("no-victim", "In no graph that was drawn can a hospital be cut off.")


def _isolate(stage: Consortium, coordinator: LyingCoordinator, vectors: Vectors, victim: int) -> Outcome:
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


def exclusion(build: Build, folder: Path) -> Outcome:
    """Two sums over the same set, of which the first does not hold the victim: nobody in it masks with the victim."""
    with _consortium(folder, build, _MANY, _MANY // 10) as stage:
        coordinator, victim, drew = _epoch_with_a_loose_hospital(stage)
        named, vectors = coordinator.all_but(*drew), stage.random_vectors(np.random.default_rng(1))
        others = [number for number in named if number != victim]
        # Its holders are shown nothing of the victim; whoever drew it is left out; and so it hears of nobody.
        hidden = dict.fromkeys(coordinator.advertised(victim).holders, victim)
        _set_up(coordinator, named, hidden)
        without = _sum_of(coordinator, vectors, named, others)
        later = _epoch_of_all(stage, named, coordinator.session.epoch + 1)
        _set_up(later, named, {})
        tries = Tries(Refuser.HOSPITAL)
        whole = tries(_sum_of, later, vectors, named, named)
        guess = None if whole is None else whole - without
        return tries.outcome(recovered(guess, stage.integers(vectors, victim), f"h{victim}'s vector"))


def _epoch_with_a_loose_hospital(stage: Consortium) -> tuple[LyingCoordinator, int, set[int]]:
    """An epoch in whose graph somebody can be cut off by leaving out few enough: that one, and who is left out."""
    for epoch in range(1, 20):
        coordinator = LyingCoordinator(stage.charter, stage.clients, epoch=epoch)
        coordinator.open()
        ads = {number: coordinator.advertised(number) for number in coordinator.everybody}
        others = coordinator.everybody[1:]
        drawn_by = {victim: {number for number in ads if victim in ads[number].holders} for victim in others}
        # The fewer are left out, the sooner the others draw a graph in which each has enough holders.
        for victim, drew in sorted(drawn_by.items(), key=lambda item: len(item[1])):
            rest = {number: ads[number] for number in ads if number not in drew}
            if 1 not in drew | set(ads[victim].holders) and viable(rest, coordinator.session) == frozenset(rest):
                return coordinator, victim, drew
    raise LocalProtocolError("no-victim", "In no graph that was drawn can a hospital be cut off.")


def _epoch_of_all(stage: Consortium, named: list[int], first: int) -> LyingCoordinator:
    """A later epoch in whose graph all of ``named`` have enough holders among them."""
    for epoch in range(first, first + 50):
        coordinator = LyingCoordinator(stage.charter, stage.clients, epoch=epoch, first_round=2)
        coordinator.open(named)
        ads = {number: coordinator.advertised(number) for number in named}
        if viable(ads, coordinator.session) == frozenset(named):
            return coordinator
    raise LocalProtocolError("no-epoch", "No graph was drawn in which all have holders enough.")


def _set_up(coordinator: LyingCoordinator, named: list[int], hidden: Mapping[int, int]) -> None:
    """A set-up in which some are not shown one other, and get no deal of it."""
    ads = {number: coordinator.advertised(number) for number in named}
    recipients = {dealer: recipients_of(dealer, ads, named, coordinator.session) for dealer in named}
    for number in named:
        shown = {number, *recipients[number], *(dealer for dealer in named if number in recipients[dealer])}
        keys = [memoryview(coordinator.advertisements[one]) for one in sorted(shown - {hidden.get(number)})]
        roster = coordinator.forge(Stage.ROSTER, Roster(participants=named, advertisements=keys), recipient=number)
        for reply in coordinator.clients[number].receive(roster):
            coordinator.deals[number, coordinator.read(reply).header.recipient] = reply
    for number in named:
        dealers = [dealer for dealer in named if number in recipients[dealer] and dealer != hidden.get(number)]
        bundle = coordinator.deal_bundle(number, [coordinator.deals[dealer, number] for dealer in dealers])
        coordinator.clients[number].receive(bundle)


def _sum_of(
    coordinator: LyingCoordinator, vectors: Vectors, named: list[int], summed: list[int]
) -> npt.NDArray[np.int64]:
    """The sum over ``summed``, all of whom agree to and answer for the set ``named``."""
    coordinator.begin(named)
    coordinator.know_holders(named)
    coordinator.collect({number: vectors[number] for number in named})
    for number in summed:
        coordinator.propose(number, named)
    for number in summed:
        coordinator.ask(number, named)
    return coordinator.session.ring.to_signed(coordinator.unmask_sum(summed, gone=())[0])


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
        "exclusion-from-a-named-set",
        Liar.COORDINATOR,
        "Sums over one set twice, once with a hospital that nobody in it masks with and that is not in the sum.",
        _LARGE,
        Refused.with_reasons(Refuser.HOSPITAL, "differencing"),
        exclusion,
    ),
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
