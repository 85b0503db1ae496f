"""Hospitals that are real in all but masks that would cancel: how a consortium is measured that would take too long.

Knows which masks of a sum cancel. Every other part of such a hospital is the real one: keys, shares, signatures, its
own mask, encryption, the latch. The sum comes out exact, and every check of it holds.
"""

from __future__ import annotations

from collections.abc import Collection

from secagg.encoding.ring import RingVector
from secagg.masking import MaskingClient
from secagg.masking.epoch import Epoch
from secagg.masking.keystream import SignedKey


class SparedEpoch(Epoch):
    """Leaves out the masks with others that leave theirs out as well.

    Attributes:
        spared: who does.
    """

    spared: Collection[int] = ()

    def mask_keys(self, round_number: int, model: bytes) -> list[SignedKey]:
        """The key of its own mask, and those that it has in common with hospitals that are real or have dropped.

        None where nothing is masked.
        """
        keys = super().mask_keys(round_number, model)
        if not keys:
            return []
        own, *pairwise = keys
        peers = sorted((set(self.holders_of(self.number)) | set(self.held)) - {self.number})
        return [own, *(key for peer, key in zip(peers, pairwise, strict=True) if peer not in self.spared)]


class SparedClient(MaskingClient):
    """A hospital's side of the protocol, without the masks that cancel."""

    def mask_spared(self, vectors: list[RingVector], model_digest: bytes, spared: Collection[int]) -> bytes:
        """What `mask` gives, where all of ``spared`` mask so."""
        epoch = self._current()
        # Its secrets and what it holds stay where they are.
        epoch.__class__ = SparedEpoch
        epoch.spared = spared  # type: ignore[attr-defined]
        return self.mask(vectors[0], model_digest, vectors[1:])
