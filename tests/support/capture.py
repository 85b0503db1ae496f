"""Writes down every frame on a network's interfaces until it is ended. Run as a script inside that network (Linux).

Each frame is preceded by its length, 4 bytes, most significant first.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_ALL_PROTOCOLS = 3
_IPV4, _TCP = 0x0800, 6
_LARGEST_RECORD = (1 << 14) + 256


def capture(out: Path) -> None:
    """Write frames to ``out``."""
    with out.open("wb", buffering=0) as file, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as listener:
        listener.bind(("br0", _ALL_PROTOCOLS))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        print("listening", flush=True)
        while True:
            frame = listener.recv(1 << 17)
            file.write(struct.pack(">I", len(frame)) + frame)


def frames(path: Path) -> Iterator[bytes]:
    """The frames of a capture, without one that was cut off at its end."""
    data, place = path.read_bytes(), 0
    while place + 4 <= len(data):
        size = struct.unpack_from(">I", data, place)[0]
        yield data[place + 4 : place + 4 + size]
        place += 4 + size


def streams(path: Path) -> dict[tuple[bytes, bytes], bytes]:
    """The bytes of each direction of each TCP connection, by both ends, in the order of their sequence numbers.

    Up to the first byte that the capture lacks, if it lacks any.
    """
    pieces: dict[tuple[bytes, bytes], dict[int, bytes]] = defaultdict(dict)
    for frame in frames(path):
        if struct.unpack_from(">H", frame, 12)[0] != _IPV4 or frame[23] != _TCP:
            continue
        packet = frame[14 : 14 + struct.unpack_from(">H", frame, 16)[0]]
        segment = packet[(packet[0] & 15) * 4 :]
        payload = segment[(segment[12] >> 4) * 4 :]
        if payload:
            ends = (packet[12:16] + segment[:2], packet[16:20] + segment[2:4])
            number = struct.unpack_from(">I", segment, 4)[0]
            if len(payload) > len(pieces[ends].get(number, b"")):
                pieces[ends][number] = payload
    return {ends: _joined(found) for ends, found in pieces.items()}


def is_tls(stream: bytes) -> bool:
    """Whether a stream is TLS records from its first byte, to its end or to where the capture ends within one."""
    place = 0
    while place + 5 <= len(stream):
        kind, major, minor, size = struct.unpack_from(">BBBH", stream, place)
        if kind not in (20, 21, 22, 23) or (major, minor) not in ((3, 1), (3, 3)) or size > _LARGEST_RECORD:
            return False
        place += 5 + size
    return stream[:1] == b"\x16"


def _joined(pieces: dict[int, bytes]) -> bytes:
    # A connection of these tests is far shorter than the numbers' range; the first is the smallest, modulo it.
    first = min(pieces) if max(pieces) - min(pieces) < 1 << 31 else min(n for n in pieces if n >= 1 << 31)
    ordered = sorted((((number - first) % (1 << 32)), payload) for number, payload in pieces.items())
    whole = bytearray()
    for place, payload in ordered:
        if place > len(whole):
            break
        whole += payload[len(whole) - place :]
    return bytes(whole)


if __name__ == "__main__":
    capture(Path(sys.argv[1]))
