"""Many Ed25519 signatures of one key, checked by all cores.

Knows signatures of digests and how they are handed to workers. A log of 100,000 entries is almost nothing else.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from secagg.identity import PUBLIC_KEY_SIZE, SIGNATURE_SIZE
from secagg.labels import DIGEST_SIZE
from secagg.processes.job import Piece, Work
from secagg.processes.team import over_team

PARALLEL_FROM_SIGNATURES: Final = 4_000
"""Signatures from which on workers are asked: these take about half a second, and a worker as long to start."""

_ITEM_SIZE: Final = DIGEST_SIZE + SIGNATURE_SIZE
_COUNT_SIZE: Final = 8
# A fiftieth of a second: little enough for all cores to finish at once, and for a slot.
_PIECE: Final = 200
_PATIENCE_SECONDS: Final = 0.1


class SignatureBatch:
    """Signatures of one key over ``label + digest``, in order."""

    def __init__(self, public_key: bytes, label: bytes) -> None:
        self._key = public_key
        self._label = label
        self._items = bytearray()

    def add(self, digest: bytes, signature: bytes) -> None:
        """One more.

        Raises:
            ValueError: these are not 32 and 64 bytes.
        """
        if (len(digest), len(signature)) != (DIGEST_SIZE, SIGNATURE_SIZE):
            raise ValueError("A digest has 32 bytes and a signature 64.")
        self._items += digest
        self._items += signature

    def first_invalid(self) -> int | None:
        """The index of the first signature that is not this key's; None if all are."""
        count = len(self._items) // _ITEM_SIZE
        job = SignatureJob(self._key, self._label, self._items)
        if count < PARALLEL_FROM_SIGNATURES:
            valid = job.compute((0, count))
            return valid if valid < count else None
        pieces = deque((start, min(_PIECE, count - start)) for start in range(0, count, _PIECE))
        invalid = [first + valid for (first, size), valid in over_team(job, pieces) if valid < size]
        return min(invalid, default=None)


class SignatureJob:
    """How many signatures at the beginning of a piece are valid; a piece is (first item, items)."""

    work = Work.VERIFY
    patience = _PATIENCE_SECONDS

    def __init__(self, public_key: bytes, label: bytes, items: bytearray) -> None:
        self._key, self._label, self._items = public_key, label, items

    def brief(self) -> bytes:
        """The key, and what stands before each digest."""
        return self._key + self._label

    def hand_over(self, piece: Piece, slot: memoryview) -> None:
        """Digests and signatures."""
        items = self._part(piece)
        slot[: len(items)] = items

    def result(self, piece: Piece, slot: memoryview) -> int:
        """What a worker has counted."""
        return min(int.from_bytes(slot[:_COUNT_SIZE], "little"), piece[1])

    def compute(self, piece: Piece) -> int:
        """The same, here."""
        return _count_valid(self._key, self._label, self._part(piece))

    def _part(self, piece: Piece) -> memoryview:
        first, count = piece
        return memoryview(self._items)[first * _ITEM_SIZE : (first + count) * _ITEM_SIZE]


class SignatureService:
    """The same at a worker's."""

    def __init__(self, brief: bytes) -> None:
        self._key, self._label = brief[:PUBLIC_KEY_SIZE], brief[PUBLIC_KEY_SIZE:]

    def serve(self, piece: Piece, slot: memoryview) -> None:
        """Count, and write the count where the signatures lay."""
        valid = _count_valid(self._key, self._label, slot[: piece[1] * _ITEM_SIZE])
        slot[:_COUNT_SIZE] = valid.to_bytes(_COUNT_SIZE, "little")


def _count_valid(public_key: bytes, label: bytes, items: memoryview) -> int:
    key = Ed25519PublicKey.from_public_bytes(public_key)
    count = len(items) // _ITEM_SIZE
    for number in range(count):
        item = bytes(items[number * _ITEM_SIZE : (number + 1) * _ITEM_SIZE])
        try:
            key.verify(item[DIGEST_SIZE:], label + item[:DIGEST_SIZE])
        except InvalidSignature:
            return number
    return count
