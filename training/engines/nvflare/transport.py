"""How messages travel in NVFlare's cells: several to one recipient as one streamed blob, their sizes in its headers.

Knows bytes, NVFlare's message type, and the ways in which a delivery fails. Nothing here is trusted: what matters is
signed inside the messages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from nvflare.fuel.f3.cellnet.defs import Encoding, MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.utils import make_reply, new_cell_message
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey

from secagg.errors import RemoteProtocolError

CHANNEL: Final = "secagg"
DELIVER: Final = "deliver"
READY: Final = "ready"
PULSE: Final = "pulse"
BUSY: Final = b"busy"
"""What a site that is at work answers to a pulse; one that is idle answers nothing."""
_SIZES: Final = "secagg-sizes"
_FAILED: Final = "secagg-failed"
# NVFlare's headers hold 64 KiB at most; with more than that a message does not leave.
_MOST_MESSAGES: Final = 10_000
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def pack(messages: Sequence[bytes]) -> Message:
    """One blob of several messages; NVFlare streams it in chunks, without joining them first."""
    return new_cell_message(_headers(messages), list(messages))


def pack_reply(messages: Sequence[bytes]) -> Message:
    """The same, as the answer to a request."""
    return _reply(_headers(messages), list(messages))


def pack_failure(reason: str) -> Message:
    """An answer without messages: this site takes no part, for a reason that its own log explains."""
    return _reply({_FAILED: reason}, [])


def unpack(message: Message) -> list[bytes]:
    """The messages of a blob.

    Raises:
        RemoteProtocolError: ``not-delivered`` with NVFlare's return code, ``site-failed`` with the site's own reason
            code, ``malformed-delivery``.
    """
    code = message.get_header(MessageHeaderKey.RETURN_CODE, ReturnCode.OK)
    if code != ReturnCode.OK:
        raise RemoteProtocolError("not-delivered", f"NVFlare could not deliver: {_shown(code)}.")
    require_going(message)
    sizes = message.get_header(_SIZES)
    blob = _as_view(message.payload)
    if not _are_sizes(sizes) or sum(sizes) != len(blob):
        raise RemoteProtocolError("malformed-delivery", "A delivery's sizes are not those of its messages.")
    messages, place = [], 0
    for size in sizes:
        messages.append(bytes(blob[place : place + size]))
        place += size
    return messages


def require_going(message: Message) -> None:
    """Refuse an answer that says that the site takes no part.

    Raises:
        RemoteProtocolError: ``site-failed``.
    """
    reason = message.get_header(_FAILED)
    if reason is not None:
        raise RemoteProtocolError("site-failed", f"The site cannot take part: {_shown(reason)}.")


def _shown(code: object) -> str:
    """A code that a site sent, fit for a log and a terminal."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "for no reason that could be shown"


def _headers(messages: Sequence[bytes]) -> dict[str, object]:
    # Named as bytes already: a list would otherwise be serialised as an object, which copies it.
    return {_SIZES: [len(message) for message in messages], StreamHeaderKey.PAYLOAD_ENCODING: Encoding.BYTES}


def _reply(headers: dict[str, object], payload: list[bytes]) -> Message:
    reply = make_reply(ReturnCode.OK, body=payload or b"")
    reply.add_headers(headers)
    return reply


def _are_sizes(sizes: object) -> bool:
    return (
        isinstance(sizes, list)
        and len(sizes) <= _MOST_MESSAGES
        and all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes)
    )


def _as_view(payload: object) -> memoryview:
    if payload is None:
        return memoryview(b"")
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return memoryview(payload)
    raise RemoteProtocolError("malformed-delivery", "A delivery is not a blob of bytes.")
