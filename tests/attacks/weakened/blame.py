"""Builds of a coordinator that passes on what a hospital sends, however it is addressed and written."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

from secagg.errors import RemoteProtocolError
from secagg.masking.dealt import Dealt
from secagg.masking.group import GroupCipher
from secagg.masking.server_gate import Gate
from secagg.masking.server_round import ServerRound
from secagg.wire import envelope
from training.testbed.build import Build, Control

from .sums import both


def with_any_address():
    return patch.object(Gate, "_require_addressed", lambda *arguments: None)


def with_any_answer():
    return patch.object(ServerRound, "_require_survivor", lambda *arguments: None)


def with_any_encoding():
    stack = ExitStack()
    for module in ("server_set_up", "server_round"):
        place = f"secagg.masking.{module}.decode_exactly"
        stack.enter_context(patch(place, lambda data, schema, sender: envelope.decode(data, schema)))
    return stack


def without_sizes_of_stages():
    """Every message may be as large as the largest that is in turn."""
    return patch("secagg.masking.server_gate.check_size", lambda *arguments: None)


def with_any_encoding_of_any_size():
    return both(with_any_encoding(), without_sizes_of_stages())


def with_deals_on_any_roster():
    return patch.object(Dealt, "_require_roster", lambda *arguments: None)


def with_every_reveal():
    """Hospitals that take the shares of all who answered, or no sum."""
    original = GroupCipher._open_reveals

    def open_reveals(group, reveals, survivors, round_number):
        opened = original(group, reveals, survivors, round_number)
        if len(opened) < len(reveals):
            raise RemoteProtocolError("unreadable-shares", "Some cannot be unsealed.")
        return opened

    return patch.object(GroupCipher, "_open_reveals", open_reveals)


_ADDRESSES = Control(Build(in_force=with_any_address), "the look at whom a message is addressed to")

CONTROLS = {
    "models-for-members": _ADDRESSES,
    "agreement-for-a-member": _ADDRESSES,
    "agreement-of-no-survivor": Control(
        Build(in_force=with_any_answer), "the look at whether who answers for a sum is in it"
    ),
    "encrypted-vector-for-a-member": _ADDRESSES,
    "deals-on-another-roster": Control(
        Build(in_force=with_deals_on_any_roster), "the coordinator's look at the roster that was dealt on"
    ),
    "reveals-that-do-not-open": Control(Build(in_force=with_every_reveal), "doing without shares that do not unseal"),
    "agreement-at-length": Control(Build(in_force=with_any_encoding), "the one way in which a payload may be written"),
    "advertisement-at-length": Control(
        Build(in_force=with_any_encoding_of_any_size), "the one way of writing, and the bound of each stage"
    ),
}
