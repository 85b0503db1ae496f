"""What survivors are asked to give shares for: one set of them, and the very messages that the sum follows from.

Why these: whoever sent a vector could otherwise sign another once the sum is known, and what is recorded would add up
to whatever it likes. In a sparse graph keys could be exchanged likewise.
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
        inputs: digest of these messages: `secagg.masking.contributions.inputs_digest`.
    """

    settled: Settled
    inputs: bytes

    def check(self, reveal: Reveal | SealedReveal, responder: str) -> None:
        """Refuse shares that ``responder``, by name, gave for something else.

        Raises:
            RemoteProtocolError: ``survivors-changed`` or ``inputs-changed``, naming the responder.
        """
        if reveal.survivors_digest != self.settled.survivors.digest():
            raise RemoteProtocolError(
                "survivors-changed", f"{responder} answered for another survivor set.", culprit=responder
            )
        if reveal.inputs_digest != self.inputs:
            raise RemoteProtocolError(
                "inputs-changed", f"{responder} answered for other messages than were received.", culprit=responder
            )
