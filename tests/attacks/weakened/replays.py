"""Builds that do not know their own past, or which charter a message is of."""

from __future__ import annotations

from unittest.mock import patch

from secagg.charter import Charter
from secagg.latch import Latch
from training.testbed.build import Build, Control


class WithoutEpochs(Latch):
    """A latch that takes every epoch for a new one."""

    def last_epoch(self, charter):
        return 0

    def last_round(self, charter):
        return 0

    def sightings(self, charter):
        return {}


def without_charter_hashes():
    """Charters that all have the same hash."""
    return patch.object(Charter, "digest", lambda charter: bytes(32))


CONTROLS = {
    "replay-of-everything": Control(Build(latch=WithoutEpochs), "the latch"),
    "replay-under-another-charter": Control(Build(in_force=without_charter_hashes), "the charter's hash in messages"),
}
