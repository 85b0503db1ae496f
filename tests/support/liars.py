"""A hospital that lies about where it is, and is honest in all else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode, peek
from training.hospital import Hospital
from training.messages import LARGEST_ANSWER, Status


@dataclass
class LyingAboutItself:
    """Answers QUERY with what ``lie`` makes of its true STATUS, signed."""

    hospital: Hospital
    lie: Callable[[Status], Status]

    def receive(self, message: bytes) -> list[bytes]:
        replies = self.hospital.receive(message)
        if peek(message).stage is not Stage.QUERY:
            return replies
        true = decode(open_envelope(replies[0], self.hospital._charter, LARGEST_ANSWER).payload, Status)
        return [self.hospital._sealer().seal(Stage.STATUS, self.lie(true))]
