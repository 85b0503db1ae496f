"""Attacks of a hospital that is behind, on others that have missed a sum as well and are about to be handed it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from secagg.errors import ProtocolError
from secagg.masking.messages import KEY_SIZE, Refusal
from secagg.wire import Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.engines.base import Engine, Exchange, Outbox, Phase
from training.messages import Status
from training.testbed.build import Build

if TYPE_CHECKING:
    from training.attacks.ward import Ward

# It answers first, and so is served first.
LIAR: Final = 1
VICTIMS: Final = (4, 5)
_LOW_ORDER: Final = bytes(KEY_SIZE)
_ANY_SIZE: Final = 1 << 24


@dataclass
class _WithABadKey:
    """The liar: it signs, as the key that a snapshot is to be sealed for, one that nobody seals anything for."""

    ward: Ward

    def receive(self, message: bytes) -> list[bytes]:
        """Any other message it answers as a hospital does."""
        replies = self.ward.parties[LIAR].hospital.receive(message)
        if peek(message).stage is not Stage.QUERY:
            return replies
        told = decode(open_envelope(replies[0], self.ward.charter, _ANY_SIZE).payload, Status)
        sealer = Sealer(self.ward.charter, LIAR, self.ward.identities[LIAR], told.epoch)
        return [sealer.seal(Stage.STATUS, msgspec.structs.replace(told, snapshot_key=_LOW_ORDER))]


@dataclass
class _Listening:
    """Hears for what reasons donors refuse."""

    engine: Engine
    ward: Ward
    reasons: set[str] = field(default_factory=set)

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """As any engine does."""
        exchange = self.engine.exchange(phase, outbox, round_number)
        for _, message in exchange.inbox if phase is Phase.CATCH_UP else ():
            if peek(message).stage is Stage.REFUSAL:
                refusal = decode(open_envelope(message, self.ward.charter, _ANY_SIZE).payload, Refusal)
                self.reasons.add(refusal.reason)
        return exchange


def donors_struck_off(_build: Build, folder: Path) -> Outcome:
    """Two hospitals have a sum that three have missed. One of the three has both refuse it, for a key that is no good.

    If the coordinator then took them for no donors any more, nobody could take part but those two, and there would be
    no sum any more.
    """
    # torch and opacus take seconds to import, and few attacks need them.
    from training.attacks.ward import Ward
    from training.coordinator import Coordinator
    from training.engines.embedded import DropOut, EmbeddedEngine

    with Ward.open(folder, standardise="none", scheme="double-lock") as ward:
        parties = {number: party.hospital for number, party in ward.parties.items()} | {LIAR: _WithABadKey(ward)}
        missed = [DropOut(number, 1, Phase.APPLY) for number in (LIAR, *VICTIMS)]
        engine = _Listening(EmbeddedEngine(parties, missed), ward)
        tries = Tries(Refuser.HOSPITAL, engine.reasons)
        # Raised where no round gives a sum any more, as the attacker hopes.
        with suppress(ProtocolError):
            Coordinator(ward.charter, engine, ward.folder / "coordinator").run_epoch()
        behind = all(ward.parties[number].hospital.state.sums == 0 for number in VICTIMS)
        return tries.outcome("a run that two others cannot take part in" if behind else None)


ATTACKS: Final = (
    Attack(
        "donors-struck-off",
        Liar.HOSPITAL,
        "Has all donors refuse it a snapshot, for a key that is no good, to have none of them asked for anybody else.",
        "A forged sum",
        Refused.with_reasons(Refuser.HOSPITAL, "weak-key"),
        donors_struck_off,
    ),
)
