"""What survivors reveal where the sum is encrypted: shares that the coordinator passes on and cannot read.

Knows sizes and who has answered. Knows no share and nothing of states. Wrong shares show at the hospitals.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secagg.errors import RemoteProtocolError
from secagg.masking.asked import Asked
from secagg.masking.messages import AEAD_OVERHEAD, ResponderReveal, SealedReveal
from secagg.masking.session import Session
from secagg.masking.shamir import SHARE_SIZE


@dataclass
class SealedReveals:
    """One round's sealed shares as they come in.

    Attributes:
        asked: what they are for.
        participants: how many hospitals everybody holds shares of.
    """

    session: Session
    asked: Asked
    participants: int
    sealed: dict[int, bytes] = field(default_factory=dict)

    @property
    def responders(self) -> frozenset[int]:
        """Who has answered."""
        return frozenset(self.sealed)

    @property
    def enough(self) -> bool:
        """Whether every secret can be rebuilt, if the shares are right."""
        return len(self.sealed) >= self.session.share_threshold

    def add(self, responder: int, reveal: SealedReveal) -> None:
        """Take one hospital's shares.

        Raises:
            RemoteProtocolError: as `Asked.check`; ``wrong-length``, naming the responder.
        """
        name = self.session.name(responder)
        self.asked.check(reveal, name)
        if len(reveal.sealed) != self.participants * SHARE_SIZE + AEAD_OVERHEAD:
            raise RemoteProtocolError("wrong-length", f"{name} revealed another number of shares.", culprit=name)
        self.sealed[responder] = reveal.sealed

    def revealed(self) -> list[ResponderReveal]:
        """All of it, by member number."""
        return [ResponderReveal(number, sealed) for number, sealed in sorted(self.sealed.items())]
