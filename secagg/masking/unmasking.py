"""How the coordinator takes the masks off a sum: rebuilds what the survivors revealed, checks it, subtracts.

Knows shares, commitments and masks. Knows nothing of messages or states.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError
from secagg.masking import kdf, shamir
from secagg.masking.dealing import entry
from secagg.masking.dealt import Dealt
from secagg.masking.expansion import over_processes
from secagg.masking.kdf import Secret
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.messages import Reveal
from secagg.masking.session import Session, Survivors
from secagg.masking.shamir import SHARE_SIZE


@dataclass
class Unmasking:
    """One round's shares as they come in.

    Attributes:
        dealt: what was dealt in this epoch; who dealt and is no survivor has dropped.
        model: the digest of the model that every survivor started from.
        responders: who has answered.
    """

    session: Session
    round: int
    dealt: Dealt
    survivors: Survivors
    model: bytes
    responders: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._alive = frozenset(self.survivors.numbers)
        participants = self.dealt.participants
        self._shares: dict[int, dict[int, bytes]] = {owner: {} for owner in participants}
        self._lacking = set(participants)

    @property
    def dropped(self) -> tuple[int, ...]:
        """The participants whose vectors are not in the sum, ascending."""
        return tuple(sorted(self.dealt.participants - self._alive))

    @property
    def enough(self) -> bool:
        """Whether everybody's secret can be rebuilt."""
        return not self._lacking

    def add(self, responder: int, reveal: Reveal) -> None:
        """Take one hospital's shares, each checked against what its dealer signed.

        Raises:
            RemoteProtocolError: ``survivors-changed``, ``wrong-length`` or ``wrong-share``, naming the responder.
        """
        name = self.session.name(responder)
        if reveal.survivors_digest != self.survivors.digest():
            raise RemoteProtocolError("survivors-changed", f"{name} answered for another survivor set.", culprit=name)
        remaining = [owner for owner in self.dealt.held_by[responder] if owner in self._alive]
        dropped = [owner for owner in self.dealt.held_by[responder] if owner not in self._alive]
        sizes = (len(reveal.self_mask_shares), len(reveal.mask_key_shares))
        if sizes != (len(remaining) * SHARE_SIZE, len(dropped) * SHARE_SIZE):
            raise RemoteProtocolError("wrong-length", f"{name} revealed another number of shares.", culprit=name)
        self._check(responder, Secret.SELF_MASK_SEED, remaining, reveal.self_mask_shares)
        self._check(responder, Secret.MASK_KEY, dropped, reveal.mask_key_shares)
        self.responders.add(responder)
        self._keep(responder, remaining, reveal.self_mask_shares)
        self._keep(responder, dropped, reveal.mask_key_shares)

    def _keep(self, responder: int, owners: list[int], shares: bytes) -> None:
        threshold = self.session.share_threshold
        for index, owner in enumerate(owners):
            kept = self._shares[owner]
            if len(kept) < threshold:
                kept[responder] = entry(shares, index)
            if len(kept) == threshold:
                self._lacking.discard(owner)

    def unmask(self, masked_sum: RingVector, masked_tag: int) -> int:
        """Take every mask off ``masked_sum``, in place, and off the sum of the tags, which is given back.

        Raises:
            RemoteProtocolError: ``wrong-dealing``, naming the dealer whose shares do not give what it committed to.
        """
        keys = [
            SignedKey(kdf.self_mask_key(self._seed(owner), self.session, self.round, self.model, owner), -1)
            for owner in self.survivors.numbers
        ]
        for owner in self.dropped:
            keys += self._pairwise(owner, self._mask_key(owner))
        return add_masks(masked_sum, keys, masked_tag, self.session.tag_size, over_processes)

    def _check(self, responder: int, secret: Secret, owners: list[int], shares: bytes) -> None:
        slot = self.session.slot(self.round)
        for index, owner in enumerate(owners):
            if owner == responder:
                continue  # A hospital holds its own shares without a deal; a wrong one is caught when rebuilding.
            wanted = entry(self.dealt.digests[owner, responder], 2 * slot + (secret is Secret.MASK_KEY))
            found = kdf.share_digest(entry(shares, index), self.session, self.round, secret, owner, responder)
            if found != wanted:
                name = self.session.name(responder)
                raise RemoteProtocolError(
                    "wrong-share",
                    f"{name} revealed a share of {self.session.name(owner)} that is not the one it was dealt.",
                    culprit=name,
                )

    def _seed(self, owner: int) -> bytes:
        seed = shamir.reconstruct(self._shares[owner])
        slot = self.session.slot(self.round)
        committed = entry(self.dealt.roster[owner].self_mask_commitments, slot)
        if kdf.self_mask_commitment(seed, self.session, self.round, owner) != committed:
            raise self._wrong_dealing(owner)
        return seed

    def _mask_key(self, owner: int) -> bytes:
        key = shamir.reconstruct(self._shares[owner])
        if kdf.public_key(key) != entry(self.dealt.roster[owner].mask_keys, self.session.slot(self.round)):
            raise self._wrong_dealing(owner)
        return key

    def _pairwise(self, dropped: int, key: bytes) -> list[SignedKey]:
        slot = self.session.slot(self.round)
        # A hospital masks with those who hold its shares, and with those whose shares it holds.
        survivors = sorted({*self.dealt.holders[dropped], *self.dealt.held_by[dropped]} & self._alive)
        peers = [
            (entry(self.dealt.roster[survivor].mask_keys, slot), self.session.name(survivor)) for survivor in survivors
        ]
        keys = []
        for survivor, shared in zip(survivors, kdf.agree_with_each(key, peers), strict=True):
            mask_key = kdf.pairwise_mask_key(shared, self.session, self.round, self.model, (survivor, dropped))
            # The survivor added this mask if its number is the lower one.
            keys.append(SignedKey(mask_key, -1 if survivor < dropped else 1))
        return keys

    def _wrong_dealing(self, owner: int) -> RemoteProtocolError:
        name = self.session.name(owner)
        return RemoteProtocolError(
            "wrong-dealing", f"The shares that {name} dealt do not give what it committed to.", culprit=name
        )
