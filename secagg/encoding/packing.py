"""Ring elements as bytes: b bits each, nothing between them.

Element i occupies bits i*b .. (i+1)*b - 1 of the byte string, where bit k is bit k mod 8 (least significant first) of
byte k div 8. The bits that fill the last byte are zero. For b divisible by 8 this is plain little-endian.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector
from secagg.errors import RemoteProtocolError

# Bounds the temporary bit matrix (64 bytes an element); a multiple of 8, so that every chunk ends on a byte.
_CHUNK = 1 << 16


def packed_size(length: int, bits: int) -> int:
    """How many bytes ``length`` elements of ``bits`` bits take."""
    return (length * bits + 7) // 8


def pack(elements: RingVector, ring: Ring) -> bytes:
    """The low b bits of each element, packed."""
    octets = np.ascontiguousarray(elements, ring.dtype).view(np.uint8).reshape(-1, ring.dtype.itemsize)
    if ring.bits % 8 == 0:
        return octets[:, : ring.bits // 8].tobytes()
    return b"".join(_pack_bits(octets[start : start + _CHUNK], ring.bits) for start in range(0, len(octets), _CHUNK))


def unpack(data: bytes | memoryview, length: int, ring: Ring) -> RingVector:
    """The ``length`` elements packed in ``data``.

    Raises:
        RemoteProtocolError: ``wrong-length`` if there are more or fewer bytes than that, ``malformed`` if the bits
            after the last element are not zero.
    """
    if len(data) != packed_size(length, ring.bits):
        raise RemoteProtocolError(
            "wrong-length",
            f"A vector has {len(data)} bytes where {packed_size(length, ring.bits)} are due.",
        )
    octets = np.frombuffer(data, np.uint8)
    elements = np.zeros((length, ring.dtype.itemsize), np.uint8)
    if ring.bits % 8 == 0:
        elements[:, : ring.bits // 8] = octets.reshape(length, ring.bits // 8)
    else:
        if length and octets[-1] >> (((length * ring.bits - 1) % 8) + 1):
            raise RemoteProtocolError("malformed", "The bits after a vector's last element are not zero.")
        step = _CHUNK * ring.bits // 8
        for number, start in enumerate(range(0, len(octets), step)):
            target = elements[number * _CHUNK : (number + 1) * _CHUNK]
            target[:] = _unpack_bits(octets[start : start + step], len(target), ring)
    return elements.reshape(-1).view(ring.dtype)


def _pack_bits(octets: npt.NDArray[np.uint8], bits: int) -> bytes:
    matrix = np.unpackbits(octets, axis=1, bitorder="little")[:, :bits]
    return np.packbits(matrix.reshape(-1), bitorder="little").tobytes()


def _unpack_bits(octets: npt.NDArray[np.uint8], length: int, ring: Ring) -> npt.NDArray[np.uint8]:
    matrix = np.zeros((length, ring.dtype.itemsize * 8), np.uint8)
    bits = np.unpackbits(octets, count=length * ring.bits, bitorder="little")
    matrix[:, : ring.bits] = bits.reshape(length, ring.bits)
    return np.packbits(matrix, axis=1, bitorder="little")
