"""Bytes that are few until somebody inflates them, and what a process holds while it is given them.

Knows Zstandard's frames (RFC 8878, section 3.1.1) and SEAL's header. Knows no protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from secagg.homomorphic.seal import header

# Its magic number; no checksum, no content size; a window as large as a block may be.
_FRAME_START: Final = bytes.fromhex("28b52ffd 00 38")
_BLOCK: Final = 1 << 17
_RLE: Final = 1
_ZSTANDARD: Final = 2
_MODE_AT: Final = 5

_STATUS: Final = Path("/proc/self/status")
_FORGET: Final = Path("/proc/self/clear_refs")


def inflating_frame(size: int) -> bytes:
    """A frame of Zstandard that inflates to ``size`` zeros, a multiple of 2^17: four bytes for each 2^17."""
    block, last = ((_BLOCK << 3 | _RLE << 1 | end).to_bytes(3, "little") + b"\0" for end in (0, 1))
    return _FRAME_START + block * (size // _BLOCK - 1) + last


def saved_compressed(frame: bytes) -> bytes:
    """The same as SEAL would have saved an object: behind a header that calls it compressed by Zstandard."""
    start = header(len(frame))
    return start[:_MODE_AT] + bytes([_ZSTANDARD]) + start[_MODE_AT + 1 :] + frame


def memory_for(action: Callable[[], object]) -> int:
    """How many bytes more this process held at once during ``action`` than before; Linux alone tells (proc(5))."""
    _FORGET.write_text("5", encoding="ascii")
    before = _peak()
    action()
    return _peak() - before


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    return int(found[1]) << 10 if found else 0
