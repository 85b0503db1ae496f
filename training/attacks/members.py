"""Attacks by a hospital: false shares, false secrets, two messages for one, messages in another's name.

The coordinator that it deceives is an honest one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.masking import MaskingClient, RoundSum
from secagg.masking.dealing import EpochSecrets, seal_deal, share_out
from secagg.masking.messages import Advertise, Masked, Reveal, Roster
from secagg.wire import Outbox, Sealer, Stage
from secagg.wire.envelope import decode
from training.attacks.coordinator import LyingCoordinator
from training.attacks.hostile import seal
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import Consortium, Vectors

LIAR: Final = 2
_MEMBERS: Final = 5


class _FalseSecrets(EpochSecrets):
    """Other secrets than those that were advertised."""

    def __init__(self, honest: EpochSecrets, client: MaskingClient) -> None:
        super().__init__(client.session, client.number, os.urandom)
        self.share_key, self.tag_contribution = honest.share_key, honest.tag_contribution
        self._honest = honest

    def advertisement(self) -> Advertise:
        return self._honest.advertisement()


class FalseDealer(MaskingClient):
    """Deals shares of other secrets than it committed to; everything else is in order."""

    def _deal(self, payload: Roster) -> list[bytes]:
        epoch = self._current()
        epoch.secrets = _FalseSecrets(epoch.secrets, self)
        return super()._deal(payload)


class FalseContributor(MaskingClient):
    """Gives each peer another part of the tag key than it committed to."""

    def _deal(self, payload: Roster) -> list[bytes]:
        epoch = self._current()
        epoch.take_roster(payload)
        shares = share_out(epoch.secrets, epoch.session, epoch.holders_of(self.number), self._randomness)
        epoch.held[self.number] = shares.pop(self.number)
        messages = []
        for peer, held in shares.items():
            other = replace(held, tag_contribution=bytes([peer]) * len(held.tag_contribution))
            deal = seal_deal(epoch.route(self.number, peer), other, *epoch.agreed_with(peer))
            messages.append(epoch.sealer.seal(Stage.DEAL, deal, recipient=peer))
        return messages


def _with_liar(stage: Consortium, kind: type[MaskingClient]) -> None:
    stage.clients[LIAR] = kind(stage.charter, stage.identities[LIAR - 1], stage.latches[LIAR], stage.policy)


def _sum_is_right(stage: Consortium, vectors: Vectors, *numbers: int) -> bool:
    result = stage.server.result
    if not isinstance(result, RoundSum):
        return False
    found = stage.server.session.ring.to_signed(result.vector)
    return result.survivors.numbers == numbers and np.array_equal(found, stage.integers(vectors, *numbers))


def _to_unmasking(stage: Consortium) -> tuple[Outbox, Vectors]:
    """A round with one drop-out, up to the hospitals' shares, which are not handed over yet."""
    vectors = stage.random_vectors(np.random.default_rng(1))
    stage.set_up()
    stage.deliver(stage.server.begin(1))
    agreed = stage.deliver(stage.answer(stage.mask(vectors, silent=[5])))
    return stage.deliver(stage.answer(agreed)), vectors


def false_shares(build: Build, folder: Path) -> Outcome:
    """A hospital reveals shares that are corrupt, too short, too long, doubled, or for another set."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        replies, vectors = _to_unmasking(stage)
        tries = Tries(Refuser.COORDINATOR)
        reader = LyingCoordinator(stage.charter, stage.clients)
        honest = decode(reader.read(dict(replies)[LIAR]).payload, Reveal)
        seeds, keys = honest.seed_shares, honest.mask_key_shares
        sealer = Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], 1)
        for changes in (
            {"seed_shares": bytes([seeds[0] ^ 1]) + seeds[1:]},
            {"mask_key_shares": bytes([keys[0] ^ 1]) + keys[1:]},
            {"seed_shares": seeds[:32] * (len(seeds) // 32)},
            {"seed_shares": seeds[:-32]},
            {"seed_shares": seeds + seeds[:32]},
            {"mask_key_shares": b""},
            {"survivors_digest": bytes(32)},
            {"inputs_digest": bytes(32)},
        ):
            false = sealer.seal(Stage.REVEAL, msgspec.structs.replace(honest, **changes), round=1)
            tries(stage.server.receive, LIAR, false)
        for number, reply in replies:
            tries(stage.server.receive, number, reply)
        fault = stage.server.fault
        blamed = f"the round has no sum, and {fault.culprit} is named for it" if fault else "a wrong sum"
        return tries.outcome(None if _sum_is_right(stage, vectors, 1, 2, 3, 4) else blamed)


def false_dealing(build: Build, folder: Path) -> Outcome:
    """A hospital deals shares of other secrets than it committed to, so that the sum is wrong and nobody to blame."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        _with_liar(stage, FalseDealer)
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries = Tries(Refuser.COORDINATOR)
        stage.set_up()
        stage.deliver(stage.server.begin(1))
        stage.answer(stage.deliver(stage.answer(stage.mask(vectors))))
        fault = stage.server.fault
        if fault and fault.culprit == f"h{LIAR}":
            tries.reasons.add(fault.reason)
        wrong = stage.server.result is not None and not _sum_is_right(stage, vectors, 1, 2, 3, 4, 5)
        return tries.outcome("a wrong sum, and nobody is named for it" if wrong else None)


def false_tag_key(build: Build, folder: Path) -> Outcome:
    """A hospital gives each peer another part of the tag key, so that true sums seem forged to all."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        _with_liar(stage, FalseContributor)
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        coordinator.open()
        coordinator.send_roster()
        tries = Tries(Refuser.HOSPITAL)
        for number in coordinator.all_but(LIAR):
            tries(coordinator.send_deals, [number])
        keys = {stage.clients[number].tag_key for number in coordinator.dealt_to}
        blamed = f"{len(keys)} different tag keys: every true sum would be laid to the coordinator"
        return tries.outcome(blamed if len(keys) > 1 else None)


def equivocation(build: Build, folder: Path) -> Outcome:
    """A hospital sends two different masked vectors for one round."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        vectors = stage.random_vectors(np.random.default_rng(1))
        tries = Tries(Refuser.COORDINATOR)
        stage.set_up()
        stage.deliver(stage.server.begin(1))
        masked = dict(stage.mask(vectors))
        first = masked.pop(LIAR)
        stage.server.receive(LIAR, first)
        honest = decode(LyingCoordinator(stage.charter, stage.clients).read(first).payload, Masked)
        second = msgspec.structs.replace(honest, vector=memoryview(bytes([1]) * len(honest.vector)))
        sealer = Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], 1)
        tries(stage.server.receive, LIAR, sealer.seal(Stage.MASKED, second, round=1))
        stage.answer(stage.deliver(stage.answer(list(masked.items()))))
        right = _sum_is_right(stage, vectors, 1, 2, 3, 4, 5)
        return tries.outcome(None if right else "a sum in which one hospital counts twice")


def in_anothers_name(build: Build, folder: Path) -> Outcome:
    """Before each of a hospital's messages, one of the same content in its name, signed by each of the others."""
    with Consortium.make(folder, 4, build) as stage:
        tries, taken = Tries(Refuser.COORDINATOR), 0
        vectors = stage.random_vectors(np.random.default_rng(1))

        def hand_over(replies: Outbox) -> Outbox:
            nonlocal taken
            for number, message in replies:
                for other in set(stage.clients) - {number}:
                    false = _signed_by(stage, message, number, other)
                    # On its owner's connection, and on the liar's; then the true one on the liar's.
                    for connection, sent in ((number, false), (other, false), (other, message)):
                        taken += tries(stage.server.receive, connection, sent) is not None
            return stage.answer(replies) if not taken else []

        outbox = hand_over(stage.deliver(stage.server.open()))
        outbox = hand_over(stage.deliver(outbox))
        if not taken:
            stage.deliver(outbox)
            stage.deliver(stage.server.begin(1))
            outbox = hand_over(stage.mask(vectors, silent=[4]))
            outbox = hand_over(stage.deliver(outbox))
            hand_over(stage.deliver(outbox))
        return tries.outcome(f"{taken} messages in another's name were taken for its own" if taken else None)


def _signed_by(stage: Consortium, message: bytes, owner: int, signer: int) -> bytes:
    envelope = LyingCoordinator(stage.charter, stage.clients).read(message)
    header = envelope.header
    sealer = Sealer(stage.charter, owner, stage.identities[signer - 1], header.epoch)
    payload = bytes(envelope.payload)
    return seal(sealer, header.stage, payload, recipient=header.recipient, round_number=header.round)


_AROUND = "What holds around the rounds"
_COORDINATOR = Refuser.COORDINATOR

ATTACKS: Final = (
    Attack(
        "false-shares",
        Liar.HOSPITAL,
        "Reveals shares that are corrupt, too short, too long, doubled, or for another set.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "wrong-share", "wrong-length", "survivors-changed", "inputs-changed"),
        false_shares,
        quick=True,
    ),
    Attack(
        "false-dealing",
        Liar.HOSPITAL,
        "Deals shares of other secrets than it committed to.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "wrong-dealing"),
        false_dealing,
    ),
    Attack(
        "false-tag-key",
        Liar.HOSPITAL,
        "Gives each peer another part of the tag key, so that every true sum seems forged.",
        "A forged sum",
        Refused.with_reasons(Refuser.HOSPITAL, "bad-tag-contribution"),
        false_tag_key,
    ),
    Attack(
        "equivocation",
        Liar.HOSPITAL,
        "Sends two different masked vectors for one round.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "equivocation"),
        equivocation,
    ),
    Attack(
        "signed-by-another",
        Liar.HOSPITAL,
        "Sends every kind of message in every other hospital's name, and every other hospital's message as its own.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "bad-signature", "wrong-sender"),
        in_anothers_name,
        quick=True,
    ),
)
