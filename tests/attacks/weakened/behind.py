"""A coordinator that asks no donor again that has handed nothing over, whoever is to blame for it."""

from __future__ import annotations

from unittest.mock import patch

from secagg.wire import Stage
from secagg.wire.envelope import peek
from training.engines.base import Exchange
from training.snapshot_relay import SnapshotRelay
from training.testbed.build import Build, Control

_ask = SnapshotRelay._ask_for_snapshot


def _taking_refusals_for_silence(relay, donor, status):
    asked = _ask(relay, donor, status)
    handed_over = any(peek(message).stage is Stage.SNAPSHOT for _, message in asked.inbox)
    return asked if handed_over else Exchange((), frozenset({donor}))


def with_donors_struck_off():
    return patch.object(SnapshotRelay, "_ask_for_snapshot", _taking_refusals_for_silence)


CONTROLS = {
    "donors-struck-off": Control(Build(in_force=with_donors_struck_off), "asking who refused one hospital for others"),
}
