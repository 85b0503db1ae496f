"""Ports of this machine for what listens in tests."""

from __future__ import annotations

import os
import random
import socket

# Below those that Linux gives to outgoing connections: else one of them could be there first, between here and the
# moment when whoever is given the port listens on it, seconds later.
_FIRST, _LAST = 20_000, 32_767
# Workers of pytest-xdist, each with ports of its own.
_BLOCKS = 12
_SIZE = (_LAST + 1 - _FIRST) // _BLOCKS


def free_port() -> int:
    """A port that nobody listens on and that no other worker is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % _BLOCKS * _SIZE
    # Anywhere in the block, so that processes of one worker hardly ever choose the same.
    for port in random.sample(range(first, first + _SIZE), _SIZE):
        if _is_free(port):
            return port
    raise OSError(f"no port from {first} to {first + _SIZE - 1} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
