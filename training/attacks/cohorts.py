"""Attacks by the survivor set: who is said to be in a sum, and to whom it is said.

Each ends with what the coordinator can compute from the shares it was given: one hospital's vector, or a sum over fewer
hospitals than the charter promises.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from secagg.masking.kdf import Secret
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import Consortium, Vectors

VICTIM: Final = 1


def begun(stage: Consortium, *colluders: int) -> tuple[LyingCoordinator, Vectors]:
    """A lying coordinator whose consortium is set up and has masked in round 1."""
    coordinator = LyingCoordinator(stage.charter, stage.clients, colluders=colluders)
    vectors = stage.random_vectors(np.random.default_rng(1))
    coordinator.set_up()
    coordinator.start_round(vectors)
    return coordinator, vectors


def vector_of(stage: Consortium, vectors: Vectors, coordinator: LyingCoordinator) -> str | None:
    """What of the victim's vector the coordinator can compute."""
    guess = coordinator.strip(VICTIM, coordinator.everybody)
    return recovered(guess, stage.integers(vectors, VICTIM), f"h{VICTIM}'s vector")


def two_survivor_sets(build: Build, folder: Path) -> Outcome:
    """Half of the hospitals are told that the victim survived, half that it dropped."""
    with Consortium.make(folder, 6, build) as stage:
        coordinator, vectors = begun(stage, 6)
        tries = Tries(Refuser.HOSPITAL)
        everybody, others = coordinator.everybody, coordinator.all_but(VICTIM)
        for number in (4, 5):
            tries(coordinator.propose, number, others)
        for number in (2, 3):
            tries(coordinator.ask, number, everybody)
        for number in (4, 5):
            tries(coordinator.ask, number, others)
        return tries.outcome(vector_of(stage, vectors, coordinator))


def mixed_survivor_sets(build: Build, folder: Path) -> Outcome:
    """Every hospital is told another set, each large enough, so that together they give a sum over only two."""
    with Consortium.make(folder, 5, build, max_colluding=0) as stage:
        coordinator, vectors = begun(stage)
        tries = Tries(Refuser.HOSPITAL)
        told = {1: [1, 2, 3], 2: [1, 2, 4], 3: [1, 2, 3], 4: [1, 2, 4], 5: [1, 2, 5]}
        for number, survivors in told.items():
            tries(coordinator.propose, number, survivors)
        for number, survivors in told.items():
            tries(coordinator.ask, number, survivors)
        pair = (1, 2)
        known = [coordinator.rebuild(owner, Secret.SELF_MASK_SEED) for owner in pair]
        known += [coordinator.rebuild(owner, Secret.MASK_KEY) for owner in coordinator.all_but(*pair)]
        guess = None if None in known else coordinator.session.ring.to_signed(coordinator.unmask_sum(pair)[0])
        what = f"a sum over 2 hospitals where the charter promises {coordinator.session.threshold}"
        return tries.outcome(recovered(guess, stage.integers(vectors, *pair), what))


def set_for_each(build: Build, folder: Path) -> Outcome:
    """The victim is given the deals of t - 1 neighbours, and everybody is told that it survived and that those of the
    neighbours that do not collude, itself excepted, did not.

    So t hospitals reveal the victim's seed, and t the mask key of each neighbour. The victim's own mask key is never
    asked for: its masks can be had from the other end.
    """
    tries, read = Tries(Refuser.HOSPITAL), None
    for members, colluders in ((7, ()), (10, (2,))):
        place = folder / str(members)
        place.mkdir()
        with Consortium.make(place, members, build, max_colluding=len(colluders)) as stage:
            coordinator = LyingCoordinator(stage.charter, stage.clients, colluders=colluders)
            vectors = stage.random_vectors(np.random.default_rng(1))
            neighbours = _tell_each_another(coordinator, vectors, tries)
            guess = coordinator.strip(VICTIM, neighbours)
            read = read or recovered(guess, stage.integers(vectors, VICTIM), f"h1's vector, of {members} hospitals")
    return tries.outcome(read)


def _tell_each_another(coordinator: LyingCoordinator, vectors: Vectors, tries: Tries) -> list[int]:
    """The members with which the victim shares masks in the end."""
    hidden = [VICTIM, *coordinator.colluders]
    neighbours = [*hidden, *coordinator.all_but(*hidden)][: coordinator.session.threshold]
    exposed = set(neighbours) - set(hidden)
    coordinator.open()
    coordinator.send_roster()
    tries(coordinator.send_deals, [VICTIM], neighbours)
    if VICTIM not in coordinator.dealt_to:
        # It wants everybody's deals: it gets them, and the rest is tried without withholding any.
        coordinator.send_deals([VICTIM])
        neighbours = coordinator.everybody
    coordinator.send_deals(coordinator.all_but(VICTIM))
    coordinator.start_round(vectors)
    for number in coordinator.all_but(*coordinator.colluders):
        survivors = sorted(neighbours) if number == VICTIM else coordinator.all_but(*(exposed - {number}))
        if len(survivors) < len(coordinator.everybody):
            tries(coordinator.propose, number, survivors)
        tries(coordinator.ask, number, survivors)
    return neighbours


def withheld_deals(build: Build, folder: Path) -> Outcome:
    """The victim is given the deals of one peer only, and masks with it alone; that one is said to have dropped."""
    with Consortium.make(folder, 6, build) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries = Tries(Refuser.HOSPITAL)
        coordinator.open()
        coordinator.send_roster()
        tries(coordinator.send_deals, [VICTIM], [2])
        if tries.reasons:
            return tries.outcome(None)
        coordinator.send_deals(coordinator.all_but(VICTIM))
        coordinator.start_round(vectors)
        survivors = coordinator.all_but(2)
        for number in coordinator.all_but(VICTIM, 2):
            coordinator.propose(number, survivors)
        for number in coordinator.all_but(VICTIM, 2):
            coordinator.ask(number, survivors)
        guess = coordinator.strip(VICTIM, [2])
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


def minority_cohort(build: Build, folder: Path) -> Outcome:
    """A sum is asked for over the victim and one hospital that colludes, of five."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator, vectors = begun(stage, 5)
        tries = Tries(Refuser.HOSPITAL)
        for number in coordinator.all_but(5):
            tries(coordinator.propose, number, [VICTIM, 5])
            tries(coordinator.ask, number, [VICTIM, 5])
        return tries.outcome(vector_of(stage, vectors, coordinator))


def empty_cohort(build: Build, folder: Path) -> Outcome:
    """A sum over nobody is asked for: everybody dropped, so that everybody's mask key may be had."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator, _ = begun(stage)
        tries = Tries(Refuser.HOSPITAL)
        for number in coordinator.everybody:
            tries(coordinator.propose, number, [])
            tries(coordinator.ask, number, [])
        keys = [owner for owner in coordinator.everybody if coordinator.rebuild(owner, Secret.MASK_KEY)]
        return tries.outcome(f"the mask keys of {len(keys)} of 5 hospitals" if keys else None)


def duplicated_cohort(build: Build, folder: Path) -> Outcome:
    """The victim is named t times, so that the set is large enough and holds nobody else."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator, vectors = begun(stage)
        tries = Tries(Refuser.HOSPITAL)
        often = [VICTIM] * coordinator.session.threshold
        for number in coordinator.everybody:
            tries(coordinator.propose, number, often)
            tries(coordinator.ask, number, often)
            tries(coordinator.ask, number, [*often, number])
        return tries.outcome(vector_of(stage, vectors, coordinator))


def stranger_in_cohort(build: Build, folder: Path) -> Outcome:
    """The set is filled up with numbers that nobody has, so that it is large enough."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator, vectors = begun(stage, 5)
        tries = Tries(Refuser.HOSPITAL)
        for number in coordinator.all_but(5):
            tries(coordinator.propose, number, [VICTIM, 5, 7, 8])
            tries(coordinator.ask, number, [VICTIM, 5, 7, 8])
        return tries.outcome(vector_of(stage, vectors, coordinator))


def asked_for_others(build: Build, folder: Path) -> Outcome:
    """A hospital that is not in the set is asked for its shares all the same, so that t answers are had for a few."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator, _ = begun(stage)
        tries = Tries(Refuser.HOSPITAL)
        for number in (1, 2, 3, 4):
            coordinator.propose(number, [1, 2, 3, 4])
        reveal = tries(coordinator.ask, 5, [1, 2, 3, 4])
        return tries.outcome("a hospital's shares for a sum that it is not part of" if reveal else None)


_SETS = "Two survivor sets"
_ROUND = "What holds in one round"
_BONAWITZ = "Bonawitz et al. 2017, section 6.2"
_HOSPITAL = Refuser.HOSPITAL

ATTACKS: Final = (
    Attack(
        "two-survivor-sets",
        Liar.BOTH,
        "Tells half of the hospitals that the victim survived and half that it dropped, to have both its secrets.",
        _SETS,
        Refused.with_reasons(_HOSPITAL, "no-agreement"),
        two_survivor_sets,
        _BONAWITZ,
        quick=True,
    ),
    Attack(
        "mixed-survivor-sets",
        Liar.COORDINATOR,
        "Tells every hospital another set, each large enough, and mixes the answers into a sum over few.",
        _SETS,
        Refused.with_reasons(_HOSPITAL, "no-agreement"),
        mixed_survivor_sets,
        quick=True,
    ),
    Attack(
        "survivor-set-for-each",
        Liar.BOTH,
        "Names another set to every hospital, so that the victim's few neighbours all seem to have dropped.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "deals-missing", "no-agreement"),
        set_for_each,
    ),
    Attack(
        "withheld-deals",
        Liar.COORDINATOR,
        "Gives the victim one peer's deal only, so that it masks with that one alone, and says that one dropped.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "deals-missing"),
        withheld_deals,
        quick=True,
    ),
    Attack(
        "minority-cohort",
        Liar.BOTH,
        "Asks for a sum over the victim and a hospital that colludes.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "below-threshold"),
        minority_cohort,
    ),
    Attack(
        "empty-cohort",
        Liar.COORDINATOR,
        "Asks for a sum over nobody, so that everybody's mask key is revealed.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "below-threshold"),
        empty_cohort,
    ),
    Attack(
        "duplicated-cohort",
        Liar.COORDINATOR,
        "Names the victim t times over, so that the set seems large enough.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "malformed-survivors"),
        duplicated_cohort,
    ),
    Attack(
        "stranger-in-cohort",
        Liar.BOTH,
        "Fills the set up with members that there are none of.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "unknown-survivor"),
        stranger_in_cohort,
    ),
    Attack(
        "asked-for-others",
        Liar.COORDINATOR,
        "Asks a hospital for shares for a sum that it is not part of.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "not-a-survivor"),
        asked_for_others,
    ),
)
