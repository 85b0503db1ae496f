"""The payloads of the masking protocol, and how large each may be.

Knows schemas and sizes. `docs/protocol.md` describes the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec

from secagg.charter.sections import MOST_MEMBERS, MOST_NOISE_LEVELS
from secagg.identity import SIGNATURE_SIZE, Signature
from secagg.labels import DIGEST_SIZE, Digest
from secagg.latch import SIGHTING_SIZE
from secagg.masking.session import Purpose, Session
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.tags import LARGEST_TAG
from secagg.wire.envelope import Counter
from secagg.wire.stage import Stage

KEY_SIZE = 32
CONTRIBUTION_SIZE = 32
AEAD_OVERHEAD = 16
_SMALL = 4096
_ENVELOPE = 512
_AGREEMENT = SIGNATURE_SIZE + 16
_CONTRIBUTION = SIGNATURE_SIZE + DIGEST_SIZE + 16
# As large as usual contexts are with their keys: one that is sent by mistake is to be recognised for what it is.
CONTEXT_LIMIT = 1024 * 1024

Key = Annotated[bytes, msgspec.Meta(min_length=KEY_SIZE, max_length=KEY_SIZE)]
# Little-endian; its size follows from the ring and is checked where it is read.
Tag = Annotated[bytes, msgspec.Meta(max_length=LARGEST_TAG)]
Tags = Annotated[bytes, msgspec.Meta(max_length=LARGEST_TAG * (1 + MOST_NOISE_LEVELS))]
MemberNumber = Annotated[int, msgspec.Meta(ge=1, le=MOST_MEMBERS)]
# A list of numbers takes eight times the bytes that it comes in: no more than there can be are read.
_OneOfEach = msgspec.Meta(max_length=MOST_MEMBERS)


class _Payload(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A payload: a MessagePack array of its fields, in order."""


class Open(_Payload, frozen=True):
    """Coordinator to all: an epoch is proposed."""

    purpose: Purpose
    first_round: Counter
    rounds: Counter


class Advertise(_Payload, frozen=True):
    """Hospital to coordinator: its keys of the epoch. Lists are concatenated, round by round.

    Attributes:
        seed_commitments: for each round, to the self-mask seed, then to the seed of each component of noise.
        tag_commitment: to its contribution to the key of the epoch's tags.
        holders: the members that it drew to hold its shares, ascending; none where everybody holds everybody's.
    """

    share_key: Key
    mask_keys: bytes
    seed_commitments: bytes
    tag_commitment: Digest
    holders: Annotated[list[MemberNumber], _OneOfEach]


class Roster(_Payload, frozen=True):
    """Coordinator to one hospital, or the same to all: who takes part, and signed keys.

    Attributes:
        participants: ascending.
        advertisements: by member number, the signed Advertise envelopes of everybody that the recipient has to do with.
    """

    participants: Annotated[list[MemberNumber], _OneOfEach]
    advertisements: Annotated[list[memoryview], _OneOfEach]


class Deal(_Payload, frozen=True):
    """Hospital to one peer, through the coordinator: the peer's shares, sealed for it.

    Attributes:
        roster_digest: of how the epoch was opened to the dealer, and of the advertisements that it saw: two hospitals
            that were told different things find out here.
        share_digests: for each round, the digest of the self-mask share, that of the mask-key share, and that of the
            share of each noise seed.
        sealed_shares: AES-256-GCM of, for each round, the self-mask share, the mask-key share, and the shares of the
            noise seeds; then the dealer's contribution to the tag key; last, when it saw the recipient take part.
    """

    roster_digest: Digest
    share_digests: bytes
    sealed_shares: bytes


class Deals(_Payload, frozen=True):
    """Coordinator to one hospital: the Deal envelopes for it, by dealer."""

    deals: Annotated[list[memoryview], _OneOfEach]


class Acknowledge(_Payload, frozen=True):
    """Hospital to coordinator: it has the epoch's homomorphic secret.

    Attributes:
        context: the parameters that it encrypts under, as SEAL serializes them, without any key.
        fingerprint: of the secret.
    """

    context: Annotated[bytes, msgspec.Meta(max_length=CONTEXT_LIMIT)]
    fingerprint: Digest


class Begin(_Payload, frozen=True):
    """Coordinator to all: a round starts; its sum will be the ``step``-th applied."""

    step: Counter


class Masked(_Payload, frozen=True):
    """Hospital to coordinator: its masked vector, packed, and the digest of the model it starts from.

    Attributes:
        tags: masked: that of the vector, then that of each component of noise in it.
    """

    model_digest: Digest
    vector: memoryview
    tags: Tags


class Propose(_Payload, frozen=True):
    """Coordinator to the survivors, where somebody dropped: who they are."""

    survivors: Annotated[list[MemberNumber], _OneOfEach]


class Agree(_Payload, frozen=True):
    """Hospital to coordinator: it will answer for this survivor set in this round, and for no other."""

    survivors_digest: Digest


class Agreement(_Payload, frozen=True):
    """A survivor's signed Agree envelope, without the fields that whoever checks it knows from the request."""

    sender: MemberNumber
    sequence: Counter
    signature: Signature


class Unmask(_Payload, frozen=True):
    """Coordinator to the survivors: give your shares.

    Attributes:
        agreements: of t survivors or more; none where everybody holds everybody's shares and nobody dropped.
    """

    survivors: Annotated[list[MemberNumber], _OneOfEach]
    agreements: Annotated[list[Agreement], _OneOfEach]


class Reveal(_Payload, frozen=True):
    """Hospital to coordinator: its shares, concatenated by member number.

    Attributes:
        survivors_digest: the set that this answers.
        seed_shares: of every survivor's self-mask seed; then, component by component, of every survivor's seed of the
            noise that comes off.
        mask_key_shares: of every other participant's mask key.
    """

    survivors_digest: Digest
    seed_shares: bytes
    mask_key_shares: bytes


class Sum(_Payload, frozen=True):
    """Coordinator to all: the sum over the survivors, who started from one model, packed, and the sum of their tags."""

    step: Counter
    survivors: Annotated[list[MemberNumber], _OneOfEach]
    model_digest: Digest
    vector: memoryview
    tag: Tag


class SealedReveal(_Payload, frozen=True):
    """Hospital to coordinator, for all hospitals: its shares, sealed under the group's key.

    Attributes:
        survivors_digest: the set that this answers.
        sealed: AES-256-GCM of what a `Reveal` holds: seed shares, then mask-key shares.
    """

    survivors_digest: Digest
    sealed: bytes


class Contribution(_Payload, frozen=True):
    """A survivor's signed Masked envelope, without its payload and the fields that whoever checks it knows."""

    sequence: Counter
    payload_digest: Digest
    signature: Signature


class ResponderReveal(_Payload, frozen=True):
    """A responder's sealed shares."""

    responder: MemberNumber
    sealed: bytes


class EncryptedSum(_Payload, frozen=True):
    """Coordinator to all: the sum of the survivors' ciphertexts, and what it takes to open it.

    Attributes:
        tag: the sum of the survivors' tags, masked where vectors are.
        contributions: of each survivor, in their order.
        reveals: by responder, what takes the masks off; none where vectors are not masked.
        vector: ciphertexts.
    """

    step: Counter
    survivors: Annotated[list[MemberNumber], _OneOfEach]
    model_digest: Digest
    tag: Tag
    contributions: Annotated[list[Contribution], _OneOfEach]
    reveals: Annotated[list[ResponderReveal], _OneOfEach]
    vector: memoryview


class Abort(_Payload, frozen=True):
    """Coordinator to all: the round has no sum."""

    reason: Annotated[str, msgspec.Meta(max_length=64)]


class Refusal(_Payload, frozen=True):
    """Hospital to coordinator: it will not go on, and why."""

    reason: Annotated[str, msgspec.Meta(max_length=64)]
    message: Annotated[str, msgspec.Meta(max_length=1024)]


def payload_limit(session: Session, stage: Stage) -> int:
    """The largest payload, in bytes, that a message of ``stage`` can have in ``session``."""
    return _LIMITS.get(stage, _small)(session)


def _small(_session: Session) -> int:
    return _SMALL


def _advertise(session: Session) -> int:
    holders = 3 * session.charter.charter.graph.degree
    return session.shared_secrets * KEY_SIZE + KEY_SIZE + DIGEST_SIZE + holders + 64


def _roster(session: Session) -> int:
    return len(session.members) * (_advertise(session) + _ENVELOPE + 3) + 8


def _deal(session: Session) -> int:
    shares = session.shared_secrets * (DIGEST_SIZE + SHARE_SIZE)
    return shares + DIGEST_SIZE + CONTRIBUTION_SIZE + SIGHTING_SIZE + AEAD_OVERHEAD + 64


def _deals(session: Session) -> int:
    return len(session.members) * (_deal(session) + _ENVELOPE)


def _acknowledge(_session: Session) -> int:
    return CONTEXT_LIMIT + DIGEST_SIZE + 16


def _masked(session: Session) -> int:
    return session.vector_bytes + LARGEST_TAG * session.noise_components + 128


def _propose(session: Session) -> int:
    return 5 * len(session.members) + 64


def _unmask(session: Session) -> int:
    return len(session.members) * (3 + _AGREEMENT) + 64


def _reveal(session: Session) -> int:
    return len(session.members) * (1 + session.noise_components) * SHARE_SIZE + AEAD_OVERHEAD + 128


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
