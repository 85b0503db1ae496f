"""Builds that take a sum for what it is said to be, or a tag for more than one use."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import msgspec

from secagg.latch import Latch
from secagg.masking import MaskingClient, Survivors, kdf, tags
from secagg.masking.asked import Asked
from secagg.masking.session import Settled
from secagg.masking.verification import ForgedSumError, VerifiedSum
from training.testbed.build import Build, Control


def taken_for_verified(total):
    taken = VerifiedSum.__new__(VerifiedSum)
    taken.total = total
    return taken


def without_check():
    return patch("secagg.masking.client.verify_sum", lambda total, *_: taken_for_verified(total))


def without_inputs_in_answers():
    """Answers that say who is in the sum, and not what it follows from."""
    original = Asked.check

    def check(asked, reveal, responder):
        original(asked, msgspec.structs.replace(reveal, inputs_digest=asked.inputs), responder)

    return patch.object(Asked, "check", check)


def without_offsets():
    """A linear code alone."""
    return patch.object(tags, "offset", lambda *_: 0)


def without_rounds_in_tags():
    """Tag keys that are the same in every round."""
    original = kdf.round_tag_key
    return patch(
        "secagg.masking.kdf.round_tag_key", lambda key, session, number, model: original(key, session, 0, model)
    )


def without_models_in_tags():
    """Tag keys that are the same for every model."""
    original = kdf.round_tag_key
    return patch(
        "secagg.masking.kdf.round_tag_key",
        lambda key, session, number, model: original(key, session, number, bytes(32)),
    )


def both(one, other):
    """A build that lacks two defences, one behind the other."""
    stack = ExitStack()
    stack.enter_context(one)
    stack.enter_context(other)
    return stack


class TakesAnySum(MaskingClient):
    """Does not compare a sum with what it answered for."""

    def _expected(self, round_number, payload):
        return Settled(round_number, payload.step, Survivors(tuple(payload.survivors)), payload.model_digest)


class GoesOn(MaskingClient):
    """Forgets a forged sum."""

    def receive(self, message):
        state = self.state
        try:
            return super().receive(message)
        except ForgedSumError:
            self.state = state
            raise


class ForgetsToStop(Latch):
    """A latch that does not keep that its hospital was given a forged sum."""

    def record_stopped(self, charter):
        pass


_UNCHECKED = Control(Build(in_force=without_check), "the check of sums")

CONTROLS = {
    "forged-sum": _UNCHECKED,
    "vector-signed-afterwards": Control(
        Build(in_force=without_inputs_in_answers), "the digest of the sum's inputs in what survivors sign"
    ),
    "omitted-from-the-sum": _UNCHECKED,
    "counted-twice": _UNCHECKED,
    "doubled-sum": Control(Build(in_force=without_offsets), "the secret offset of each tag"),
    "sum-of-another-model": Control(Build(in_force=without_models_in_tags), "tag keys bound to the model"),
    "sum-of-an-earlier-round": Control(Build(in_force=without_rounds_in_tags), "tag keys bound to the round"),
    "sum-over-others": Control(Build(client=TakesAnySum), "the comparison with what was answered and begun"),
    "guessed-tags": Control(Build(client=GoesOn), "the stop after a forged sum"),
    "guessed-tags-after-a-restart": Control(Build(latch=ForgetsToStop), "the latch's memory of a forged sum"),
}
