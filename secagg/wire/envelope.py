"""The envelope around every message: who, to whom, under which charter, in which epoch, round and stage.

Knows framing, bounds and signatures. Knows nothing of what a payload means. The coordinator holds no key, so its
envelopes carry no signature; nothing a hospital does rests on who the coordinator is.

A signature covers the header, and the header the payload's SHA-256: who keeps headers and signatures can prove later
what was sent without keeping the vectors.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from secagg.charter import VerifiedCharter
from secagg.charter.sections import MOST_MEMBERS
from secagg.errors import RemoteProtocolError
from secagg.identity import SIGNATURE_SIZE, Identity, is_valid_signature
from secagg.json_documents import MALFORMED
from secagg.labels import DIGEST_SIZE, Digest, label
from secagg.wire.stage import Stage

WIRE_VERSION: Final = 1
COORDINATOR: Final = 0
_UINT32 = msgspec.Meta(ge=0, le=(1 << 32) - 1)
_HEADER_LIMIT: Final = 256
_OVERHEAD: Final = _HEADER_LIMIT + SIGNATURE_SIZE + 16

# A member's number, or 0 for the coordinator.
Party = Annotated[int, msgspec.Meta(ge=0, le=MOST_MEMBERS)]
Counter = Annotated[int, _UINT32]
Outbox = list[tuple[int, bytes]]
"""(recipient's member number, message)."""
Schema = TypeVar("Schema", bound=msgspec.Struct)


class Header(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is signed. ``sender`` and ``recipient`` are member numbers, 0 is the coordinator.

    ``sequence`` counts a sender's messages of one epoch from 0; ``epoch`` and ``round`` are 0 where there is none.
    """

    version: Literal[1]
    charter: Digest
    sender: Party
    recipient: Party
    epoch: Counter
    round: Counter
    stage: Stage
    sequence: Counter
    payload_digest: Digest


class _Frame(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    # Views: reading a frame copies nothing, whatever its size.
    header: memoryview
    signature: bytes
    payload: memoryview


class Envelope:
    """An envelope whose signature, charter and payload hash have been checked. Made by `open_envelope` only."""

    def __init__(self, header: Header, payload: memoryview, signature: bytes, *, _by_opener: object) -> None:
        if _by_opener is not _OPENED:
            raise TypeError("an Envelope is made by open_envelope")
        self.header = header
        self.payload = payload
        self.signature = signature


_OPENED = object()


class Sealer:
    """Makes one party's envelopes, counting them.

    Args:
        charter: the charter that every message is bound to.
        sender: the member number, or `COORDINATOR`.
        identity: the member's key; None for the coordinator, whose envelopes are unsigned.
    """

    def __init__(self, charter: VerifiedCharter, sender: int, identity: Identity | None, epoch: int) -> None:
        self._charter = charter
        self._sender = sender
        self._identity = identity
        self._epoch = epoch
        self._sequence = 0

    def seal(self, stage: Stage, payload: msgspec.Struct, *, recipient: int = COORDINATOR, round: int = 0) -> bytes:  # noqa: A002
        """The message as bytes; encodes and signs."""
        body = msgspec.msgpack.encode(payload)
        header = self._header(stage, recipient, round, hashlib.sha256(body).digest())
        self._sequence += 1
        return msgspec.msgpack.encode(_Frame(memoryview(header), self._sign(header), memoryview(body)))

    def seal_in_place(
        self,
        stage: Stage,
        size: int,
        write: Callable[[memoryview], None],
        *,
        round: int = 0,  # noqa: A002
    ) -> bytes:
        """As `seal`, for a payload of ``size`` bytes that ``write`` writes where it stands in the message: no copy."""
        unsigned = bytes(SIGNATURE_SIZE) if self._identity else b""
        blank = _front(self._header(stage, COORDINATOR, round, bytes(DIGEST_SIZE)), unsigned, size)
        message = io.BytesIO()
        message.seek(len(blank) + size - 1)
        message.write(b"\0")
        with message.getbuffer() as whole, whole[len(blank) :] as payload:
            write(payload)
            header = self._header(stage, COORDINATOR, round, hashlib.sha256(payload).digest())
            whole[: len(blank)] = _front(header, self._sign(header), size)
        self._sequence += 1
        # The buffer itself: nothing was written since that would have made a copy of it.
        return message.getvalue()

    def _header(self, stage: Stage, recipient: int, round_number: int, payload_digest: bytes) -> bytes:
        return msgspec.msgpack.encode(
            Header(
                WIRE_VERSION,
                self._charter.digest,
                self._sender,
                recipient,
                self._epoch,
                round_number,
                stage,
                self._sequence,
                payload_digest,
            )
        )

    def _sign(self, header: bytes) -> bytes:
        return self._identity.sign(_signed_bytes(header)) if self._identity else b""


def _front(header: bytes | memoryview, signature: bytes, size: int) -> bytes:
    """All of a message before a payload of ``size`` bytes."""
    whole = msgspec.msgpack.encode(_Frame(memoryview(header), signature, memoryview(b"")))
    return whole[: -len(bin_head(0))] + bin_head(size)


def bin_head(size: int) -> bytes:
    """What MessagePack puts before a byte string of ``size`` bytes."""
    for code, width in ((0xC4, 1), (0xC5, 2)):
        if size < 1 << 8 * width:
            return bytes([code]) + size.to_bytes(width, "big")
    return b"\xc6" + size.to_bytes(4, "big")


def sealed_size(
    stage: Stage,
    payload: msgspec.Struct,
    *,
    sender: int = COORDINATOR,
    recipient: int = COORDINATOR,
    round: int = 0,  # noqa: A002
) -> int:
    """How many bytes a sealed message would have, in the first epoch."""
    body, digest = msgspec.msgpack.encode(payload), bytes(DIGEST_SIZE)
    header = msgspec.msgpack.encode(Header(WIRE_VERSION, digest, sender, recipient, 1, round, stage, 0, digest))
    signature = b"" if sender == COORDINATOR else bytes(SIGNATURE_SIZE)
    return len(msgspec.msgpack.encode(_Frame(memoryview(header), signature, memoryview(body))))


def open_envelope(message: bytes | memoryview, charter: VerifiedCharter, payload_limit: int) -> Envelope:
    """Check a message's size, form, charter, sender's signature and payload hash, in that order.

    Args:
        payload_limit: the largest payload, in bytes, that any stage allows now.

    Raises:
        RemoteProtocolError: ``oversized``, ``malformed``, ``other-charter``, ``unknown-sender``, ``bad-signature``,
            ``payload-altered``.
    """
    check_size(message, payload_limit)
    frame = decode(message, _Frame)
    if len(frame.header) > _HEADER_LIMIT:
        raise RemoteProtocolError("oversized", "A message's header is longer than any valid one.")
    header = decode(frame.header, Header)
    if msgspec.msgpack.encode(header) != frame.header:
        raise RemoteProtocolError("malformed", "A message's header is not written in the one way there is.")
    # What is around it is not signed: whoever wrote that anew would have a message that its sender's log lacks.
    front = _front(frame.header, frame.signature, len(frame.payload))
    if memoryview(message)[: len(front)] != front:
        raise RemoteProtocolError("malformed", "A message's envelope is not written in the one way there is.")
    if header.charter != charter.digest:
        raise RemoteProtocolError("other-charter", "A message is bound to another charter.")
    _check_sender(header, frame, charter)
    if hashlib.sha256(frame.payload).digest() != header.payload_digest:
        raise RemoteProtocolError(
            "payload-altered", "A message's payload is not the one that was signed.", culprit=name_of(header, charter)
        )
    return Envelope(header, frame.payload, frame.signature, _by_opener=_OPENED)


def is_signed(header: Header, signature: bytes, charter: VerifiedCharter) -> bool:
    """Whether ``signature`` is that of the member whom the header names as its sender, over this header."""
    key = charter.charter.member(header.sender).public_key
    return is_valid_signature(key, signature, _signed_bytes(msgspec.msgpack.encode(header)))


def is_signed_for_coordinator(
    charter: VerifiedCharter,
    sender: int,
    epoch: int,
    round_number: int,
    stage: Stage,
    sequence: int,
    payload_digest: bytes,
    signature: bytes,
) -> bool:
    """Whether member ``sender`` has signed the message to the coordinator of which these are the header's fields."""
    header = Header(
        WIRE_VERSION, charter.digest, sender, COORDINATOR, epoch, round_number, stage, sequence, payload_digest
    )
    return is_signed(header, signature, charter)


def is_too_large(message: bytes | memoryview, payload_limit: int) -> bool:
    """Whether a message is larger than any whose payload has at most ``payload_limit`` bytes."""
    return len(message) > payload_limit + _OVERHEAD


def check_size(message: bytes | memoryview, payload_limit: int, sender: str | None = None) -> None:
    """Refuse a message that is larger than any allowed one.

    Args:
        sender: who is named for it, where its signature has been checked.

    Raises:
        RemoteProtocolError: ``oversized``.
    """
    if is_too_large(message, payload_limit):
        raise RemoteProtocolError(
            "oversized",
            f"A message of {len(message)} bytes came where {payload_limit + _OVERHEAD} are the most.",
            culprit=sender,
        )


def peek(message: bytes | memoryview) -> Header:
    """The header that a message claims to have, unverified: to choose who opens it, or whether it need be opened.

    Raises:
        RemoteProtocolError: ``malformed``.
    """
    return decode(decode(message, _Frame).header, Header)


def decode(data: bytes | memoryview, schema: type[Schema]) -> Schema:
    """Parse untrusted MessagePack by a schema.

    Raises:
        RemoteProtocolError: ``malformed``.
    """
    try:
        return msgspec.msgpack.decode(data, type=schema)
    except MALFORMED as error:
        raise RemoteProtocolError("malformed", f"A message cannot be read as {schema.__name__}: {error}.") from error


def decode_exactly(data: bytes | memoryview, schema: type[Schema], sender: str) -> Schema:
    """As `decode`, but refuses what is not encoded as we would: others compute its size, or encode it again.

    Raises:
        RemoteProtocolError: ``malformed``, naming the sender if it can be read.
    """
    decoded = decode(data, schema)
    if msgspec.msgpack.encode(decoded) != data:
        raise RemoteProtocolError(
            "malformed", f"{sender} wrote its {schema.__name__} in another way than the one there is.", culprit=sender
        )
    return decoded


def name_of(header: Header, charter: VerifiedCharter) -> str:
    """The sender's name, for errors."""
    return "the coordinator" if header.sender == COORDINATOR else charter.charter.member(header.sender).name


def _check_sender(header: Header, frame: _Frame, charter: VerifiedCharter) -> None:
    members = charter.charter.members
    if max(header.sender, header.recipient) > len(members):
        raise RemoteProtocolError("unknown-sender", f"A message names member {max(header.sender, header.recipient)}.")
    if header.stage.sent_by_coordinator != (header.sender == COORDINATOR):
        raise RemoteProtocolError(
            "wrong-sender",
            f"{name_of(header, charter)} sent a {header.stage.name} message.",
            culprit=name_of(header, charter),
        )
    if header.sender == COORDINATOR:
        if frame.signature:
            raise RemoteProtocolError("malformed", "The coordinator has no key, but its message carries a signature.")
        return
    if not is_signed(header, frame.signature, charter):
        raise RemoteProtocolError(
            "bad-signature",
            f"A {header.stage.name} message in the name of {name_of(header, charter)} does not carry its signature.",
            culprit=name_of(header, charter),
        )


def _signed_bytes(header: bytes) -> bytes:
    return label("envelope", header)
