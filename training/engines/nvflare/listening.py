"""Whether anybody listens at an address: found out from afar by connections that are closed as soon as they are made.

Knows addresses and sockets. Knows nothing of what is said over a connection.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from errno import EADDRINUSE, EHOSTUNREACH
from typing import Final

from secagg.errors import InputError

_BETWEEN_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 3.0
# A server that was killed a moment ago may have a process that has not heard of it.
_ENDING_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.25
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


def require_free(host: str, port: int, going: Callable[[], None]) -> None:
    """Make sure that nobody listens on a port of this machine yet.

    To be asked before a server is started, which takes seconds to find out by itself: see `server_rules`.

    Args:
        host: which resolves to an address of this machine; where it does not, the server is left to say so.
        going: asked again and again; what it raises ends the wait for a server that is about to end.

    Raises:
        InputError: ``port-in-use``.
    """
    until = time.monotonic() + _ENDING_SECONDS
    while is_taken(host, port):
        going()
        if time.monotonic() > until:
            raise port_in_use(host, port)
        time.sleep(_POLL_SECONDS)


def port_in_use(host: str, port: int) -> InputError:
    """The error of a server whose port another process has."""
    return InputError(
        "port-in-use",
        f"Another process listens on port {port} of {host}; it may be the coordinator of another charter.",
        culprit=f"{host}:{port}",
        remedy="Stop it first. If both have to run, this one needs kits that were made for another port.",
    )


def is_taken(host: str, port: int) -> bool:
    """Whether another process has a port of one of this machine's addresses that a name stands for."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_is_bound(family, address) for family, _, _, _, address in found)


def _is_bound(family: int, address: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family) as prober:
            # As a server does: connections of an earlier one that are not quite over are no reason not to start.
            prober.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            prober.bind(address)
    except OSError as error:
        return error.errno == EADDRINUSE
    return False
