"""The payloads of the masking protocol.

Knows schemas. `docs/protocol.md` describes the bytes; how large each may be is in `secagg.masking.limits`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from secagg.charter.sections import MOST_MEMBERS, MOST_NOISE_LEVELS
from secagg.identity import Signature
from secagg.labels import Digest
from secagg.masking.session import Purpose
from secagg.masking.tags import LARGEST_TAG
from secagg.wire.envelope import Counter

KEY_SIZE = 32
CONTRIBUTION_SIZE = 32
AEAD_OVERHEAD = 16
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
    """Hospital to coordinator: it has the epoch's homomorphic secret, and what it encrypts with.

    Attributes:
        context: the parameters that it encrypts under, without any key.
        fingerprint: of the secret, and of the bits of plain modulus or scale.
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
        inputs_digest: of all that the sum follows from; hospitals sign it unseen, so that nothing can be exchanged
            later.
        agreements: of t survivors or more; none where everybody holds everybody's shares and nobody dropped.
    """

    survivors: Annotated[list[MemberNumber], _OneOfEach]
    inputs_digest: Digest
    agreements: Annotated[list[Agreement], _OneOfEach]


class Reveal(_Payload, frozen=True):
    """Hospital to coordinator: its shares, concatenated by member number.

    Attributes:
        survivors_digest: the set that this answers; ``inputs_digest``: as the request said.
        seed_shares: of every survivor's self-mask seed; then, component by component, of every survivor's seed of the
            noise that is removed.
        mask_key_shares: of every other participant's mask key.
    """

    survivors_digest: Digest
    inputs_digest: Digest
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
        survivors_digest: the set that this answers; ``inputs_digest``: as the request said.
        sealed: AES-256-GCM of what a `Reveal` holds: seed shares, then mask-key shares.
    """

    survivors_digest: Digest
    inputs_digest: Digest
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


def nth(concatenated: bytes, index: int) -> bytes:
    """The 32-byte entry ``index`` of a concatenated list of keys, digests or shares."""
    return concatenated[index * KEY_SIZE : (index + 1) * KEY_SIZE]
