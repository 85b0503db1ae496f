"""A round of an encrypted scheme, up to its sum, and sums that a coordinator has changed before it sends them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from secagg.masking.messages import EncryptedSum, Masked
from secagg.wire import COORDINATOR, Envelope, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from tests.support.consortium import Consortium

ANY_SIZE = 1 << 30


def opened(consortium: Consortium, message: bytes) -> Envelope:
    return open_envelope(message, consortium.charter, ANY_SIZE)


def forged(consortium: Consortium, stage: Stage, payload: msgspec.Struct, round_number: int = 1) -> bytes:
    """Any message of the coordinator's: it is unsigned, so that anybody can make one."""
    epoch = consortium.server.session.epoch
    return Sealer(consortium.charter, COORDINATOR, None, epoch).seal(stage, payload, round=round_number)


@dataclass
class Round:
    """A round whose sum is made and not delivered.

    Attributes:
        message: the SUM, the same for everybody.
        payload: what is in it.
    """

    consortium: Consortium
    vectors: dict[int, np.ndarray]
    message: bytes
    payload: EncryptedSum

    @classmethod
    def begin(cls, consortium: Consortium, silent: Collection[int] = (), step: int = 1, seed: int = 1) -> Round:
        """A round of a consortium that is set up; those who are silent hear nothing before the sum."""
        server = consortium.server
        vectors = consortium.random_vectors(np.random.default_rng(seed))
        consortium.deliver(server.begin(step), silent)
        outbox = consortium.answer(consortium.mask(vectors, silent))
        while server.result is None:
            outbox = consortium.answer(consortium.deliver(outbox))
        message = dict(outbox)[min(server.participants)]
        return cls(consortium, vectors, message, decode(opened(consortium, message).payload, EncryptedSum))

    @classmethod
    def make(cls, folder: Path, scheme: str, members: int = 5, silent: Collection[int] = (), **charter: Any) -> Round:
        """The first round of a new consortium."""
        consortium = Consortium.make(folder, members, scheme=scheme, **charter)
        consortium.set_up()
        return cls.begin(consortium, silent)

    def changed(self, **fields: object) -> bytes:
        """The sum with other fields."""
        changed = msgspec.structs.replace(self.payload, **fields)
        return forged(self.consortium, Stage.SUM, changed, self.consortium.server.round)

    def masked(self, number: int) -> Masked:
        """What a hospital sent in this round."""
        return decode(opened(self.consortium, self.sent(number, Stage.MASKED)).payload, Masked)

    def sent(self, number: int, stage: Stage) -> bytes:
        """The last message of a kind that a hospital sent."""
        return [m for n, m in self.consortium.sent if n == number and peek(m).stage is stage][-1]

    def truth(self) -> np.ndarray:
        """The sum of those whose vectors are in it."""
        return self.consortium.integers(self.vectors, *self.payload.survivors)
