"""Builds of a coordinator that passes on what a hospital sends, however it is addressed and written."""

from __future__ import annotations

from unittest.mock import patch

from secagg.masking import MaskingServer
from secagg.wire import envelope
from training.attacks.build import Build, Control

from .sums import both


class TakesAnyAddress(MaskingServer):
    """Does not look at whom a message is addressed to."""

    def _require_addressed(self, header, name):
        pass


def with_any_encoding():
    return patch("secagg.masking.server.decode_exactly", lambda data, schema, sender: envelope.decode(data, schema))


def without_sizes_of_stages():
    """Every message may be as large as the largest that is in turn."""
    original = envelope.check_size
    return patch(
        "secagg.masking.server.check_size",
        lambda message, limit, sender=None: original(message, limit) if sender is None else None,
    )


def with_any_encoding_of_any_size():
    return both(with_any_encoding(), without_sizes_of_stages())


_ADDRESSES = Control(Build(server=TakesAnyAddress), "the look at whom a message is addressed to")

CONTROLS = {
    "models-for-members": _ADDRESSES,
    "agreement-for-a-member": _ADDRESSES,
    "encrypted-vector-for-a-member": _ADDRESSES,
    "agreement-at-length": Control(Build(in_force=with_any_encoding), "the one way in which a payload may be written"),
    "advertisement-at-length": Control(
        Build(in_force=with_any_encoding_of_any_size), "the one way of writing, and the bound of each stage"
    ),
}
