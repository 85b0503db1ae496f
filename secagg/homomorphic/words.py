"""Residues modulo a prime below 2^60 as bytes, 60 bits each.

Element i and element i + N/2 share 15 bytes, laid out in planes, so that packing is a few passes over whole arrays:
N/2 words of 64 bits (x_i + 2^60 x_(i+N/2) modulo 2^64), then what is above them, 56 bits: N/2 of 32, of 16 and of 8.
All little-endian.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import RemoteProtocolError

Words = npt.NDArray[np.uint64]

WORD_BITS: Final = 60
_MASK: Final = np.uint64((1 << WORD_BITS) - 1)
_BITS = np.uint64(WORD_BITS)
_TOP: Final = np.uint32((1 << 28) - 1)
_LEFT: Final = np.uint64(64 - WORD_BITS)
# (type, where its bits begin above the first 64)
_PLANES: Final = ((np.dtype("<u4"), 0), (np.dtype("<u2"), 32), (np.dtype("u1"), 48))


def words_size(count: int) -> int:
    """How many bytes ``count`` residues take; an even number."""
    return count // 2 * (2 * WORD_BITS // 8)


def pack_words(words: Words, out: memoryview) -> None:
    """Write the residues, shape (count,), into ``out``, `words_size` bytes."""
    half = len(words) // 2
    lower, upper = words[:half], words[half:]
    target = np.frombuffer(out, np.uint8)
    target[: 8 * half].view("<u8")[:] = lower | (upper << _BITS)
    above, start = upper >> _LEFT, 8 * half
    for dtype, shift in _PLANES:
        end = start + dtype.itemsize * half
        target[start:end].view(dtype)[:] = (above >> np.uint64(shift)).astype(dtype)
        start = end


def unpack_words(data: memoryview, count: int) -> Words:
    """The ``count`` residues in ``data``, which `check_words` has let pass."""
    half = count // 2
    source, words = np.frombuffer(data, np.uint8), np.empty(count, np.uint64)
    first = source[: 8 * half].view("<u8")
    np.bitwise_and(first, _MASK, out=words[:half])
    upper, start = first >> _BITS, 8 * half
    for dtype, shift in _PLANES:
        end = start + dtype.itemsize * half
        upper |= source[start:end].view(dtype).astype(np.uint64) << (np.uint64(shift) + _LEFT)
        start = end
    words[half:] = upper
    return words


def check_words(data: memoryview, count: int, modulus: int) -> None:
    """Refuse what is not ``count`` residues below ``modulus``, a prime whose upper 28 bits are ones.

    Raises:
        RemoteProtocolError: ``wrong-length``; ``malformed``, if one is not below ``modulus``.
    """
    if len(data) != words_size(count):
        raise RemoteProtocolError("wrong-length", f"{len(data)} bytes of residues where {words_size(count)} are due.")
    half = count // 2
    source = np.frombuffer(data, np.uint8)
    # Few residues have so many ones at the top: only where there is such a one, all are looked at in full.
    lower_tops = source[: 8 * half].view("<u4")[1::2] & _TOP
    upper_tops = source[12 * half : 14 * half].view("<u2")
    if not ((lower_tops == _TOP).any() or ((upper_tops == 0xFFFF) & (source[14 * half :] == 0xFF)).any()):
        return
    if int(unpack_words(data, count).max()) >= modulus:
        raise RemoteProtocolError("malformed", "A ciphertext holds a number that is no residue of its modulus.")
