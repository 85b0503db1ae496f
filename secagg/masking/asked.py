"""What survivors are asked to give shares for: one set of them, and the very vectors that they sent.

Why vectors: whoever sent one could otherwise sign another once the sum is known, and what is recorded would add up to
whatever it likes.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.errors import RemoteProtocolError
from secagg.masking.messages import Reveal, SealedReveal
from secagg.masking.session import Settled


@dataclass(frozen=True)
class Asked:
    """What every answer must be for.

    Attributes:
        vectors: digest of what the survivors sent: `secagg.masking.contributions.vectors_digest`.
    """

    settled: Settled
    vectors: bytes

    def check(self, reveal: Reveal | SealedReveal, responder: str) -> None:
        """Refuse shares that ``responder``, by name, gave for something else.

        Raises:
            RemoteProtocolError: ``survivors-changed`` or ``vectors-changed``, naming the responder.
        """
        if reveal.survivors_digest != self.settled.survivors.digest():
            raise RemoteProtocolError(
                "survivors-changed", f"{responder} answered for another survivor set.", culprit=responder
            )
        if reveal.vectors_digest != self.vectors:
            raise RemoteProtocolError(
                "vectors-changed", f"{responder} answered for other vectors than were received.", culprit=responder
            )
