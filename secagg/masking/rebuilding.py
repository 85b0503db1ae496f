"""The secrets of one round, rebuilt of the shares that survivors revealed, and the masks that they take off a sum.

Knows shares, commitments and mask keys. Knows nothing of messages or states. The coordinator does this where it is to
see the sum; where the sum is encrypted, every hospital does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from secagg.errors import RemoteProtocolError
from secagg.masking import kdf, shamir
from secagg.masking.keystream import SignedKey
from secagg.masking.messages import nth
from secagg.masking.neighbours import Advertisements
from secagg.masking.remedies import WITHOUT_MEMBER
from secagg.masking.session import Session, Settled


@dataclass
class Rebuilding:
    """One round's shares.

    Attributes:
        settled: what sum they are for.
        masked_with: with whom a participant masks.
    """

    session: Session
    settled: Settled
    roster: Advertisements
    participants: frozenset[int]
    masked_with: Callable[[int], Collection[int]]

    def __post_init__(self) -> None:
        self._alive = frozenset(self.settled.survivors.numbers)
        self.shares: dict[int, dict[int, bytes]] = {owner: {} for owner in self.participants}
        self._lacking = set(self.participants)

    @property
    def dropped(self) -> tuple[int, ...]:
        """The participants whose vectors are not in the sum, ascending."""
        return tuple(sorted(self.participants - self._alive))

    @property
    def enough(self) -> bool:
        """Whether everybody's secret can be rebuilt."""
        return not self._lacking

    def keep(self, responder: int, owners: Collection[int], shares: bytes) -> None:
        """Take one hospital's shares, concatenated, of the secrets of ``owners``."""
        for index, owner in enumerate(owners):
            self.shares[owner][responder] = nth(shares, index)
            if len(self.shares[owner]) >= self.session.share_threshold:
                self._lacking.discard(owner)

    def masks(self) -> list[SignedKey]:
        """The keys of all masks in the sum, each with the sign that takes it off.

        Raises:
            RemoteProtocolError: ``wrong-dealing``, naming the dealer whose shares do not give what it committed to.
        """
        settled = self.settled
        keys = [
            SignedKey(kdf.self_mask_key(self._seed(owner), self.session, settled.round, settled.model, owner), -1)
            for owner in settled.survivors.numbers
        ]
        for owner in self.dropped:
            keys += self._pairwise(owner, self._mask_key(owner))
        return keys

    def rebuild(self, owner: int, is_right: Callable[[bytes], bool]) -> bytes:
        """The secret of ``owner``, from the lowest of those who gave shares of it."""
        secret = shamir.reconstruct(lowest(self.shares[owner], self.session.share_threshold))
        if not is_right(secret):
            raise wrong_dealing(self.session, owner)
        return secret

    def _seed(self, owner: int) -> bytes:
        session, number = self.session, self.settled.round
        committed = nth(self.roster[owner].seed_commitments, session.seed_place(number))
        return self.rebuild(owner, lambda seed: kdf.self_mask_commitment(seed, session, number, owner) == committed)

    def _mask_key(self, owner: int) -> bytes:
        advertised = nth(self.roster[owner].mask_keys, self.session.slot(self.settled.round))
        return self.rebuild(owner, lambda key: kdf.public_key(key) == advertised)

    def _pairwise(self, dropped: int, key: bytes) -> list[SignedKey]:
        settled, slot = self.settled, self.session.slot(self.settled.round)
        survivors = sorted(self._alive.intersection(self.masked_with(dropped)))
        peers = [(nth(self.roster[survivor].mask_keys, slot), self.session.name(survivor)) for survivor in survivors]
        keys = []
        for survivor, shared in zip(survivors, kdf.agree_with_each(key, peers), strict=True):
            pair = (survivor, dropped)
            mask_key = kdf.pairwise_mask_key(shared, self.session, settled.round, settled.model, pair)
            # The survivor added this mask if its number is the lower one.
            keys.append(SignedKey(mask_key, -1 if survivor < dropped else 1))
        return keys


def wrong_dealing(session: Session, owner: int) -> RemoteProtocolError:
    """What is to be raised where right shares of ``owner`` give a wrong secret."""
    name = session.name(owner)
    return RemoteProtocolError(
        "wrong-dealing",
        f"The shares that {name} dealt do not give what it committed to.",
        culprit=name,
        remedy=WITHOUT_MEMBER,
    )


def lowest(shares: Mapping[int, bytes], threshold: int) -> dict[int, bytes]:
    """The ``threshold`` shares of the lowest points: the same points for all owners, if the same have answered."""
    return dict(sorted(shares.items())[:threshold])
