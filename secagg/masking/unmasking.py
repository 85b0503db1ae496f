"""How the coordinator takes the masks off a sum, and removes surplus noise: it checks what the survivors reveal,
rebuilds and subtracts.

Knows shares, the digests that their dealers signed, and masks. Knows nothing of messages or states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError
from secagg.masking import kdf
from secagg.masking.asked import Asked
from secagg.masking.dealing import MASK_KEY, SELF_MASK_SEED, secrets_of
from secagg.masking.dealt import Dealt
from secagg.masking.expansion import over_processes
from secagg.masking.keystream import add_masks
from secagg.masking.messages import Reveal, nth
from secagg.masking.noise import NoiseExpansion
from secagg.masking.rebuilding import Rebuilding
from secagg.masking.remedies import WITHOUT_MEMBER
from secagg.masking.removal import Removal
from secagg.masking.session import Session
from secagg.masking.shamir import SHARE_SIZE


@dataclass
class Unmasking:
    """One round's shares as they come in.

    Attributes:
        asked: what they are for.
        dealt: what was dealt in this epoch; who dealt and is no survivor has dropped.
        noise: draws again the noise that is removed.
        responders: who has answered.
    """

    session: Session
    asked: Asked
    dealt: Dealt
    noise: NoiseExpansion
    responders: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        settled, dealt = self.asked.settled, self.dealt
        self._alive = frozenset(settled.survivors.numbers)
        self._removal = Removal(self.session, settled, dealt.roster, self.noise)
        self._rebuilding = Rebuilding(
            self.session,
            settled,
            dealt.roster,
            dealt.participants,
            # A hospital masks with those who hold its shares, and with those whose shares it holds.
            lambda owner: {*dealt.holders[owner], *dealt.held_by[owner]},
        )

    @property
    def enough(self) -> bool:
        """Whether everybody's secret can be rebuilt."""
        return self._rebuilding.enough

    def add(self, responder: int, reveal: Reveal) -> None:
        """Take one hospital's shares, each checked against what its dealer signed.

        Raises:
            RemoteProtocolError: as `Asked.check`; ``wrong-length`` or ``wrong-share``, naming the responder.
        """
        name = self.session.name(responder)
        self.asked.check(reveal, name)
        remaining = [owner for owner in self.dealt.held_by[responder] if owner in self._alive]
        dropped = [owner for owner in self.dealt.held_by[responder] if owner not in self._alive]
        components, size = self._removal.components, len(remaining) * SHARE_SIZE
        sizes = (len(reveal.seed_shares), len(reveal.mask_key_shares))
        if sizes != ((1 + len(components)) * size, len(dropped) * SHARE_SIZE):
            raise RemoteProtocolError("wrong-length", f"{name} revealed another number of shares.", culprit=name)
        self_masks, noise = reveal.seed_shares[:size], reveal.seed_shares[size:]
        self._check(responder, SELF_MASK_SEED, remaining, self_masks)
        self._check(responder, MASK_KEY, dropped, reveal.mask_key_shares)
        for place, component in enumerate(components):
            part = noise[place * size : (place + 1) * size]
            self._check(responder, MASK_KEY + component, remaining, part)
        self.responders.add(responder)
        self._rebuilding.keep(responder, remaining, self_masks)
        self._rebuilding.keep(responder, dropped, reveal.mask_key_shares)
        self._removal.keep(responder, remaining, noise)

    def unmask(self, masked_sum: RingVector, masked_tags: Sequence[int]) -> int:
        """Take every mask off ``masked_sum``, remove all surplus noise, in place, and give the tag of what is left.

        Args:
            masked_tags: the sums of the survivors' tags: of their vectors, then of each component of noise.

        Raises:
            RemoteProtocolError: ``wrong-dealing``, naming the dealer whose shares do not give what it committed to.
        """
        masks = self._rebuilding.masks()
        tags = add_masks(masked_sum, masks, masked_tags, self.session.tag_size, over_processes)
        return self._removal.take_off(masked_sum, tags)

    def _check(self, responder: int, which: int, owners: list[int], shares: bytes) -> None:
        session, number = self.session, self.asked.settled.round
        secret, component = secrets_of(session)[which]
        place = session.slot(number) * session.secrets_a_round + which
        for index, owner in enumerate(owners):
            if owner == responder:
                continue  # A hospital holds its own shares without a deal; a wrong one is caught when rebuilding.
            wanted = nth(self.dealt.digests[owner, responder], place)
            found = kdf.share_digest(nth(shares, index), session, number, secret, owner, responder, component)
            if found != wanted:
                name = session.name(responder)
                raise RemoteProtocolError(
                    "wrong-share",
                    f"{name} revealed a share of {session.name(owner)} that is not the one it was dealt.",
                    culprit=name,
                    remedy=WITHOUT_MEMBER,
                )
