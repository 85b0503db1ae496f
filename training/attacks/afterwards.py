"""An attack on the record: who helped to forge a sum signs, once the true one is known, a vector that makes it true.

A transcript shows a forged sum only if nothing that was added up can be exchanged. A message is its sender's to sign,
and here the sender is the helper.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.encoding import pack, unpack
from secagg.encoding.ring import RingVector
from secagg.masking import MaskingServer
from secagg.masking.journal import Begun, Event, Opened, Received, Sent
from secagg.masking.messages import Masked, Reveal, Sum, Unmask
from secagg.masking.round_tags import round_tag
from secagg.masking.session import RoundSum
from secagg.transcript import audit_epoch
from secagg.wire import COORDINATOR, Outbox, Sealer, Stage
from secagg.wire.envelope import decode, peek
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import MODEL_DIGEST, Consortium

HELPER: Final = 5
_MEMBERS: Final = 5


class _Record:
    """A round once more, as a transcript is to have it: what came, but for what the helper signs instead.

    Attributes:
        events: of the transcript.
        outbox: what the coordinator would have sent last.
        server: the coordinator of the transcript; also that of whoever audits it.
    """

    def __init__(self, stage: Consortium, wanted: RingVector, tries: Tries) -> None:
        self.events: list[Event] = []
        self.outbox: Outbox = []
        self.server = MaskingServer(stage.server.session, journal=self.events.append)
        self._stage, self._wanted, self._tries = stage, wanted, tries
        self._sealer = Sealer(stage.charter, HELPER, stage.identities[HELPER - 1], stage.server.session.epoch)
        self._reader = LyingCoordinator(stage.charter, stage.clients)

    def write(self, event: Event) -> None:
        match event:
            case Opened():
                self.outbox = self.server.open()
            case Begun(step=step):
                self.outbox = self.server.begin(step)
            # What comes once there is a sum is no longer needed.
            case Received(member=member, message=message) if self.server.result is None:
                kept = self._exchanged(message) if member == HELPER else message
                self.outbox = self._tries(self.server.receive, member, kept) or self.outbox

    def sum_message(self) -> bytes:
        """The SUM of the record. Where the answers do not allow it, a liar writes it down all the same."""
        message = dict(self.outbox)[HELPER]
        if peek(message).stage is not Stage.SUM:
            session, everybody = self.server.session, tuple(self._stage.clients)
            tag, packed = self._tag(everybody), memoryview(pack(self._wanted, session.ring))
            payload = Sum(1, list(everybody), MODEL_DIGEST, packed, tag.to_bytes(session.tag_size, "little"))
            message = Sealer(self._stage.charter, COORDINATOR, None, session.epoch).seal(Stage.SUM, payload, round=1)
            self.events.append(Sent(everybody, message))
        return message

    def _exchanged(self, message: bytes) -> bytes:
        match peek(message).stage:
            case Stage.MASKED:
                sent = decode(self._reader.read(message).payload, Masked)
                return self._sealer.seal(Stage.MASKED, self._fitting(sent), round=1)
            case Stage.REVEAL:
                asked = decode(self._reader.read(dict(self.outbox)[HELPER]).payload, Unmask)
                given = decode(self._reader.read(message).payload, Reveal)
                answer = msgspec.structs.replace(given, inputs_digest=asked.inputs_digest)
                return self._sealer.seal(Stage.REVEAL, answer, round=1)
            case _:
                return message

    def _fitting(self, sent: Masked) -> Masked:
        """What makes the sum the wanted one, with a tag that fits: every hospital has the key."""
        true, session = self._stage.server.result, self.server.session
        if not isinstance(true, RoundSum):
            raise TypeError("The round gave no sum.")
        vector = unpack(sent.vector, session.length, session.ring) + self._wanted - true.vector
        session.ring.reduce(vector)
        change = self._tag(true.survivors.numbers) - true.tag
        tag = (int.from_bytes(sent.tags, "little") + change) % (1 << 8 * session.tag_size)
        packed = memoryview(pack(vector, session.ring))
        return Masked(sent.model_digest, packed, tag.to_bytes(session.tag_size, "little"))

    def _tag(self, survivors: Iterable[int]) -> int:
        key = self._stage.clients[HELPER].tag_key
        return round_tag(self._wanted, self.server.session, key, 1, MODEL_DIGEST, survivors)


def signed_afterwards(build: Build, folder: Path) -> Outcome:
    """All reveal for the true sum; all are given another, and the transcript adds up to that one."""
    tries = Tries(Refuser.AUDIT)
    with Consortium.make(folder, _MEMBERS, build) as stage:
        happened: list[Event] = []
        stage.server = MaskingServer(stage.server.session, journal=happened.append)
        stage.set_up()
        vectors = stage.random_vectors(np.random.default_rng(1))
        stage.deliver(stage.server.begin(1))
        # Nobody is given the sum that comes of it.
        stage.answer(stage.deliver(stage.answer(stage.mask(vectors))))
        session = stage.server.session
        wanted = session.ring.from_signed(np.arange(session.length))
        record = _Record(stage, wanted, tries)
        for event in happened:
            record.write(event)
        forged = record.sum_message()
        stage.deliver([(number, forged) for number in stage.clients if number != HELPER])
        taken = sum(client.take_sum() is not None for client in stage.clients.values())
        found = audit_epoch(record.events, stage.charter).findings
    tries.reasons.update(finding.reason for finding in found)
    what = f"{taken} hospitals took a sum of the liars' choice, and the transcript adds up to it"
    return tries.outcome(what if taken and not found else None)


ATTACKS: Final = (
    Attack(
        "vector-signed-afterwards",
        Liar.BOTH,
        "The helper of a forged sum signs another vector once the true sum is known, so that the forged one fits.",
        "A forged sum",
        Refused.with_reasons(Refuser.AUDIT, "inputs-changed", "output-differs"),
        signed_afterwards,
    ),
)
