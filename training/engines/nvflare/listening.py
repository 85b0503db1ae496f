"""Whether anybody listens at an address, found out by connections that are closed as soon as they are made.

Knows addresses and sockets. Knows nothing of what is said over a connection.
"""

from __future__ import annotations

import os
import socket
import time
from errno import EHOSTUNREACH
from typing import Final

_BETWEEN_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 3.0
# Where one of these is set, gRPC goes through the proxy that it names; a connection made here would not.
_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")


class Listener:
    """Whoever listens at an address, tried now and then."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._due = 0.0
        self._is_there = True

    def is_there(self) -> bool:
        """Whether a connection could be made when that was last tried, at most half a minute ago.

        Taken to be so where the way there is through a proxy, and where what fails is here: no name is resolved, say.
        """
        if any(os.environ.get(name) for name in _PROXIES):
            return True
        if time.monotonic() >= self._due:
            self._is_there = self._connects()
            self._due = time.monotonic() + _BETWEEN_SECONDS
        return self._is_there

    def _connects(self) -> bool:
        try:
            socket.create_connection(self._address, _CONNECT_SECONDS).close()
        except (ConnectionRefusedError, TimeoutError):
            return False
        except OSError as error:
            return error.errno != EHOSTUNREACH
        return True
