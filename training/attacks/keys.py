"""Attacks at the set-up: keys in another's place, rosters that differ, deals that are not what was dealt."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from cryptography.exceptions import InvalidTag

from secagg.errors import SecaggError
from secagg.identity import Identity
from secagg.masking import Purpose, kdf
from secagg.masking.dealing import EpochSecrets, HeldShares, Route, open_deal
from secagg.masking.messages import Deal
from secagg.masking.sealing import OneTimeKey
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import decode
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import Consortium

_LOW_ORDER: Final = bytes(32)


def _opened(stage: Consortium) -> LyingCoordinator:
    coordinator = LyingCoordinator(stage.charter, stage.clients)
    coordinator.open()
    return coordinator


def _own_secrets(coordinator: LyingCoordinator, owner: int) -> EpochSecrets:
    """Secrets in a member's name that the attacker knows."""
    return EpochSecrets(coordinator.session, owner, np.random.default_rng(owner).bytes)


def _advertised(coordinator: LyingCoordinator, owner: int, signer: Identity | None, **changes: object) -> bytes:
    """An advertisement in the owner's name with keys that the attacker knows, signed by whoever."""
    sealer = Sealer(coordinator.session.charter, owner, signer, coordinator.session.epoch)
    known = _own_secrets(coordinator, owner).advertisement()
    return sealer.seal(Stage.ADVERTISE, msgspec.structs.replace(known, **changes))


def _read_deal(coordinator: LyingCoordinator, dealer: int, owner: int) -> HeldShares | None:
    """What ``dealer`` sealed for ``owner``, opened with the keys that were put in the owner's place."""
    message = coordinator.deals.get((dealer, owner))
    if message is None:
        return None
    deal = decode(coordinator.read(message).payload, Deal)
    route = Route(coordinator.session, deal.roster_digest, dealer, owner)
    try:
        own_key, advertised = _own_secrets(coordinator, owner).share_key, coordinator.advertised(dealer)
        agreed = kdf.agree(own_key, advertised.share_key, str(dealer))
        return open_deal(route, deal, agreed, advertised, coordinator.session.shared_secrets)
    except SecaggError:
        return None


def substitution(build: Build, folder: Path) -> Outcome:
    """To every hospital, in the name of every other, keys that are unsigned, or signed by a stranger or a member."""
    with Consortium.make(folder, 4, build) as stage:
        tries, read = Tries(Refuser.HOSPITAL), set()
        for epoch, (shown_to, owner) in enumerate(permutations(sorted(stage.clients), 2), 1):
            coordinator = LyingCoordinator(stage.charter, stage.clients, epoch=epoch)
            coordinator.open()
            for signer in (None, Identity.from_seed(bytes(32)), stage.identities[shown_to - 1]):
                roster = coordinator.with_exchanged(owner, _advertised(coordinator, owner, signer))
                tries(coordinator.send_roster, [shown_to], roster)
            if _read_deal(coordinator, shown_to, owner):
                read.add((shown_to, owner))
        return tries.outcome(f"the shares in {len(read)} of 12 deals that were sealed for another" if read else None)


def own_keys_exchanged(build: Build, folder: Path) -> Outcome:
    """A hospital's signing key was stolen: others are shown keys in its name, and it is shown them too."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator = _opened(stage)
        tries = Tries(Refuser.HOSPITAL)
        roster = coordinator.with_exchanged(1, _advertised(coordinator, 1, stage.identities[0]))
        for number in (2, 3, 4, 5):
            coordinator.send_roster([number], roster)
        tries(coordinator.send_roster, [1], roster)
        tries(coordinator.send_roster, [1], coordinator.with_exchanged(1, roster[1])[1:])
        dealt = (1, 2) in coordinator.deals
        return tries.outcome("the victim takes part while its peers deal to the thief" if dealt else None)


def two_rosters(build: Build, folder: Path) -> Outcome:
    """A hospital that colludes signs two sets of keys; each half of the others is shown one."""
    with Consortium.make(folder, 6, build) as stage:
        coordinator = _opened(stage)
        tries = Tries(Refuser.HOSPITAL)
        other = coordinator.with_exchanged(6, _advertised(coordinator, 6, stage.identities[5]))
        coordinator.send_roster([1, 2, 6])
        coordinator.send_roster([3, 4, 5], other)
        for number in (1, 2, 3, 4, 5):
            tries(coordinator.send_deals, [number])
        ready = [number for number in coordinator.all_but(6) if number in coordinator.dealt_to]
        return tries.outcome(f"{len(ready)} of 5 hospitals are set up with different keys of h6" if ready else None)


def opened_in_two_ways(build: Build, folder: Path) -> Outcome:
    """An epoch is opened to one hospital with another purpose, first round or number of rounds than to the others."""
    tries, accused = Tries(Refuser.HOSPITAL), set[str]()
    ways: tuple[dict[str, Any], ...] = ({"purpose": Purpose.STATISTICS}, {"first_round": 2}, {"rounds": 2})
    with Consortium.make(folder, 4, build) as stage:
        for epoch, way in enumerate(ways, 1):
            coordinator = LyingCoordinator(stage.charter, stage.clients, epoch=epoch)
            otherwise = LyingCoordinator(stage.charter, stage.clients, epoch=epoch, **way)
            coordinator.open([1, 2, 3])
            otherwise.open([4])
            coordinator.advertisements |= otherwise.advertisements
            for number in coordinator.everybody:
                accused |= tries(_accused, coordinator.send_roster, number) or set()
            for number in coordinator.everybody if coordinator.deals else ():
                accused |= tries(_accused, coordinator.send_deals, number) or set()
    names = ", ".join(sorted(accused))
    return tries.outcome(f"hospitals' signed word that {names} lied" if names else None)


def _accused(step: Callable[[list[int]], None], number: int) -> set[str]:
    """The member that a hospital takes for the liar; a refusal that names none, or the coordinator, is raised again."""
    try:
        step([number])
    except SecaggError as error:
        if error.culprit in (None, "the coordinator"):
            raise
        return {error.culprit}
    return set()


def low_order_key(build: Build, folder: Path) -> Outcome:
    """A hospital advertises a share key of low order, so that what is sealed for it can be opened by anybody."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator = _opened(stage)
        tries = Tries(Refuser.HOSPITAL)
        weak = _advertised(coordinator, 5, stage.identities[4], share_key=_LOW_ORDER)
        roster = coordinator.with_exchanged(5, weak)
        for number in (1, 2, 3, 4):
            tries(coordinator.send_roster, [number], roster)
        opened = [number for number in (1, 2, 3, 4) if _opens_with_zeros(coordinator, number, 5)]
        return tries.outcome(f"the shares that {len(opened)} hospitals sealed, opened by anybody" if opened else None)


def _opens_with_zeros(coordinator: LyingCoordinator, dealer: int, owner: int) -> bool:
    """Whether a deal is sealed under what follows from a secret of zeros."""
    message = coordinator.deals.get((dealer, owner))
    if message is None:
        return False
    deal = decode(coordinator.read(message).payload, Deal)
    key = kdf.share_sealing_key(bytes(32), coordinator.session, deal.roster_digest, dealer, owner)
    try:
        OneTimeKey(key).open(deal.sealed_shares, deal.share_digests)
    except InvalidTag:
        return False
    return True


def low_order_key_at_the_coordinator(build: Build, folder: Path) -> Outcome:
    """The same, to keep everybody from going on: no hospital takes a roster with such a key."""
    with Consortium.make(folder, 5, build) as stage:
        tries = Tries(Refuser.COORDINATOR)
        replies = dict(stage.deliver(stage.server.open()))
        lying = LyingCoordinator(stage.charter, stage.clients)
        tries(stage.server.receive, 5, _advertised(lying, 5, stage.identities[4], share_key=_LOW_ORDER))
        waiting = 5 in stage.server.missing
        for number in (1, 2, 3, 4):
            stage.server.receive(number, replies[number])
        return tries.outcome(None if waiting else "a key on the roster with which no hospital goes on")


def altered_deals(build: Build, folder: Path) -> Outcome:
    """A dealer corrupts, truncates, lengthens and doubles what it deals to one hospital, and deals another's."""
    with Consortium.make(folder, 5, build) as stage:
        coordinator = _opened(stage)
        coordinator.send_roster()
        tries = Tries(Refuser.HOSPITAL)
        honest = decode(coordinator.read(coordinator.deals[2, 1]).payload, Deal)
        sealed, digests = honest.sealed_shares, honest.share_digests
        rest = [coordinator.deals[dealer, 1] for dealer in (3, 4, 5)]
        sealer = Sealer(stage.charter, 2, stage.identities[1], 1)
        for changes in (
            {"sealed_shares": bytes([sealed[0] ^ 1]) + sealed[1:]},
            {"sealed_shares": sealed[:-1]},
            {"sealed_shares": sealed + bytes(32)},
            {"share_digests": digests[32:]},
            {"share_digests": bytes([digests[0] ^ 1]) + digests[1:]},
        ):
            altered = sealer.seal(Stage.DEAL, msgspec.structs.replace(honest, **changes), recipient=1)
            tries(_give, coordinator, [altered, *rest])
        tries(_give, coordinator, [coordinator.deals[2, 1], coordinator.deals[2, 1], *rest])
        tries(_give, coordinator, [coordinator.deals[2, 3], *rest])
        return tries.outcome(
            "a hospital is set up with shares that nobody dealt" if 1 in coordinator.dealt_to else None
        )


def _give(coordinator: LyingCoordinator, deals: list[bytes]) -> None:
    coordinator.clients[1].receive(coordinator.deal_bundle(1, deals))
    coordinator.dealt_to.add(1)


_ROUND = "What holds in one round"
_HOSPITAL = Refuser.HOSPITAL

ATTACKS: Final = (
    Attack(
        "key-substitution",
        Liar.COORDINATOR,
        "Puts its own keys in every hospital's place before every other: unsigned, signed by a stranger or a member.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "bad-signature"),
        substitution,
        quick=True,
    ),
    Attack(
        "own-keys-exchanged",
        Liar.COORDINATOR,
        "Holds a hospital's stolen signing key, and shows all a roster with other keys in its name, or leaves it out.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "own-keys-altered"),
        own_keys_exchanged,
    ),
    Attack(
        "two-rosters",
        Liar.BOTH,
        "Has a hospital sign two sets of keys and shows each to one half, so that masks do not fit together.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "other-roster"),
        two_rosters,
    ),
    Attack(
        "epoch-opened-in-two-ways",
        Liar.COORDINATOR,
        "Opens an epoch to one hospital otherwise than to others, so that each thinks that the other dealt wrongly.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "other-roster", "wrong-length"),
        opened_in_two_ways,
    ),
    Attack(
        "low-order-key",
        Liar.BOTH,
        "Advertises a key of low order, so that whatever is sealed for it is sealed under a key that all know.",
        _ROUND,
        Refused.with_reasons(_HOSPITAL, "weak-key"),
        low_order_key,
        "RFC 7748, section 6.1",
    ),
    Attack(
        "low-order-key-to-stop-all",
        Liar.HOSPITAL,
        "Advertises a key of low order, so that no hospital can go on with the roster.",
        _ROUND,
        Refused.with_reasons(Refuser.COORDINATOR, "weak-key"),
        low_order_key_at_the_coordinator,
    ),
    Attack(
        "altered-deals",
        Liar.HOSPITAL,
        "Deals shares that are corrupt, too short, too long, doubled, or another's.",
        "What holds around the rounds",
        Refused.with_reasons(_HOSPITAL, "unreadable-shares", "wrong-length", "duplicate", "unexpected-message"),
        altered_deals,
    ),
)
