"""Builds that read what they are sent before they look at it."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from unittest.mock import patch

import msgspec

from secagg.errors import RemoteProtocolError
from secagg.wire import COORDINATOR, Envelope, envelope
from secagg.wire.envelope import _OPENED, Header, _Frame
from training.testbed.build import Build, Control

from .set_up import SIGNATURES


def without_bounds():
    stack = ExitStack()
    for module in ("wire.envelope", "masking.server", "masking.server_gate"):
        stack.enter_context(patch(f"secagg.{module}.check_size", lambda *arguments: None))
    return stack


def with_raw_errors():
    """A parser whose errors are nobody's."""
    return patch("secagg.wire.envelope.decode", lambda data, schema: msgspec.msgpack.decode(data, type=schema))


def with_pickle():
    original = envelope.decode

    def decode(data, schema):
        if bytes(data[:1]) == b"c":
            pickle.loads(data)
        return original(data, schema)

    return patch("secagg.wire.envelope.decode", decode)


def opened_without_checks(message, charter, payload_limit):
    frame = envelope.decode(message, _Frame)
    header = envelope.decode(frame.header, Header)
    return Envelope(header, frame.payload, frame.signature, _by_opener=_OPENED)


def without_payload_digests():
    """They are the last that is looked at: whatever was altered but a payload is refused before."""

    def opened(message, charter, payload_limit):
        try:
            return envelope.open_envelope(message, charter, payload_limit)
        except RemoteProtocolError as error:
            if error.reason != "payload-altered":
                raise
            return opened_without_checks(message, charter, payload_limit)

    return patch("secagg.masking.server_gate.open_envelope", opened)


def with_signatures_of_anybody():
    """Where the coordinator has no key, a signature is not looked at."""
    original = envelope._check_sender

    def check(header, frame, charter):
        unsigned = msgspec.structs.replace(frame, signature=b"")
        original(header, unsigned if header.sender == COORDINATOR else frame, charter)

    return patch("secagg.wire.envelope._check_sender", check)


def without_envelope_checks():
    return patch("secagg.masking.client.open_envelope", opened_without_checks)


CONTROLS = {
    "oversized-bytes": Control(Build(in_force=without_bounds), "bounds before anything is read"),
    "malformed-bytes": Control(Build(in_force=with_raw_errors), "errors of the parser turned into refusals"),
    "pickled-bytes": Control(Build(in_force=with_pickle), "a parser that runs no code"),
    "altered-bytes": SIGNATURES,
    "another-payload": Control(Build(in_force=without_payload_digests), "the comparison of payload and digest"),
    "borrowed-signature": Control(Build(in_force=with_signatures_of_anybody), "messages of the coordinator unsigned"),
    "hostile-headers": Control(Build(in_force=without_envelope_checks), "the checks of envelopes"),
}
