"""Hospitals without the differencing guard, or without asking others for their word."""

from __future__ import annotations

from unittest.mock import patch

from training.attacks.build import Build, Control

from .cohorts import WithoutGuard


def with_unguarded_clients():
    return patch("training.hospital.MaskingClient", WithoutGuard)


def without_endorsement():
    return patch("training.catching_up.require_endorsed", lambda *arguments: None)


def with_every_way_back():
    return patch("training.catching_up.CatchingUp._require_unbound", lambda *arguments: None)


_ENDORSEMENT = Control(Build(in_force=without_endorsement), "the word of more than may collude")

CONTROLS = {
    "multi-round-intersection": Control(Build(in_force=with_unguarded_clients), "the differencing guard"),
    "led-back-by-a-snapshot": Control(
        Build(in_force=with_every_way_back), "staying in a state in which shares were given for a sum"
    ),
    "invented-missed-sum": _ENDORSEMENT,
    "hostile-fields-around-the-rounds": _ENDORSEMENT,
}
