"""Whether enough hospitals have signed that they answer for one survivor set only.

Knows signatures and counts. Knows nothing of shares or states.

The argument: a hospital agrees to one set a round. At least t of n have agreed to this one; of those at most c lie, so
with 2t > n + c no other set can have as many, and all honest hospitals that answer in a round answer for the same.

Where the coordinator shows more than t agreements, a hospital need not check all: it draws some, with its own random
numbers, and if fewer than t were true it would draw true ones only with probability at most 2^-40. It tries once a
round. In that way the work stays the same however large the consortium is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from secagg.errors import RemoteProtocolError
from secagg.masking.lots import draw
from secagg.masking.messages import Agree, Agreement
from secagg.masking.remedies import COORDINATOR_LIES
from secagg.masking.session import Session, Survivors
from secagg.masking.shamir import Randomness
from secagg.wire import Envelope, Stage
from secagg.wire.envelope import is_signed_for_coordinator

MISS_BITS: Final = 40
"""Too few true agreements are missed with probability at most 2^-40."""


class ForgedAgreementError(RemoteProtocolError):
    """Agreements were shown that their signers did not give. Who meets it answers no more in this round."""


def detach_agreement(envelope: Envelope) -> Agreement:
    """What others need of an Agree envelope: all else they know."""
    header = envelope.header
    return Agreement(header.sender, header.sequence, envelope.signature)


def sample_size(shown: int, threshold: int) -> int:
    """How many of ``shown`` agreements to check so that t - 1 true ones are missed with at most 2^-40. Exact.

    All of the first m drawn are true with probability (t-1)/shown * (t-2)/(shown-1) * ..., m factors.
    """
    limit = math.comb(shown, threshold - 1)
    # P[m drawn of the t - 1 true] = C(shown - m, t - 1 - m) / C(shown, t - 1)
    for size in range(threshold):
        if math.comb(shown - size, threshold - 1 - size) << MISS_BITS <= limit:
            return size
    return threshold


def require_agreement(
    agreements: Sequence[Agreement],
    survivors: Survivors,
    session: Session,
    round_number: int,
    randomness: Randomness,
) -> None:
    """Refuse survivors to whom fewer than t hospitals have agreed.

    Raises:
        RemoteProtocolError: ``no-agreement``, if fewer than t are shown, or of hospitals that are no survivors.
        ForgedAgreementError: ``forged-agreement``.
    """
    signers = [agreement.sender for agreement in agreements]
    if any(later <= earlier for earlier, later in pairwise(signers)) or not set(signers) <= set(survivors.numbers):
        raise RemoteProtocolError("no-agreement", "Agreements are shown twice, out of order, or of no survivors.")
    if len(signers) < session.threshold:
        raise RemoteProtocolError(
            "no-agreement", f"{len(signers)} hospitals have signed the survivor set; it takes {session.threshold}."
        )
    digest = hashlib.sha256(msgspec.msgpack.encode(Agree(survivors.digest()))).digest()
    size = sample_size(len(agreements), session.threshold)
    for agreement in draw(agreements, size, randomness):
        if not is_signed_for_coordinator(
            session.charter,
            agreement.sender,
            session.epoch,
            round_number,
            Stage.AGREE,
            agreement.sequence,
            digest,
            agreement.signature,
        ):
            raise ForgedAgreementError(
                "forged-agreement",
                f"An agreement in the name of {session.name(agreement.sender)} is not its own: "
                "the coordinator claims what hospitals did not sign.",
                culprit="the coordinator",
                remedy=COORDINATOR_LIES,
            )
