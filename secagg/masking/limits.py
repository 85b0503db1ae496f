"""How large the payloads of the masking protocol may be, and how large some must be.

Knows schemas and sizes. `docs/protocol.md` gives the same limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from secagg.errors import RemoteProtocolError
from secagg.identity import SIGNATURE_SIZE
from secagg.labels import DIGEST_SIZE
from secagg.latch import SIGHTING_SIZE
from secagg.masking.messages import AEAD_OVERHEAD, CONTEXT_LIMIT, CONTRIBUTION_SIZE, KEY_SIZE, Advertise, Deal
from secagg.masking.session import Session
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.tags import LARGEST_TAG
from secagg.wire.stage import Stage

_SMALL = 4096
ENVELOPE: Final = 512
"""Bytes that an envelope within a payload has at most beside its own payload."""
_AGREEMENT = SIGNATURE_SIZE + 16
_CONTRIBUTION = SIGNATURE_SIZE + DIGEST_SIZE + 16


def payload_limit(session: Session, stage: Stage) -> int:
    """The largest payload, in bytes, that a message of ``stage`` can have in ``session``."""
    return _LIMITS.get(stage, _small)(session)


def sealed_size_of(secrets: int) -> int:
    """How many bytes the sealed part of a deal has that holds shares of so many ``secrets``."""
    return secrets * SHARE_SIZE + CONTRIBUTION_SIZE + SIGHTING_SIZE + AEAD_OVERHEAD


def check_deal_sizes(deal: Deal, secrets: int, dealer: str) -> None:
    """Refuse a deal that does not hold a share of each of so many ``secrets``.

    Raises:
        RemoteProtocolError: ``wrong-length``.
    """
    sizes = (len(deal.share_digests), len(deal.sealed_shares))
    if sizes != (secrets * DIGEST_SIZE, sealed_size_of(secrets)):
        raise RemoteProtocolError(
            "wrong-length", f"{dealer} dealt another number of shares than it was to.", culprit=dealer
        )


def check_advertisement_sizes(session: Session, advertisement: Advertise, owner: str) -> None:
    """Refuse an advertisement that does not hold a mask key for each round, and a commitment to each seed.

    Raises:
        RemoteProtocolError: ``wrong-length``.
    """
    if not has_due_sizes(session, advertisement):
        raise RemoteProtocolError(
            "wrong-length", f"{owner} advertised another number of keys than the epoch needs.", culprit=owner
        )


def has_due_sizes(session: Session, advertisement: Advertise) -> bool:
    """Whether it holds a mask key for each round, and a commitment to each seed."""
    seeds = session.secret_rounds * session.seeds_a_round
    sizes = (len(advertisement.mask_keys), len(advertisement.seed_commitments))
    return sizes == (session.secret_rounds * KEY_SIZE, seeds * DIGEST_SIZE)


def _small(_session: Session) -> int:
    return _SMALL


def _advertise(session: Session) -> int:
    holders = 3 * session.charter.charter.graph.degree
    return session.shared_secrets * KEY_SIZE + KEY_SIZE + DIGEST_SIZE + holders + 64


def _roster(session: Session) -> int:
    return len(session.members) * (_advertise(session) + ENVELOPE + 3) + 8


def _deal(session: Session) -> int:
    secrets = session.shared_secrets
    return DIGEST_SIZE + secrets * DIGEST_SIZE + sealed_size_of(secrets) + 64


def _deals(session: Session) -> int:
    return len(session.members) * (_deal(session) + ENVELOPE)


def _acknowledge(_session: Session) -> int:
    return CONTEXT_LIMIT + DIGEST_SIZE + 16


def _masked(session: Session) -> int:
    return session.vector_bytes + LARGEST_TAG * session.noise_components + 128


def _propose(session: Session) -> int:
    return 5 * len(session.members) + 64


def _unmask(session: Session) -> int:
    return len(session.members) * (3 + _AGREEMENT) + DIGEST_SIZE + 64


def _reveal(session: Session) -> int:
    return len(session.members) * session.seeds_a_round * SHARE_SIZE + AEAD_OVERHEAD + 128


def _sum(session: Session) -> int:
    members = len(session.members)
    plain = session.sum_bytes + 5 * members + 128
    if not session.encrypted:
        return plain
    reveal = members * SHARE_SIZE + AEAD_OVERHEAD + 16
    return plain + members * (_CONTRIBUTION + (reveal if session.masked else 0))


_LIMITS: Final[Mapping[Stage, Callable[[Session], int]]] = {
    Stage.ADVERTISE: _advertise,
    Stage.ROSTER: _roster,
    Stage.DEAL: _deal,
    Stage.DEALS: _deals,
    Stage.ACKNOWLEDGE: _acknowledge,
    Stage.MASKED: _masked,
    Stage.PROPOSE: _propose,
    Stage.UNMASK: _unmask,
    Stage.REVEAL: _reveal,
    Stage.SUM: _sum,
}
