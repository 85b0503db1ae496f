"""A coordinator that may do anything where sums are encrypted: it adds any ciphertexts and names any contributors.

With a hospital that colludes it has all that the hospitals of an epoch have in common, and opens what that opens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import RingVector
from secagg.homomorphic.vectors import CiphertextSum, decrypt_vector
from secagg.masking import Survivors, kdf
from secagg.masking.contributions import detach_contribution
from secagg.masking.group import GroupCipher
from secagg.masking.kdf import Secret
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.messages import Contribution, EncryptedSum, ResponderReveal, SealedReveal, nth
from secagg.wire import Stage
from secagg.wire.envelope import decode
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Outcome, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import MODEL_DIGEST, Consortium, Vectors


class Revealed(NamedTuple):
    """Shares that a hospital sealed for the others, and for which survivors."""

    survivors: Survivors
    sealed: bytes


class EncryptedCoordinator(LyingCoordinator):
    """One epoch under an encrypted scheme, driven by hand.

    Attributes:
        revealed: the sealed shares of this round, by responder.
    """

    revealed: dict[int, Revealed]

    def collect(self, vectors: Mapping[int, RingVector], model: bytes = MODEL_DIGEST) -> None:
        """Take the encrypted vector of everyone in ``vectors``."""
        self.revealed = {}
        super().collect(vectors, model)

    def ask(self, number: int, survivors: Iterable[int], agreements: Sequence[bytes] | None = None) -> SealedReveal:
        """Name ``survivors`` to one hospital, and keep the shares that it seals for the others."""
        named = tuple(survivors)
        (reply,) = self.clients[number].receive(self.unmask_request(named, agreements))
        reveal = decode(self.read(reply).payload, SealedReveal)
        self.revealed[number] = Revealed(Survivors(named), reveal.sealed)
        return reveal

    def unmask(self, survivors: Sequence[int]) -> None:
        """Have all survivors reveal, where there is something to reveal."""
        if self.session.masked:
            super().unmask(survivors)

    # --- What needs no secret -----------------------------------------------------------------------------------

    def added(self, numbers: Iterable[int]) -> bytes:
        """These hospitals' ciphertexts of this round, added up: of one hospital, its own in the form of a sum."""
        return self.added_up(self.masked_payload(number).vector for number in numbers)

    def added_up(self, vectors: Iterable[bytes | memoryview]) -> bytes:
        """Any fresh ciphertexts, added up."""
        total, out = CiphertextSum(self.session.form), bytearray(self.session.sum_bytes)
        for vector in vectors:
            total.add(memoryview(vector))
        total.take(memoryview(out))
        return bytes(out)

    def tags_of(self, numbers: Iterable[int]) -> int:
        """The sum of these hospitals' tags."""
        return sum(int.from_bytes(self.masked_payload(number).tags, "little") for number in numbers)

    def signed_by(self, numbers: Iterable[int]) -> list[Contribution]:
        """The signatures of these hospitals' vectors."""
        return [detach_contribution(self.read(self.masked[number])) for number in numbers]

    def encrypted_sum(
        self,
        survivors: Iterable[int],
        vector: bytes | None = None,
        tag: int | None = None,
        contributions: list[Contribution] | None = None,
        *,
        step: int = 1,
        model: bytes = MODEL_DIGEST,
    ) -> bytes:
        """A SUM message: the honest one over ``survivors``, but for what is given."""
        named, size = list(survivors), self.session.tag_size
        tag = self.tags_of(named) if tag is None else tag
        payload = EncryptedSum(
            step=step,
            survivors=named,
            model_digest=model,
            tag=(tag % (1 << 8 * size)).to_bytes(size, "little"),
            contributions=self.signed_by(named) if contributions is None else contributions,
            reveals=[ResponderReveal(number, reveal.sealed) for number, reveal in sorted(self.revealed.items())],
            vector=memoryview(self.added(named) if vector is None else vector),
        )
        return self.forge(Stage.SUM, payload, round_number=self.round)

    def zero_sum(self, survivors: Iterable[int], step: int = 1) -> bytes:
        """A forged sum that would leave the model as it is: of zeros, whatever the secret."""
        return self.encrypted_sum(survivors, bytes(self.session.sum_bytes), 0, step=step)

    def give_sum(self, numbers: Iterable[int], message: bytes) -> None:
        """Hand a sum to these hospitals, who take it up."""
        for number in numbers:
            self.clients[number].receive(message)
            self.clients[number].take_sum()

    # --- What needs a hospital that colludes ----------------------------------------------------------------------

    @property
    def group(self) -> GroupCipher:
        """All that the hospitals of the epoch have in common, from one that colludes."""
        return self.clients[min(self.colluders)]._current().group

    def hidden(self, tag: int, numbers: Iterable[int]) -> int:
        """A tag as the sum of these hospitals' would come."""
        pads = (kdf.tag_pad(self.group._key, self.session, self.round, number) for number in numbers)
        return tag + sum(pads)

    def decrypted(self, number: int) -> RingVector:
        """What a hospital has encrypted: its vector, packed, and masked if it was."""
        return decrypt_vector(memoryview(self.added([number])), self.session.form, self.group._cipher)

    def open_reveals(self) -> None:
        """Read the shares that were sealed for all hospitals."""
        for responder, (survivors, sealed) in self.revealed.items():
            reveal = ResponderReveal(responder, sealed)
            ((_, shares),) = self.group._open_reveals([reveal], survivors, self.round)
            for index, owner in enumerate((*survivors.numbers, *self.all_but(*survivors.numbers))):
                secret = Secret.SELF_MASK_SEED if owner in survivors.numbers else Secret.MASK_KEY
                if owner not in self.colluders:  # Dealt anew: see `_hand_over`.
                    self.shares[owner, secret][responder] = nth(shares, index)

    def without(self, victim: int, keys: Sequence[SignedKey]) -> npt.NDArray[np.int64]:
        """The victim's vector, decrypted and without these masks, as signed integers."""
        packed, session = self.decrypted(victim), self.session
        add_masks(packed, keys)
        return session.ring.to_signed(session.form.codec.unpack(packed, session.length))

    def _hand_over(self, colluder: int) -> None:
        if self.session.masked:
            super()._hand_over(colluder)


MEMBERS: Final = 5
VICTIM: Final = 1
COLLUDER: Final = 5
ENCRYPTED: Final = ("bfv", "ckks", "double-lock")
WITHOUT_MASKS: Final = ("bfv", "ckks")

Script = Callable[[Consortium, Tries], str | None]
"""What an attacker has learned of one consortium; None if nothing."""


def under_each(schemes: Collection[str], build: Build, folder: Path, refuser: Refuser, script: Script) -> Outcome:
    """Run one script against a consortium under each scheme, as far as it is refused."""
    tries = Tries(refuser)
    for scheme in schemes:
        place = folder / scheme
        place.mkdir()
        with Consortium.make(place, MEMBERS, build, scheme=scheme) as stage:
            learned = script(stage, tries)
        if learned:
            return tries.outcome(f"{learned}, under {scheme}")
    return tries.outcome(None)


def encrypted_round(stage: Consortium, *colluders: int) -> tuple[EncryptedCoordinator, Vectors]:
    """A lying coordinator whose consortium is set up and has encrypted its vectors in round 1."""
    coordinator = EncryptedCoordinator(stage.charter, stage.clients, colluders=colluders)
    vectors = stage.random_vectors(np.random.default_rng(1))
    coordinator.set_up()
    coordinator.start_round(vectors)
    return coordinator, vectors
