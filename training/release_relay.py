"""The coordinator's part once a release is made: it gives it out, and has those who take it sign for their logs.

Knows the release as bytes that are signed already, and who has said that it has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.errors import InputError
from secagg.transcript.files import FileCheckpoint, checkpoint_files
from secagg.wire import Stage
from training.checkpoint_relay import CheckpointRelay
from training.coordinator_store import CoordinatorStore
from training.engines.base import Exchange, Outbox, Phase
from training.messages import Checkpoint, Release
from training.statuses import outside_epochs, read_answers


@dataclass(frozen=True)
class ReleaseRelay:
    """Gives out the release of one charter, at once or to those who were away.

    Attributes:
        transcript: the folder of what the coordinator keeps.
        exchange: delivers messages of a phase outside every epoch, and gives what came back.
    """

    charter: VerifiedCharter
    store: CoordinatorStore
    transcript: Path
    exchange: Callable[[Phase, Outbox], Exchange]

    def hand_out(self, signed: bytes, members: Iterable[int]) -> None:
        """Give out the release, and have those who take it sign for one another's logs, until enough have.

        Raises:
            InputError: ``no-transcript``, ``unreadable``, ``unwritable``.
            TamperingError: if the list of checkpoints was damaged.
        """
        # First of all: a large transcript takes long to read, and who has the release may leave.
        read = () if self.store.checkpoints else self._read_transcript()
        kept = self._give_out(signed, members)
        exchange = partial(self.exchange, Phase.WITNESS)
        relay = CheckpointRelay(self.charter, self.transcript, exchange, read)
        if not self.store.state.witnessed and (listed := self._listed(relay, kept)):
            self.store.update(witnessed=relay.run(listed, kept.keys()))

    def _read_transcript(self) -> Sequence[FileCheckpoint]:
        # What is wrong with it is said once all have the release.
        with suppress(InputError):
            return checkpoint_files(self.transcript)
        return ()

    def _listed(self, relay: CheckpointRelay, kept: Mapping[int, Checkpoint]) -> bytes | None:
        """The one list of checkpoints of this run; None as long as too few have kept the release."""
        if self.store.checkpoints is None and (listed := relay.drawn_up(kept)):
            self.store.keep_checkpoints(listed)
        return self.store.checkpoints

    def _give_out(self, signed: bytes, members: Iterable[int]) -> Mapping[int, Checkpoint]:
        """Give out the release, and note who says that it has it; by member number, what each says of its logs."""
        message = outside_epochs(self.charter).seal(Stage.RELEASE, Release(signed))
        exchange = self.exchange(Phase.RELEASE, [(number, message) for number in members])
        have_it = read_answers(self.charter, exchange.inbox, Stage.CHECKPOINT, Checkpoint)
        self.store.update(given=tuple(sorted({*have_it, *self.store.state.given})))
        return have_it
