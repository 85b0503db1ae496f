"""What only the hospitals of an epoch can do, together, under an encrypted scheme: encrypt, open sums, open reveals.

Knows the epoch's group key, its cipher and masks. Knows nothing of states or of the latch. Everything here needs
TenSEAL, which no other part of the protocol loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from cryptography.exceptions import InvalidTag

from secagg.encoding.ring import RingVector
from secagg.errors import RemoteProtocolError
from secagg.homomorphic.cipher import Cipher, check_sum_blocks
from secagg.homomorphic.context import public_context
from secagg.homomorphic.vectors import decrypt_vector, encrypt_vector
from secagg.masking import kdf
from secagg.masking.expansion import over_processes
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.messages import Acknowledge, EncryptedSum, ResponderReveal, Reveal, SealedReveal
from secagg.masking.neighbours import Advertisements
from secagg.masking.sealing import OneTimeKey
from secagg.masking.session import RoundSum, Session, Settled, Survivors
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.sifting import Sifting


class GroupCipher:
    """The group key of one epoch, which every hospital has and the coordinator has not, and what is done with it.

    Encrypts vectors, opens sums, seals and opens what is revealed. In memory only.

    Args:
        key: the group key, 32 bytes.
        roster: the advertisements of all participants.

    Raises:
        InputError: ``other-tenseal``, ``other-modulus``, ``no-anonymous-memory``, ``too-many-files``: this site cannot
            encrypt as the others do.
    """

    def __init__(self, session: Session, key: bytes, roster: Advertisements) -> None:
        self._session = session
        self._key = key
        self._roster = roster
        self._tags = 1 << 8 * session.tag_size
        self._cipher = Cipher(session.form.spec, kdf.encryption_seed(key, session))
        # What nobody else could add is found out now, and not when a round has begun and is paid for.
        self._cipher.try_out()

    def acknowledgement(self) -> Acknowledge:
        """Shows the coordinator whether this hospital has the others' secret and scale, and not the secret."""
        session = self._session
        fingerprint = self._cipher.fingerprint(session.context("homomorphic secret fingerprint", 0))
        return Acknowledge(public_context(session.form.spec), fingerprint)

    def encrypt(
        self, vector: RingVector, keys: Sequence[SignedKey], tag: int, out: memoryview, round_number: int, owner: int
    ) -> int:
        """Mask ``vector`` with ``keys``, encrypt it into ``out``; give the tag, hidden too.

        Args:
            vector: ring elements, shape (session.length,); left unchanged.
            keys: none where the scheme does not mask.
        """
        form = self._session.form
        packed = form.codec.pack(vector)
        tag += kdf.tag_pad(self._key, self._session, round_number, owner)
        if keys:
            (tag,) = add_masks(packed, keys, [tag], self._session.tag_size, over_processes)
        encrypt_vector(packed, form, self._cipher, out)
        return tag % self._tags

    def check_sum(self, payload: EncryptedSum) -> None:
        """Refuse what is no sum of this epoch's form, before anything is done for it.

        Raises:
            RemoteProtocolError: ``wrong-length`` or ``malformed``.
        """
        check_sum_blocks(self._session.form.spec, self._session.form.blocks, payload.vector)

    def open_sum(self, payload: EncryptedSum, settled: Settled) -> RoundSum:
        """Decrypt a sum that `check_sum` has let pass, and take its masks off. The result is not verified yet.

        Args:
            settled: what sum it is.

        Raises:
            RemoteProtocolError: if what was revealed does not take the masks off.
        """
        session = self._session
        tag = int.from_bytes(payload.tag, "little")
        masks = self._masks(payload.reveals, settled) if session.masked else []
        packed = decrypt_vector(payload.vector, session.form, self._cipher)
        if masks:
            (tag,) = add_masks(packed, masks, [tag], session.tag_size, over_processes)
        tag -= sum(kdf.tag_pad(self._key, session, settled.round, number) for number in settled.survivors.numbers)
        return settled.summed(session.form.codec.unpack(packed, session.length), tag % self._tags)

    def seal_reveal(self, reveal: Reveal, round_number: int, responder: int) -> SealedReveal:
        """A hospital's shares, for the others alone."""
        key = self._reveal_key(round_number, responder, reveal.survivors_digest)
        sealed = key.seal(reveal.seed_shares + reveal.mask_key_shares)
        return SealedReveal(reveal.survivors_digest, reveal.inputs_digest, sealed)

    def _masks(self, reveals: Sequence[ResponderReveal], settled: Settled) -> list[SignedKey]:
        participants = frozenset(self._roster)
        rebuilding = Sifting(self._session, settled, self._roster, participants, lambda owner: participants - {owner})
        owners = [*settled.survivors.numbers, *rebuilding.dropped]
        opened = self._open_reveals(reveals, settled.survivors, settled.round)
        for responder, shares in opened:
            rebuilding.keep(responder, owners, shares)
        if not rebuilding.enough:
            raise self._too_few(len(opened), {reveal.responder for reveal in reveals} - dict(opened).keys())
        return rebuilding.masks()

    def _open_reveals(
        self, reveals: Sequence[ResponderReveal], survivors: Survivors, round_number: int
    ) -> list[tuple[int, bytes]]:
        """The shares of each responder whose seal opens. The coordinator cannot tell: the others must do without."""
        opened: dict[int, bytes] = {}
        responders = [reveal.responder for reveal in reveals]
        for reveal in reveals:
            if reveal.responder not in survivors.numbers or responders.count(reveal.responder) > 1:
                raise RemoteProtocolError(
                    "duplicate", f"Shares of member {reveal.responder} came twice, or it is no survivor."
                )
            key = self._reveal_key(round_number, reveal.responder, survivors.digest())
            with suppress(InvalidTag):
                opened[reveal.responder] = key.open(reveal.sealed)
        due = len(self._roster) * SHARE_SIZE
        return [(responder, shares) for responder, shares in opened.items() if len(shares) == due]

    def _too_few(self, opened: int, unreadable: set[int]) -> RemoteProtocolError:
        threshold, names = self._session.threshold, [self._session.name(number) for number in sorted(unreadable)]
        if not names:
            return RemoteProtocolError(
                "too-few-revealed",
                f"A sum comes with the shares of {opened} hospitals; it takes {threshold}.",
                culprit="the coordinator",
            )
        return RemoteProtocolError(
            "unreadable-shares",
            f"The shares that {', '.join(names)} revealed cannot be unsealed; without them there are those of {opened} "
            f"hospitals, and it takes {threshold}.",
            culprit=names[0],
            remedy="Begin the round again: with the threshold answering besides, it has a sum.",
        )

    def _reveal_key(self, round_number: int, responder: int, survivors: bytes) -> OneTimeKey:
        return OneTimeKey(kdf.reveal_sealing_key(self._key, self._session, round_number, responder, survivors))
