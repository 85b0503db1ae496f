"""A hospital that lies about where it is, and is honest in all else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode, peek
from tests.support.hospitals import Ward
from training.engines.embedded import EmbeddedEngine
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


def far_ahead(status: Status) -> Status:
    """That it has masked the last round that there can be."""
    return replace(status, round=2**32 - 1)


def led_by_the_second(ward: Ward) -> EmbeddedEngine:
    """All of a ward, whose second hospital says that it is far ahead."""
    return EmbeddedEngine(ward.hospitals | {2: LyingAboutItself(ward.hospitals[2], far_ahead)})
