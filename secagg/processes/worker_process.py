"""What runs in a worker process, and the orders that it takes on its standard input.

Knows orders, the memory that it shares with its employer, and where each kind of work is done. Ends when its standard
input does.

An order is code (1 byte), a, b (8 bytes each, little-endian):
    BRIEF   a is the kind of work, b bytes follow that say what it is about; what was there before is dropped
    piece   code is the slot that holds what was handed over and takes the result, (a, b) the piece
An answer is one byte: READY, once, or the slot that has been written.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
from collections.abc import Mapping
from importlib import import_module
from typing import Final, cast

from secagg.processes.job import SLOTS, Piece, Service, Work

BRIEF: Final = 255
READY: Final = 254
_ORDER: Final = struct.Struct("<BQQ")
# Loaded when they are asked for: who expands masks needs no TenSEAL.
_SERVICES: Final[Mapping[Work, tuple[str, str]]] = {
    Work.EXPAND_MASKS: ("secagg.masking.keystream", "MaskService"),
    Work.ENCRYPT: ("secagg.homomorphic.services", "EncryptService"),
    Work.DECRYPT: ("secagg.homomorphic.services", "DecryptService"),
    Work.ADD: ("secagg.homomorphic.services", "AddService"),
    Work.VERIFY: ("secagg.signature_batch", "SignatureService"),
}


def encode_brief(work: Work, brief: bytes) -> bytes:
    """The order that says what the pieces to come are of."""
    return _ORDER.pack(BRIEF, work, len(brief)) + brief


def encode_forget() -> bytes:
    """The order to drop what was said."""
    return encode_brief(Work.NOTHING, b"")


def encode_piece(slot: int, piece: Piece) -> bytes:
    """The order to do a piece in ``slot``."""
    return _ORDER.pack(slot, *piece)


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
    slot_bytes = len(window) // SLOTS
    service: Service | None = None
    os.write(answers, bytes([READY]))
    while True:
        code, first, second = _ORDER.unpack(_read(orders, _ORDER.size))
        if code == BRIEF:
            # Without a brief there is nothing to give: never zeros in a mask's place.
            service = _service(Work(first), _read(orders, second))
        elif service:
            service.serve((first, second), memoryview(window)[code * slot_bytes : (code + 1) * slot_bytes])
            os.write(answers, bytes([code]))


def _service(work: Work, brief: bytes) -> Service | None:
    if work is Work.NOTHING:
        return None
    module, name = _SERVICES[work]
    return cast(Service, getattr(import_module(module), name)(brief))


def _read(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
