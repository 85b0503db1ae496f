"""How the coordinator takes the masks off a sum: rebuilds what the survivors revealed, checks it, subtracts.

Knows shares, commitments and masks. Knows nothing of messages or states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError
from secagg.masking import kdf, shamir
from secagg.masking.dealing import Roster, entry
from secagg.masking.kdf import Secret
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.messages import Reveal
from secagg.masking.session import Session, Survivors
from secagg.masking.shamir import SHARE_SIZE

Dealt = Mapping[tuple[int, int], bytes]
"""Share digests by (dealer, recipient), as the dealer signed them."""


@dataclass
class Unmasking:
    """One round's shares as they come in.

    Attributes:
        participants: all who dealt in this epoch; those who are no survivors have dropped.
        model: the digest of the model that every survivor started from.
    """

    session: Session
    round: int
    roster: Roster
    dealt: Dealt
    participants: frozenset[int]
    survivors: Survivors
    model: bytes
    revealed: dict[int, Reveal] = field(default_factory=dict)

    @property
    def dropped(self) -> tuple[int, ...]:
        """The participants whose vectors are not in the sum, ascending."""
        return tuple(sorted(self.participants - set(self.survivors.numbers)))

    @property
    def enough(self) -> bool:
        """Whether t hospitals have answered."""
        return len(self.revealed) >= self.session.threshold

    def add(self, responder: int, reveal: Reveal) -> None:
        """Take one hospital's shares, each checked against what its dealer signed.

        Raises:
            RemoteProtocolError: ``survivors-changed``, ``wrong-length`` or ``wrong-share``, naming the responder.
        """
        name = self.session.name(responder)
        if reveal.survivors_digest != self.survivors.digest():
            raise RemoteProtocolError("survivors-changed", f"{name} answered for another survivor set.", culprit=name)
        sizes = (len(reveal.self_mask_shares), len(reveal.mask_key_shares))
        if sizes != (len(self.survivors.numbers) * SHARE_SIZE, len(self.dropped) * SHARE_SIZE):
            raise RemoteProtocolError("wrong-length", f"{name} revealed another number of shares.", culprit=name)
        self._check(responder, Secret.SELF_MASK_SEED, self.survivors.numbers, reveal.self_mask_shares)
        self._check(responder, Secret.MASK_KEY, self.dropped, reveal.mask_key_shares)
        self.revealed[responder] = reveal

    def unmask(self, masked_sum: RingVector, masked_tag: int) -> int:
        """Take every mask off ``masked_sum``, in place, and off the sum of the tags, which is given back.

        Raises:
            RemoteProtocolError: ``wrong-dealing``, naming the dealer whose shares do not give what it committed to.
        """
        responders = sorted(self.revealed)[: self.session.threshold]
        keys = [
            SignedKey(
                kdf.self_mask_key(self._seed(i, owner, responders), self.session, self.round, self.model, owner), -1
            )
            for i, owner in enumerate(self.survivors.numbers)
        ]
        for index, owner in enumerate(self.dropped):
            keys += self._pairwise(owner, self._mask_key(index, owner, responders))
        return add_masks(masked_sum, keys, masked_tag, self.session.tag_size)

    def _check(self, responder: int, secret: Secret, owners: tuple[int, ...], shares: bytes) -> None:
        slot = self.session.slot(self.round)
        for index, owner in enumerate(owners):
            if owner == responder:
                continue  # A hospital holds its own shares without a deal; a wrong one is caught when rebuilding.
            wanted = entry(self.dealt[owner, responder], 2 * slot + (secret is Secret.MASK_KEY))
            found = kdf.share_digest(entry(shares, index), self.session, self.round, secret, owner, responder)
            if found != wanted:
                name = self.session.name(responder)
                raise RemoteProtocolError(
                    "wrong-share",
                    f"{name} revealed a share of {self.session.name(owner)} that is not the one it was dealt.",
                    culprit=name,
                )

    def _seed(self, index: int, owner: int, responders: list[int]) -> bytes:
        shares = {member: entry(self.revealed[member].self_mask_shares, index) for member in responders}
        seed = shamir.reconstruct(shares)
        slot = self.session.slot(self.round)
        committed = entry(self.roster[owner].self_mask_commitments, slot)
        if kdf.self_mask_commitment(seed, self.session, self.round, owner) != committed:
            raise self._wrong_dealing(owner)
        return seed

    def _mask_key(self, index: int, owner: int, responders: list[int]) -> bytes:
        shares = {member: entry(self.revealed[member].mask_key_shares, index) for member in responders}
        key = shamir.reconstruct(shares)
        if kdf.public_key(key) != entry(self.roster[owner].mask_keys, self.session.slot(self.round)):
            raise self._wrong_dealing(owner)
        return key

    def _pairwise(self, dropped: int, key: bytes) -> list[SignedKey]:
        slot = self.session.slot(self.round)
        peers = [
            (entry(self.roster[survivor].mask_keys, slot), self.session.name(survivor))
            for survivor in self.survivors.numbers
        ]
        keys = []
        for survivor, shared in zip(self.survivors.numbers, kdf.agree_with_each(key, peers), strict=True):
            mask_key = kdf.pairwise_mask_key(shared, self.session, self.round, self.model, (survivor, dropped))
            # The survivor added this mask if its number is the lower one.
            keys.append(SignedKey(mask_key, -1 if survivor < dropped else 1))
        return keys

    def _wrong_dealing(self, owner: int) -> RemoteProtocolError:
        name = self.session.name(owner)
        return RemoteProtocolError(
            "wrong-dealing", f"The shares that {name} dealt do not give what it committed to.", culprit=name
        )
