"""One who knows every hospital's secrets and saw every message that left one, and says what must not have happened.

Knows secrets and shares by looking into real clients; finds a revealed share by its bytes, whatever the order in which
a message lists them, so that it holds for any graph of neighbours. What is sealed for the group it unseals with a
hospital's own key. Trusts no message and no server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from secagg.charter import VerifiedCharter
from secagg.charter.sections import MASKED_SCHEMES
from secagg.encoding.ring import RingVector
from secagg.masking import MaskingClient, Session, shamir
from secagg.masking.dealing import secrets_of
from secagg.masking.group import GroupCipher
from secagg.masking.kdf import Secret
from secagg.masking.messages import Agree, Reveal, SealedReveal
from secagg.masking.session import RoundSum, Settled
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.states import ClientState
from secagg.wire import Header, Stage, open_envelope
from secagg.wire.envelope import decode

_ANY_SIZE = 1 << 30
_OF_A_ROUND = frozenset({Stage.MASKED, Stage.AGREE, Stage.REVEAL})
_ONCE = _OF_A_ROUND | {Stage.ADVERTISE, Stage.DEAL}


@dataclass(frozen=True)
class Place:
    """One secret: whose, of which kind, in which round of which epoch; of a noise seed also of which component."""

    epoch: int
    round: int
    owner: int
    kind: Secret
    component: int = 0


@dataclass(frozen=True)
class Sent:
    """A message that left a hospital, opened."""

    header: Header
    message: bytes
    payload: memoryview


@dataclass(frozen=True)
class Input:
    """What a hospital put into a round."""

    vector: RingVector
    model: bytes
    step: int
    noise: Sequence[RingVector]


@dataclass
class Oracle:
    """Collects while a schedule runs; `violations` judges afterwards.

    Args:
        needed: how many shares give a secret.
    """

    charter: VerifiedCharter
    needed: int
    secrets: dict[Place, bytes] = field(default_factory=dict)
    shares: dict[bytes, tuple[Place, int]] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    inputs: dict[tuple[int, int, int], Input] = field(default_factory=dict)
    results: list[tuple[Session, Settled]] = field(default_factory=list)
    taken: list[tuple[int, RoundSum]] = field(default_factory=list)
    groups: dict[tuple[int, int], GroupCipher] = field(default_factory=dict)
    _seen: set[tuple[int, int, ClientState]] = field(default_factory=set)

    # --- What it sees ------------------------------------------------------------------------------------------

    def look_at(self, client: MaskingClient) -> None:
        """Learn the secrets of an epoch as soon as they are drawn, and the shares as soon as they are dealt."""
        key = (client.number, client.session.epoch, client.state)
        if key in self._seen:
            return
        self._seen.add(key)
        session, epoch = client.session, client._epoch
        if session.encrypted and client.state is ClientState.READY:
            self.groups[session.epoch, client.number] = epoch.group
        for slot in range(session.secret_rounds):
            if client.state is ClientState.ADVERTISED:
                self.secrets |= zip(_places(session, slot, client.number), epoch.secrets.rounds[slot], strict=True)
            if client.state is ClientState.READY:
                self._learn_shares(client, slot)

    def masked(self, client: MaskingClient, vector: RingVector, model: bytes, noise: Sequence[RingVector]) -> None:
        """``noise`` is by component, and not in ``vector``."""
        self.inputs[client.session.epoch, client.round, client.number] = Input(vector, model, client.step, noise)

    def left(self, message: bytes) -> None:
        """A message left a hospital. Whether it arrives is no matter: the network has it."""
        envelope = open_envelope(message, self.charter, _ANY_SIZE)
        self.sent.append(Sent(envelope.header, message, envelope.payload))

    def summed(self, session: Session, result: Settled) -> None:
        self.results.append((session, result))

    def took(self, number: int, total: RoundSum) -> None:
        self.taken.append((number, total))

    def _learn_shares(self, client: MaskingClient, slot: int) -> None:
        session = client.session
        for owner, held in client._epoch.held.items():
            for place, share in zip(_places(session, slot, owner), held.rounds[slot], strict=True):
                self.shares[share] = (place, client.number)

    # --- What it says ------------------------------------------------------------------------------------------

    def violations(self) -> list[str]:
        """Every rule that was broken, in words; empty where all was well."""
        rebuilt = {place: self._rebuilt(place, held) for place, held in self._revealed().items()}
        return [
            *self._answered_twice(),
            *self._answered_for_two_sets(),
            *self._compared_cohorts(),
            *self._shares_that_must_not_leave(),
            *(
                f"wrong secret: shares do not give that of {place}"
                for place, right in rebuilt.items()
                if right is False
            ),
            *self._too_much_rebuilt({place for place, right in rebuilt.items() if right}),
            *self._wrong_sums(),
        ]

    def _answered_twice(self) -> Iterator[str]:
        found = defaultdict(set)
        for one in self.sent:
            header = one.header
            if header.stage in _ONCE:
                # Rounds are counted across epochs, and each is for once.
                occasion = ("round", header.round) if header.stage in _OF_A_ROUND else ("epoch", header.epoch)
                found[header.sender, header.stage.name, occasion, header.recipient].add(one.message)
        for (sender, stage, occasion, _), messages in found.items():
            if len(messages) > 1:
                yield f"answered twice: {sender} sent {len(messages)} different {stage} in {occasion}"

    def _answered_for_two_sets(self) -> Iterator[str]:
        found = defaultdict(set)
        for header, wanted in self._answers():
            found[header.sender, header.round].add(wanted)
        for (sender, number), sets in found.items():
            if len(sets) > 1:
                yield f"two survivor sets: {sender} answered for {len(sets)} in round {number}"

    def _compared_cohorts(self) -> Iterator[str]:
        found = defaultdict(set)
        for header, wanted in self._answers():
            given = self.inputs.get((header.epoch, header.round, header.sender))
            if header.stage is Stage.REVEAL and given is not None:
                found[header.sender, given.step].add(wanted)
        if not self._masked:
            # Nothing is revealed: who opens a sum sees it, once from each state.
            for number, total in self.taken:
                found[number, total.step, total.model].add(total.survivors.digest())
        for (sender, step, *_), sets in found.items():
            if len(sets) > 1:
                yield f"two cohorts: {sender} revealed for {len(sets)} in step {step}"

    def _shares_that_must_not_leave(self) -> Iterator[str]:
        masked = set()
        for one in self.sent:
            header = one.header
            spot = (header.epoch, header.round, header.sender)
            if header.stage is Stage.MASKED:
                masked.add(spot)
            elif header.stage is Stage.REVEAL:
                if spot not in masked:
                    yield f"not masked: {header.sender} revealed in round {header.round}, which it had not masked"
                yield from self._stray(one)

    def _stray(self, reveal: Sent) -> Iterator[str]:
        header = reveal.header
        for share in self._pieces(reveal):
            place, holder = self.shares.get(share, (None, 0))
            if place is None or (place.epoch, place.round, holder) != (header.epoch, header.round, header.sender):
                yield f"stray share: {header.sender} revealed one of {place} in round {header.round}"

    def _too_much_rebuilt(self, known: set[Place]) -> Iterator[str]:
        for place in known:
            if place.kind is Secret.MASK_KEY and replace(place, kind=Secret.SELF_MASK_SEED) in known:
                yield f"both secrets: of {place.owner} in round {place.round} of epoch {place.epoch}"
        for session, result in self.results:
            for owner in result.survivors.numbers:
                if Place(session.epoch, result.round, owner, Secret.MASK_KEY) in known:
                    yield f"mask key of a survivor: {owner} in round {result.round}"
                for component in range(1, self._stays(result) + 1):
                    if Place(session.epoch, result.round, owner, Secret.NOISE_SEED, component) in known:
                        yield f"noise that must stay: component {component} of {owner} in round {result.round}"

    def _wrong_sums(self) -> Iterator[str]:
        for session, result in self.results:
            if self._given(session, result) is None or not self._is_exact(session, result):
                yield f"wrong sum: the coordinator's of round {result.round}"
            if len(result.survivors.numbers) < session.threshold:
                yield f"wrong sum: of {len(result.survivors.numbers)} in round {result.round}"
        # Where nobody agrees to survivors, a coordinator with a double life may have two sums of a round.
        rounds = {(result.round, result.survivors): session for session, result in self.results}
        for number, total in self.taken:
            session = rounds.get((total.round, total.survivors))
            if session is None:
                yield f"wrong sum: {number} took one of round {total.round} that there never was"
            elif not self._is_exact(session, total):
                yield f"wrong sum: {number} took another in round {total.round}"

    # --- What could be made of what it saw ---------------------------------------------------------------------

    def _given(self, session: Session, result: Settled) -> list[Input] | None:
        """What the hospitals of a sum put into it; None if one of them gave nothing, or something else."""
        given = [self.inputs.get((session.epoch, result.round, number)) for number in result.survivors.numbers]
        fitting = [one for one in given if one and (one.model, one.step) == (result.model, result.step)]
        return fitting if len(fitting) == len(given) else None

    def _is_exact(self, session: Session, result: Settled) -> bool:
        """Whether the vector is the sum; that of an encrypted one is for the hospitals to see."""
        if not isinstance(result, RoundSum):
            return session.encrypted
        given, ring = self._given(session, result), session.ring
        if given is None:
            return False
        parts = [part for one in given for part in (one.vector, *one.noise[: self._stays(result)])]
        total = sum(ring.to_signed(part).astype(object) for part in parts)
        return not np.any((ring.to_signed(result.vector).astype(object) - total) % (1 << ring.bits))

    def _stays(self, result: Settled) -> int:
        """How many components of noise must stay: all levels are passed below which there are too few survivors."""
        levels = self.charter.charter.privacy.noise_levels
        return len([level for level in levels if len(result.survivors.numbers) < level])

    @property
    def _masked(self) -> bool:
        return self.charter.charter.scheme in MASKED_SCHEMES

    def _pieces(self, reveal: Sent) -> Iterator[bytes]:
        """Every share in a REVEAL."""
        header = reveal.header
        if (header.epoch, header.sender) in self.groups:
            sealed, group = decode(reveal.payload, SealedReveal), self.groups[header.epoch, header.sender]
            key = group._reveal_key(header.round, header.sender, sealed.survivors_digest)
            joined = key.open(sealed.sealed)
        else:
            plain = decode(reveal.payload, Reveal)
            joined = plain.seed_shares + plain.mask_key_shares
        yield from (joined[start : start + SHARE_SIZE] for start in range(0, len(joined), SHARE_SIZE))

    def _revealed(self) -> dict[Place, dict[int, bytes]]:
        found: defaultdict[Place, dict[int, bytes]] = defaultdict(dict)
        for one in self.sent:
            for share in self._pieces(one) if one.header.stage is Stage.REVEAL else ():
                if share in self.shares:
                    place, holder = self.shares[share]
                    found[place][holder] = share
        return found

    def _rebuilt(self, place: Place, held: dict[int, bytes]) -> bool | None:
        """Whether the shares give the secret; None if they are too few."""
        if len(held) < self.needed:
            return None
        return shamir.reconstruct(dict(sorted(held.items())[: self.needed])) == self.secrets[place]

    def _answers(self) -> Iterator[tuple[Header, bytes]]:
        for one in self.sent:
            match one.header.stage:
                case Stage.AGREE:
                    yield one.header, decode(one.payload, Agree).survivors_digest
                case Stage.REVEAL:
                    schema = SealedReveal if (one.header.epoch, one.header.sender) in self.groups else Reveal
                    yield one.header, decode(one.payload, schema).survivors_digest


def _places(session: Session, slot: int, owner: int) -> Iterator[Place]:
    """Of the secrets of one round, in the order in which they are dealt."""
    for kind, component in secrets_of(session):
        yield Place(session.epoch, session.first_round + slot, owner, kind, component)
