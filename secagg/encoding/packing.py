"""Ring elements as bytes: b bits each, nothing between them.

Element i occupies bits i*b .. (i+1)*b - 1 of the byte string, where bit k is bit k mod 8 (least significant first) of
byte k div 8. The bits that fill the last byte are zero. For b divisible by 8 this is plain little-endian.

All works chunk by chunk: beside what goes in and what comes out there is never a whole vector more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector
from secagg.errors import RemoteProtocolError

Octets = npt.NDArray[np.uint8]
Elements = npt.NDArray[np.unsignedinteger]

# Bounds the temporary bit matrix (64 bytes an element); a multiple of 8, so that every chunk ends on a byte.
_CHUNK = 1 << 16
# The widths that are a machine's own: packed elements are an array of this type.
_WORDS = {bits: np.dtype(f"<u{bits // 8}") for bits in (16, 32, 64)}


def packed_size(length: int, bits: int) -> int:
    """How many bytes ``length`` elements of ``bits`` bits take."""
    return (length * bits + 7) // 8


def pack(elements: RingVector, ring: Ring) -> bytearray:
    """The low b bits of each element, packed."""
    packed = bytearray(packed_size(len(elements), ring.bits))
    pack_into(packed, elements, ring, 0)
    return packed


def pack_into(packed: bytearray | memoryview, elements: RingVector, ring: Ring, start: int) -> None:
    """Pack ``elements`` into the bytes of a longer vector, of which they are those from ``start`` on.

    ``start`` must be a multiple of 8, and so must the number of elements unless the last one is among them.
    """
    target = np.frombuffer(packed, np.uint8)
    for first in range(0, len(elements), _CHUNK):
        chunk = np.ascontiguousarray(elements[first : first + _CHUNK], ring.dtype)
        octets = _octets(target, start + first, len(chunk), ring)
        if ring.bits in _WORDS:
            octets.view(_WORDS[ring.bits])[:] = chunk
        elif ring.bits % 8 == 0:
            _copy_octets(_by_element(chunk), octets.reshape(-1, ring.bits // 8), ring)
        else:
            octets[:] = _pack_bits(_by_element(chunk), ring.bits)


def unpack(data: bytes | memoryview, length: int, ring: Ring) -> RingVector:
    """The ``length`` elements packed in ``data``.

    Raises:
        RemoteProtocolError: ``wrong-length`` if there are more or fewer bytes than that, ``malformed`` if the bits
            after the last element are not zero.
    """
    elements = np.empty(length, ring.dtype)
    for start, chunk in _unpacked(data, length, ring):
        elements[start : start + len(chunk)] = chunk
    return elements


def add_packed(total: RingVector, data: bytes | memoryview, ring: Ring) -> None:
    """Add the elements packed in ``data`` to ``total``, modulo its type, in place.

    Raises:
        RemoteProtocolError: as `unpack` does; ``total`` is what it was then.
    """
    for start, chunk in _unpacked(data, len(total), ring):
        piece = total[start : start + len(chunk)]
        np.add(piece, chunk, out=piece)


def _unpacked(data: bytes | memoryview, length: int, ring: Ring) -> Iterator[tuple[int, Elements]]:
    """Chunks with the number of their first element; nothing is given before all has been checked."""
    if len(data) != packed_size(length, ring.bits):
        raise RemoteProtocolError(
            "wrong-length",
            f"A vector has {len(data)} bytes where {packed_size(length, ring.bits)} are due.",
        )
    octets = np.frombuffer(data, np.uint8)
    if ring.bits % 8 and length and octets[-1] >> (((length * ring.bits - 1) % 8) + 1):
        raise RemoteProtocolError("malformed", "The bits after a vector's last element are not zero.")
    for start in range(0, length, _CHUNK):
        count = min(_CHUNK, length - start)
        yield start, _unpack_chunk(_octets(octets, start, count, ring), count, ring)


def _unpack_chunk(octets: Octets, length: int, ring: Ring) -> Elements:
    if ring.bits in _WORDS:
        return octets.view(_WORDS[ring.bits])
    if ring.bits % 8:
        return _unpack_bits(octets, length, ring)
    elements = ring.zeros(length)
    _copy_octets(octets.reshape(length, -1), _by_element(elements), ring)
    return elements


def _octets(packed: Octets, start: int, count: int, ring: Ring) -> Octets:
    """The bytes of ``count`` elements from ``start`` on."""
    first = start * ring.bits // 8
    return packed[first : first + packed_size(count, ring.bits)]


def _by_element(elements: RingVector) -> Octets:
    return elements.view(np.uint8).reshape(-1, elements.itemsize)


def _copy_octets(source: Octets, target: Octets, ring: Ring) -> None:
    # Column by column: numpy copies rows of three bytes five times slower.
    for column in range(ring.bits // 8):
        target[:, column] = source[:, column]


def _pack_bits(octets: Octets, bits: int) -> Octets:
    matrix = np.unpackbits(octets, axis=1, bitorder="little")[:, :bits]
    return np.packbits(matrix.reshape(-1), bitorder="little")


def _unpack_bits(octets: Octets, length: int, ring: Ring) -> RingVector:
    matrix = np.zeros((length, ring.dtype.itemsize * 8), np.uint8)
    bits = np.unpackbits(octets, count=length * ring.bits, bitorder="little")
    matrix[:, : ring.bits] = bits.reshape(length, ring.bits)
    return np.packbits(matrix, axis=1, bitorder="little").reshape(-1).view(ring.dtype)
