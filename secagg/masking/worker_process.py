"""What runs in a worker process, and the orders that it takes on its standard input.

Knows keys, pieces and the memory that it shares with its employer. Ends when its standard input does.

An order is code (1 byte), a, b (8 bytes each, little-endian):
    KEYS    a keys of 33 bytes follow, for elements of b bytes; those of before are dropped
    piece   code is the slot to write to, a the first element, b how many
An answer is one byte: READY, once, or the slot that has been written.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
from typing import Final

import numpy as np

from secagg.masking.keystream import KEY_SIZE, MaskStreams, SignedKey

KEYS: Final = 255
READY: Final = 254
_ORDER: Final = struct.Struct("<BQQ")
_NEGATIVE, _POSITIVE = b"-", b"+"


def encode_keys(streams: MaskStreams) -> bytes:
    """The order that brings the keys."""
    keys = [(_POSITIVE if item.sign > 0 else _NEGATIVE) + item.key for item in streams.keys]
    return _ORDER.pack(KEYS, len(keys), streams.dtype.itemsize) + b"".join(keys)


def encode_forget() -> bytes:
    """The order to drop the keys."""
    return _ORDER.pack(KEYS, 0, 4)


def encode_piece(slot: int, start: int, count: int) -> bytes:
    """The order to write the sum of the masks of ``count`` elements from ``start`` on into ``slot``."""
    return _ORDER.pack(slot, start, count)


def main(memory: int, size: int, answers: int) -> None:
    """Serve until standard input ends.

    Args:
        memory: file descriptor of the shared memory, of ``size`` bytes.
        answers: file descriptor of the pipe that takes the answers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    window = mmap.mmap(memory, size)
    os.close(memory)
    try:
        serve(0, answers, window)
    except (EOFError, BrokenPipeError):
        os._exit(0)


def serve(orders: int, answers: int, window: mmap.mmap) -> None:
    """Carry out orders from one file descriptor, answer on another, until an EOFError or a BrokenPipeError."""
    slot_bytes = len(window) // 2
    streams: MaskStreams | None = None
    os.write(answers, bytes([READY]))
    while True:
        code, first, second = _ORDER.unpack(_read(orders, _ORDER.size))
        if code == KEYS:
            # Without keys there are no masks to give: never zeros in their place.
            streams = _streams(_read(orders, first * (1 + KEY_SIZE)), second) if first else None
        elif streams:
            out = np.frombuffer(window, streams.dtype, second, code * slot_bytes)
            streams.sum_into(first, out)
            os.write(answers, bytes([code]))


def _streams(data: bytes, itemsize: int) -> MaskStreams:
    size = 1 + KEY_SIZE
    items = [data[start : start + size] for start in range(0, len(data), size)]
    keys = [SignedKey(item[1:], 1 if item[:1] == _POSITIVE else -1) for item in items]
    return MaskStreams(keys, np.dtype(f"<u{itemsize}"))


def _read(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
