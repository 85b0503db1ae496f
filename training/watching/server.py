"""The page of a running training, for this machine's user alone.

Knows HTTP on the loopback interface. A page of somebody else's in the same browser cannot read it: the address holds a
random token, the Host must be this server's own (DNS rebinding), and the page may load nothing from elsewhere.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Final

import msgspec

from secagg.errors import SecaggError
from training.watching.watched import WatchedTraining

LOOPBACK: Final = "127.0.0.1"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_PARTS: Final = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_STATE: Final = "state.json"
_JSON: Final = "application/json"


class WatchServer(ThreadingHTTPServer):
    """Serves one folder's page.

    Args:
        port: 0 for a free one.
        look: gives what is to be shown now.

    Raises:
        OSError: if the port is taken.
    """

    daemon_threads = True

    def __init__(self, look: Callable[[], WatchedTraining], port: int = 0) -> None:
        super().__init__((LOOPBACK, port), WatchHandler)
        self.look = look
        self.token = secrets.token_urlsafe(32)
        self.hosts = {f"{LOOPBACK}:{self.server_port}", f"localhost:{self.server_port}"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has hung up: its page was closed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Where the page is. Who has it sees the page."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"


class WatchHandler(BaseHTTPRequestHandler):
    """Answers one request; of a foreign one it says nothing but no."""

    server: WatchServer
    server_version = "secagg"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        """The page, its parts, or the state as JSON."""
        if not self.is_from_here():
            self._answer(403, "text/plain", b"This page is for this machine only.\n")
            return
        token, _, part = self.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()) or part not in {*_PARTS, _STATE}:
            self._answer(404, "text/plain", b"There is nothing here.\n")
        elif part == _STATE:
            self._state()
        else:
            name, kind = _PARTS[part]
            self._answer(200, kind, files("training.watching").joinpath(name).read_bytes())

    def is_from_here(self) -> bool:
        """Whether a browser was told this server's own name, by this page or by its user."""
        own_host = self.headers.get_all("Host", []) in [[host] for host in self.server.hosts]
        return own_host and self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")

    def log_message(self, *_: object) -> None:
        """Nothing: the token is in every line."""

    def _state(self) -> None:
        try:
            self._answer(200, _JSON, msgspec.json.encode(self.server.look()))
        except SecaggError as error:
            self._answer(503, _JSON, msgspec.json.encode({"error": error.diagnostics()}))

    def _answer(self, code: int, kind: str, content: bytes) -> None:
        self.send_response(code)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
