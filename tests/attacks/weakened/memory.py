"""Builds without the memory of what was answered, or with one that should have died."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

from secagg.latch import Latch
from secagg.masking import MaskingClient, keystream
from secagg.masking.dealing import MASK_KEY, SELF_MASK_SEED
from secagg.masking.messages import Reveal, Unmask
from secagg.masking.states import ClientState, ServerState, stages_in_turn
from secagg.wire import Stage
from training.testbed.build import Build, Control

from .cohorts import AnswersForAnySet, WithoutGuard


class ForgetfulLatch(Latch):
    """A latch that does not remember what was revealed or agreed to."""

    def record_agreed(self, *arguments: object) -> None:
        pass

    def record_revealed(self, *arguments: object) -> None:
        pass


def fresh_latch(path: Path) -> Latch:
    """A latch that a restart begins anew."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return Latch(path)


class Forgetful(WithoutGuard):
    """Takes a second request for shares like the first."""

    def receive(self, message: bytes) -> list[bytes]:
        replies = super().receive(message)
        if self.state is ClientState.REVEALED:
            self.state, self._answered = ClientState.MASKED, None
        return replies


class GivesBoth(AnswersForAnySet):
    """Reads a set as a list of requests: who is named twice has survived, and dropped."""

    def _acceptable(self, round_number, numbers):
        survivors = super()._acceptable(round_number, numbers)
        self._twice = {number for number in numbers if numbers.count(number) > 1}
        return survivors

    def _reveal(self, round_number: int, payload: Unmask) -> bytes:
        epoch, survivors = self._current(), self._acceptable(round_number, payload.survivors)
        slot = epoch.session.slot(round_number)
        dropped = sorted((set(epoch.held) - set(survivors.numbers)) | self._twice)
        reveal = Reveal(
            survivors.digest(),
            payload.inputs_digest,
            b"".join(epoch.held[member].rounds[slot][SELF_MASK_SEED] for member in sorted(set(survivors.numbers))),
            b"".join(epoch.held[member].rounds[slot][MASK_KEY] for member in dropped),
        )
        return epoch.sealer.seal(Stage.REVEAL, reveal, round=round_number)


class KeepsSecrets(MaskingClient):
    """Keeps an epoch's secrets where a restart finds them, and goes on where it was before it revealed."""

    kept: ClassVar[dict[bytes, tuple[object, ...]]] = {}

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        if kept := self.kept.get(self._place()):
            self.state, self.round, self.step, self._epoch = kept

    def mask(self, vector, model_digest):
        message = super().mask(vector, model_digest)
        self.kept[self._place()] = (self.state, self.round, self.step, self._epoch)
        return message

    def _place(self):
        return self._latch._path


def without_self_mask():
    """Bonawitz et al.'s protocol with one mask only: what the second is there for."""
    original = keystream.pack_masked

    def one_kind_only(vector, ring, keys, *more):
        return original(vector, ring, keys[1:], *more)

    return patch("secagg.masking.masked_message.pack_masked", one_kind_only)


def with_late_vectors():
    """A coordinator that adds whatever comes as long as the sum is not out."""

    def in_turn(state):
        late = (Stage.MASKED,) if state is ServerState.UNMASKING else ()
        return (*stages_in_turn(state), *late)

    return patch("secagg.masking.server_gate.stages_in_turn", in_turn)


_SECRETS = "secrets that die with the process"

CONTROLS = {
    "both-shares-in-one-request": Control(
        Build(client=GivesBoth),
        "the rules on survivor sets, the agreement, and the memory of what was answered",
    ),
    "both-shares-in-two-requests": Control(
        Build(client=Forgetful, latch=ForgetfulLatch), "the memory of what was answered, and the differencing guard"
    ),
    "both-shares-after-a-restart": Control(
        Build(client=KeepsSecrets, latch=ForgetfulLatch), f"{_SECRETS}, and the latch"
    ),
    "both-shares-after-a-restored-backup": Control(Build(client=KeepsSecrets), _SECRETS),
    "round-again-after-a-restart": Control(Build(latch=fresh_latch), "a latch that outlives the process"),
    "late-vector": Control(Build(in_force=without_self_mask), "the self-mask"),
    "late-vector-into-the-sum": Control(Build(in_force=with_late_vectors), "stages in turn at the coordinator"),
}
