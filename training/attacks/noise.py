"""Attacks on noise: to have more of it removed than survivors allow, or a sum taken with other noise than is due.

Where all seven survive, both components of noise are removed; where six do, the second; where five do, neither.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec
import numpy as np
import numpy.typing as npt

from secagg.charter import Model
from secagg.encoding import pack
from secagg.encoding.ring import RingVector
from secagg.masking import MaskingClient, RoundSum, kdf, shamir, tags
from secagg.masking.dealing import MASK_KEY, EpochSecrets
from secagg.masking.kdf import Secret
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.messages import Advertise, Masked, Reveal, Roster, nth
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.verification import ForgedSumError
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import decode
from training.attacks.coordinator import LyingCoordinator
from training.attacks.members import LIAR
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import MODEL_DIGEST, Consortium, Vectors
from training.testbed.toy_noise import SPREAD, noisy

_MEMBERS: Final = 7
_LEVELS: Final = (7, 6)
_COLLUDER: Final = 1
_FEW: Final = (1, 2, 3, 4, 5)
_FEW_PARAMETERS: Final = 2
Parts = Sequence[tuple[RingVector, int]]
"""Of all that survived, the sum with all noise and its tag; then of each component its noise and tag, without pads."""


class NoisyCoordinator(LyingCoordinator):
    """As its parent, where hospitals add noise. Of a reveal it also keeps the shares of noise seeds.

    Attributes:
        noise_shares: every share of a noise seed that it has seen of this round, by (owner, component) and holder.
    """

    def __init__(self, stage: Consortium, colluders: Collection[int] = ()) -> None:
        super().__init__(stage.charter, stage.clients, colluders=colluders)
        self._stage = stage
        self.noise_shares: defaultdict[tuple[int, int], dict[int, bytes]] = defaultdict(dict)

    def collect(self, vectors: Mapping[int, RingVector], model: bytes = MODEL_DIGEST) -> None:
        """Take the masked vector of everyone, each with its noise; colluders hand over their shares of seeds."""
        self.shares.clear()
        for number, vector in vectors.items():
            with_noise, _, components = self._stage.with_noise(number, vector)
            self.masked[number] = self.clients[number].mask(with_noise, model, components)
        slot = self.session.slot(self.round)
        for colluder in self.colluders:
            self._hand_over(colluder)
            for owner, held in self.clients[colluder]._current().held.items():
                for component, share in enumerate(held.rounds[slot][MASK_KEY + 1 :], 1):
                    self.noise_shares[owner, component][colluder] = share

    def ask(self, number: int, survivors: Iterable[int], agreements: Sequence[bytes] | None = None) -> Reveal:
        """Name ``survivors`` to one hospital; it gives shares of the last components, as many as it lets go."""
        owners, components = sorted(survivors), self.session.noise_components
        reveal = cast(Reveal, super().ask(number, owners, agreements))
        given = len(reveal.seed_shares) // SHARE_SIZE // len(owners) - 1
        for place in range(given):
            for index, owner in enumerate(owners):
                share = nth(reveal.seed_shares, (1 + place) * len(owners) + index)
                self.noise_shares[owner, components - given + 1 + place][number] = share
        return reveal

    def seed_of(self, owner: int, component: int) -> bytes | None:
        """The seed of a hospital's noise, if it colludes, or if t shares give what it committed to."""
        slot = self.session.slot(self.round)
        if owner in self.colluders:
            return self.clients[owner]._current().secrets.rounds[slot][MASK_KEY + component]
        shares = self.noise_shares[owner, component]
        if len(shares) < self.session.share_threshold:
            return None
        seed = shamir.reconstruct(dict(sorted(shares.items())[: self.session.share_threshold]))
        committed = nth(self.advertised(owner).seed_commitments, self.session.seed_place(self.round, component))
        fits = kdf.noise_seed_commitment(seed, self.session, self.round, owner, component) == committed
        return seed if fits else None

    def noise_of(self, owner: int, component: int) -> RingVector | None:
        """A hospital's noise, if its seed is known."""
        seed = self.seed_of(owner, component)
        if seed is None:
            return None
        return self._stage.noise(kdf.noise_key(seed, self.session, self.round, owner, component), component)

    def honest_noise(self, owners: Collection[int], component: int) -> RingVector | None:
        """A component's noise of all these hospitals together; None if one of theirs is unknown."""
        known = [noise for owner in owners if (noise := self.noise_of(owner, component)) is not None]
        return sum(known, self.session.ring.zeros(self.session.length)) if len(known) == len(owners) else None

    def parts(self, survivors: Sequence[int]) -> Parts:
        """All that it can compute of a round in which everybody survived: see `Parts`."""
        total, tag = self.unmask_sum(survivors)
        components = range(1, self.session.noise_components + 1)
        drawn = {component: self.honest_noise(survivors, component) for component in components}
        known = [
            (noise, self.component_tag(survivors, component)) for component, noise in drawn.items() if noise is not None
        ]
        return [(total, tag), *known]

    def component_tag(self, survivors: Sequence[int], component: int) -> int:
        """The sum of a component's tags, without masks, and without the pads of those whose seeds are known."""
        sent = [sum(self._tag(owner, place) for owner in survivors) for place in range(component + 1)]
        gone, unmasked = self.all_but(*survivors), self.session.ring.zeros(self.session.length)
        keys = [self._self_mask(owner) for owner in survivors]
        keys += [key for owner in survivors for key in self.pairwise_keys(owner, gone) or []]
        tag = add_masks(unmasked, keys, sent, self.session.tag_size)[component]
        known = {owner: seed for owner in survivors if (seed := self.seed_of(owner, component)) is not None}
        return tag - sum(
            kdf.noise_tag_pad(seed, self.session, self.round, owner, component) for owner, seed in known.items()
        )

    def _self_mask(self, owner: int) -> SignedKey:
        seed = self.rebuild(owner, Secret.SELF_MASK_SEED) or bytes(SHARE_SIZE)
        return SignedKey(kdf.self_mask_key(seed, self.session, self.round, MODEL_DIGEST, owner), -1)

    def _tag(self, owner: int, place: int) -> int:
        size = self.session.tag_size
        tags = decode(self.read(self.masked[owner]).payload, Masked).tags
        return int.from_bytes(tags[size * place : size * (place + 1)], "little")


def _stage(folder: Path, build: Build) -> Consortium:
    return Consortium.make(folder, _MEMBERS, build, **noisy(*_LEVELS))


def _small(stage: Consortium) -> Vectors:
    session, generator = stage.server.session, np.random.default_rng(1)
    return {
        number: session.ring.from_signed(generator.integers(-1000, 1000, session.length)) for number in stage.clients
    }


def _begun(stage: Consortium) -> NoisyCoordinator:
    coordinator = NoisyCoordinator(stage, colluders=[_COLLUDER])
    coordinator.set_up()
    coordinator.start_round(_small(stage))
    return coordinator


def _bared(coordinator: NoisyCoordinator, survivors: Sequence[int]) -> str | None:
    """Whether noise that must stay in the sum over ``survivors`` is known of honest hospitals in it."""
    honest = [number for number in survivors if number not in coordinator.colluders]
    kept = range(1, coordinator.session.kept_components(len(survivors)) + 1)
    known = [owner for owner in honest for component in kept if coordinator.noise_of(owner, component) is not None]
    return f"noise that must stay, {len(known)} components of it, in a sum over {len(survivors)}" if known else None


def of_a_larger_cohort(build: Build, folder: Path) -> Outcome:
    """Everybody is named to who will answer for everybody, and five to the others: the sum is over five."""
    with _stage(folder, build) as stage:
        coordinator, tries = _begun(stage), Tries(Refuser.HOSPITAL)
        for number in _FEW[1:]:
            coordinator.propose(number, _FEW)
        for number in coordinator.all_but(_COLLUDER):
            tries(coordinator.ask, number, coordinator.everybody)
        for number in _FEW[1:]:
            tries(coordinator.ask, number, _FEW)
        return tries.outcome(_bared(coordinator, _FEW))


def asked_twice(build: Build, folder: Path) -> Outcome:
    """After five have answered for five, they are asked for what is removed where six survive, and where all do."""
    with _stage(folder, build) as stage:
        coordinator, tries = _begun(stage), Tries(Refuser.HOSPITAL)
        for number in _FEW[1:]:
            coordinator.propose(number, _FEW)
        for number in _FEW[1:]:
            coordinator.ask(number, _FEW)
        for number in coordinator.all_but(_COLLUDER):
            tries(coordinator.ask, number, coordinator.everybody)
        learned = _bared(coordinator, _FEW)
        # The same step once more, in a round in which everybody is said to survive.
        coordinator.noise_shares.clear()
        coordinator.start_round(_small(stage))
        for number in _FEW[1:]:
            tries(coordinator.ask, number, coordinator.everybody)
        return tries.outcome(learned)


def in_its_own_tag(build: Build, folder: Path) -> Outcome:
    """Five survive, a model of few numbers: all noise that they can have added together is tried on its tag."""
    model = Model(digest=MODEL_DIGEST, parameters=_FEW_PARAMETERS)
    with Consortium.make(folder, _MEMBERS, build, model=model, **noisy(*_LEVELS)) as stage:
        coordinator, tries = _begun(stage), Tries(Refuser.HOSPITAL)
        for number in _FEW[1:]:
            coordinator.propose(number, _FEW)
        for number in _FEW[1:]:
            coordinator.ask(number, _FEW)
        ring, component = coordinator.session.ring, 1
        truth = np.sum([ring.to_signed(stage.drawn[number][component - 1]) for number in _FEW], axis=0)
        learned = recovered(_searched(coordinator, _FEW, component), truth, "noise that must stay in a sum over five")
        # What hides it follows from its seeds: shares of those are all that would help.
        for number in _FEW[1:]:
            tries(coordinator.ask, number, coordinator.everybody)
        return tries.outcome(learned)


def _searched(coordinator: NoisyCoordinator, survivors: Sequence[int], component: int) -> npt.NDArray[np.int64] | None:
    """The one noise of all these hospitals together that has the tag which they sent, by the key of their tags."""
    session, largest = coordinator.session, SPREAD * component * len(survivors)
    epoch_key = coordinator.clients[_COLLUDER].tag_key
    offsets = kdf.noise_tag_key(epoch_key, session, coordinator.round, MODEL_DIGEST, component)
    wanted = coordinator.component_tag(survivors, component)
    wanted -= tags.offset(session.ring, offsets, survivors)
    units = list(session.ring.from_signed(np.eye(session.length, dtype=np.int64)))
    key = kdf.round_tag_key(epoch_key, session, coordinator.round, MODEL_DIGEST)
    coefficients = np.array(tags.products(units, session.ring, key), np.uint64)
    axes = np.meshgrid(*[np.arange(-largest, largest + 1)] * session.length)
    tried = np.stack(axes, -1).reshape(-1, session.length)
    found = tried[tried.view(np.uint64) @ coefficients == np.uint64(wanted % (1 << 64))]
    return found[0] if len(found) == 1 else None


def _sums_taken(build: Build, folder: Path, claims: Callable[[Parts], Sequence[tuple[RingVector, int]]]) -> Outcome:
    """All have revealed, and all noise is known. Each hospital is given another false sum: one try is all there is."""
    with _stage(folder, build) as stage:
        coordinator, tries = NoisyCoordinator(stage), Tries(Refuser.HOSPITAL)
        coordinator.set_up()
        coordinator.start_round(_small(stage))
        coordinator.unmask(coordinator.everybody)
        session = coordinator.session
        for number, (vector, tag) in enumerate(claims(coordinator.parts(coordinator.everybody)), 1):
            packed = pack(vector & session.ring.dtype.type((1 << session.ring.bits) - 1), session.ring)
            tag %= 1 << 8 * session.tag_size
            tries(stage.clients[number].receive, coordinator.sum_message(coordinator.everybody, packed, tag=tag))
        taken = [number for number, client in stage.clients.items() if client.take_sum()]
        return tries.outcome(f"{len(taken)} hospitals took a sum with other noise than is due" if taken else None)


def wrong_removal(build: Build, folder: Path) -> Outcome:
    """Noise is left in, or one component of it; it is removed twice, or less of it. The tag is the one that is due."""

    def claims(parts: Parts) -> list[tuple[RingVector, int]]:
        (total, tag), (first, first_tag), (second, second_tag) = parts
        due = tag - first_tag - second_tag
        return [
            (total, due),
            (total - first, due),
            (total - second, due),
            (total - first - second - second, due),
            (total - first - second - first, due),
        ]

    return _sums_taken(build, folder, claims)


def with_its_own_tag(build: Build, folder: Path) -> Outcome:
    """The same, each with the tags that were sent of what is in it: a linear code alone would fit."""

    def claims(parts: Parts) -> list[tuple[RingVector, int]]:
        (total, tag), (first, first_tag), (second, second_tag) = parts
        return [
            (total, tag),
            (total - first, tag - first_tag),
            (total - second, tag - second_tag),
            (total - first - second - second, tag - first_tag - 2 * second_tag),
            (total - first - second - first, tag - 2 * first_tag - second_tag),
        ]

    return _sums_taken(build, folder, claims)


class _FalseNoise(EpochSecrets):
    """Other noise seeds than those that were advertised."""

    def __init__(self, honest: EpochSecrets, client: MaskingClient) -> None:
        super().__init__(client.session, client.number, os.urandom)
        self.share_key, self.tag_contribution = honest.share_key, honest.tag_contribution
        noise = MASK_KEY + 1
        self.rounds = [(*true[:noise], *false[noise:]) for true, false in zip(honest.rounds, self.rounds, strict=True)]
        self._honest = honest

    def advertisement(self) -> Advertise:
        return self._honest.advertisement()


class FalseNoiseDealer(MaskingClient):
    """Deals shares of other noise seeds than it committed to, and than it draws with."""

    def _deal(self, payload: Roster) -> list[bytes]:
        epoch = self._current()
        honest, epoch.secrets = epoch.secrets, _FalseNoise(epoch.secrets, self)
        messages = super()._deal(payload)
        epoch.secrets = honest
        return messages


def false_dealing(build: Build, folder: Path) -> Outcome:
    """A hospital's noise is other than its shares give: what is removed is not what is in the sum."""
    with _stage(folder, build) as stage:
        liar = FalseNoiseDealer(stage.charter, stage.identities[LIAR - 1], stage.latches[LIAR], stage.policy)
        stage.clients[LIAR] = liar
        tries = Tries(Refuser.COORDINATOR)
        stage.set_up()
        stage.deliver(stage.server.begin(1))
        outbox = stage.answer(stage.deliver(stage.answer(stage.mask(_small(stage)))))
        fault = stage.server.fault
        if fault and fault.culprit == f"h{LIAR}":
            tries.reasons.add(fault.reason)
        stopped = 0
        for number, message in outbox if stage.server.result else []:
            try:
                stage.clients[number].receive(message)
            except ForgedSumError:
                stopped += 1
        return tries.outcome(f"{stopped} hospitals stopped, and lay it to the coordinator" if stopped else None)


def false_shares(build: Build, folder: Path) -> Outcome:
    """A hospital reveals shares of noise seeds that are corrupt, of the other component, too few or too many."""
    with _stage(folder, build) as stage:
        tries, vectors = Tries(Refuser.COORDINATOR), _small(stage)
        stage.set_up()
        stage.deliver(stage.server.begin(1))
        replies = stage.deliver(stage.answer(stage.mask(vectors)))
        reader = LyingCoordinator(stage.charter, stage.clients)
        honest = decode(reader.read(dict(replies)[LIAR]).payload, Reveal)
        size = len(honest.seed_shares) // 3
        own, first, second = (honest.seed_shares[size * part : size * (part + 1)] for part in range(3))
        sealer = Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], 1)
        for shares in (
            own + bytes([first[0] ^ 1]) + first[1:] + second,
            own + first + second[:-1] + bytes([second[-1] ^ 1]),
            own + second + first,
            own + first,
            own + first + second + second,
        ):
            false = msgspec.structs.replace(honest, seed_shares=shares)
            tries(stage.server.receive, LIAR, sealer.seal(Stage.REVEAL, false, round=1))
        for number, reply in replies:
            tries(stage.server.receive, number, reply)
        result, fault = stage.server.result, stage.server.fault
        ring, truth = stage.server.session.ring, stage.integers(vectors, *stage.clients)
        right = isinstance(result, RoundSum) and np.array_equal(ring.to_signed(result.vector), truth)
        blamed = f"the round has no sum, and {fault.culprit} is named for it" if fault else "a wrong sum"
        return tries.outcome(None if right else blamed)


_CLAIM: Final = "What holds where surplus noise is removed"
_SOURCE: Final = "Jiang, Wang and Chen 2024"

ATTACKS: Final = (
    Attack(
        "noise-of-a-larger-cohort",
        Liar.BOTH,
        "Names everybody to some and five to the others, to sum over five without the noise that five must keep.",
        _CLAIM,
        Refused.with_reasons(Refuser.HOSPITAL, "survivors-changed"),
        of_a_larger_cohort,
        _SOURCE,
        quick=True,
    ),
    Attack(
        "noise-asked-twice",
        Liar.BOTH,
        "Asks for the noise of a larger cohort once the sum over a smaller one is had, in this round and in the next.",
        _CLAIM,
        Refused.with_reasons(Refuser.HOSPITAL, "unexpected-message", "differencing"),
        asked_twice,
        _SOURCE,
    ),
    Attack(
        "kept-noise-from-its-tag",
        Liar.BOTH,
        "Searches for the noise that must stay in a sum of few numbers, by its tag and a hospital's key of the tags.",
        _CLAIM,
        Refused.with_reasons(Refuser.HOSPITAL, "unexpected-message"),
        in_its_own_tag,
    ),
    Attack(
        "wrong-noise-removed",
        Liar.COORDINATOR,
        "Gives out a sum from which too little noise was removed, or too much, with the tag of the true one.",
        _CLAIM,
        Refused.with_reasons(Refuser.HOSPITAL, "forged-sum"),
        wrong_removal,
        _SOURCE,
    ),
    Attack(
        "noise-with-its-own-tag",
        Liar.COORDINATOR,
        "Gives out a sum with other noise than is due, and the tags that hospitals sent of just what is in it.",
        _CLAIM,
        Refused.with_reasons(Refuser.HOSPITAL, "forged-sum"),
        with_its_own_tag,
    ),
    Attack(
        "false-noise-shares",
        Liar.HOSPITAL,
        "Reveals shares of noise seeds that it was not dealt, so that wrong noise is removed and another is blamed.",
        _CLAIM,
        Refused.with_reasons(Refuser.COORDINATOR, "wrong-share", "wrong-length"),
        false_shares,
    ),
    Attack(
        "false-noise-dealing",
        Liar.HOSPITAL,
        "Deals shares of another noise seed than it draws with, so that all take the sum for a forged one.",
        _CLAIM,
        Refused.with_reasons(Refuser.COORDINATOR, "wrong-dealing"),
        false_dealing,
    ),
)
