"""Residues modulo a prime below 2^60 as bytes, 60 bits each.

Sixteen residues take fifteen words of 64 bits, little-endian. Of N residues x_0, x_1, ... the first 15 N/16 have a word
each, and the others are in what is left of those: word i is 16 x_i + y_i, and x_(15 N/16 + k) is the sum of
16^j y_(k + j N/16) for j from 0 to 14. So packing is a few passes over whole arrays, and x_i is below q where its word
is below 16 q.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import RemoteProtocolError

Words = npt.NDArray[np.uint64]

WORD_BITS: Final = 60
_ROWS: Final = 15
_DIGIT_BITS: Final = 4
_DIGIT: Final = np.uint64((1 << _DIGIT_BITS) - 1)
_SHIFT: Final = np.uint64(_DIGIT_BITS)
_PLACES: Final = np.arange(0, WORD_BITS, _DIGIT_BITS, dtype=np.uint64)[:, np.newaxis]
# The rows with the upper 28 bits of what is spread over all rows.
_UPPER: Final = slice(8, _ROWS)
# Polynomials that are checked at a time: what is made of them stays in the cache.
_GROUP: Final = 8


def words_size(count: int) -> int:
    """How many bytes ``count`` residues take, a multiple of 16."""
    return count // (_ROWS + 1) * _ROWS * 8


def pack_words(words: Words, out: memoryview) -> None:
    """Write the residues, shape (count,), into ``out``, `words_size` bytes."""
    rows = _rows(np.frombuffer(out, "<u8"))
    spread = words[rows.size :] >> _PLACES
    spread &= _DIGIT
    np.left_shift(words[: rows.size].reshape(rows.shape), _SHIFT, out=rows)
    rows |= spread


def unpack_words(data: memoryview, count: int) -> Words:
    """The ``count`` residues in ``data``, `words_size` bytes, which `check_each` has let pass."""
    return unpack_each(np.frombuffer(data, "<u8")).reshape(count)


def unpack_each(packed: Words) -> Words:
    """The same for several polynomials at once: (..., `words_size` / 8) words as (..., count) residues."""
    rows = _rows(packed)
    columns = rows.shape[-1]
    words = np.empty((*packed.shape[:-1], (_ROWS + 1) * columns), np.uint64)
    np.right_shift(rows, _SHIFT, out=_rows(words[..., :-columns]))
    _gather(rows, words[..., -columns:])
    return words


def check_each(packed: Words, modulus: int) -> None:
    """Refuse residues that are not below ``modulus``, a prime whose upper 28 bits are ones.

    Args:
        packed: the words of several polynomials, shape (polynomials, `words_size` / 8), of any strides.

    Raises:
        RemoteProtocolError: ``malformed``, if a residue is not below ``modulus``.
    """
    for start in range(0, len(packed), _GROUP):
        rows = _rows(packed[start : start + _GROUP])
        if int(rows.max(initial=0)) >> _DIGIT_BITS >= modulus or _largest_spread(rows) >= modulus:
            raise RemoteProtocolError("malformed", "A ciphertext holds a number that is no residue of its modulus.")


def _rows(packed: Words) -> Words:
    """As (..., 15, N/16): what is spread over the words of a column makes one residue."""
    return packed.reshape(*packed.shape[:-1], _ROWS, -1)


def _gather(rows: Words, out: Words) -> None:
    parts = rows & _DIGIT
    parts <<= _PLACES
    np.bitwise_or.reduce(parts, axis=-2, out=out)


def _largest_spread(rows: Words) -> int:
    """The largest of the residues that are spread over rows, or 0 if it is sure that it is below the modulus."""
    # Few have so many ones at the top: only where there is such a one, all are put together.
    ones = np.bitwise_and.reduce(rows[..., _UPPER, :], axis=-2)
    ones &= _DIGIT
    if int(ones.max(initial=0)) != _DIGIT:
        return 0
    spread = np.empty_like(ones)
    _gather(rows, spread)
    return int(spread.max())
