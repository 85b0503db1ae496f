"""Builds whose masks are not bound to the model, and whose rounds may begin again."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

from secagg.latch import Latch
from secagg.masking import MaskingClient, kdf
from training.testbed.build import Build, Control

_ANY_MODEL = bytes(32)


def without_models_in_masks():
    """Mask keys that are the same whatever model the update starts from."""
    pairwise, own = kdf.pairwise_mask_key, kdf.self_mask_key
    stack = ExitStack()
    stack.enter_context(
        patch(
            "secagg.masking.kdf.pairwise_mask_key",
            lambda shared, session, number, model, pair: pairwise(shared, session, number, _ANY_MODEL, pair),
        )
    )
    stack.enter_context(
        patch(
            "secagg.masking.kdf.self_mask_key",
            lambda seed, session, number, model, owner: own(seed, session, number, _ANY_MODEL, owner),
        )
    )
    return stack


class BeginsAgain(MaskingClient):
    """Begins a round that it has been in."""

    def _begin(self, round_number, payload):
        self.round = 0
        super()._begin(round_number, payload)


class MasksAgain(Latch):
    """A latch that lets a round be masked again."""

    def record_masked(self, *arguments):
        pass


CONTROLS = {
    "model-inconsistency": Control(Build(in_force=without_models_in_masks), "masks bound to the model"),
    "round-rerun-with-another-model": Control(
        Build(client=BeginsAgain, latch=MasksAgain, in_force=without_models_in_masks),
        "rounds that only go up, and masks bound to the model",
    ),
}
