"""Hospitals without the differencing guard, or without asking others for their word."""

from __future__ import annotations

from unittest.mock import patch

from training.testbed.build import Build, Control

from .cohorts import WithAnOccasionForEachState, WithoutGuard


def with_unguarded_clients():
    return patch("training.hospital.MaskingClient", WithoutGuard)


def without_endorsement():
    return patch("training.catching_up.require_endorsed", lambda *arguments: None)


def with_an_occasion_for_each_state():
    return patch("training.hospital.MaskingClient", WithAnOccasionForEachState)


_ENDORSEMENT = Control(Build(in_force=without_endorsement), "the word of more than may collude")
_EACH_STATE = Control(Build(in_force=with_an_occasion_for_each_state), "one cohort for each step, whatever the state")
_EACH_STATE_AND_BACK = Control(
    Build(in_force=with_an_occasion_for_each_state),
    "one cohort for each step, whatever the state, and going back by no sum once shares were given for the next",
)

CONTROLS = {
    "multi-round-intersection": Control(Build(in_force=with_unguarded_clients), "the differencing guard"),
    "led-back-by-a-snapshot": _EACH_STATE_AND_BACK,
    "led-back-around-the-shares": _EACH_STATE_AND_BACK,
    "led-back-with-the-sum": _EACH_STATE,
    "led-back-before-the-shares": _EACH_STATE,
    "invented-missed-sum": _ENDORSEMENT,
    "hostile-fields-around-the-rounds": _ENDORSEMENT,
}
