"""Attacks by the content of a message: every field of every message of the masking protocol, set to hostile values.

An honest run goes on beside it: before every message that is handed over, come those with one field of it changed. In
the end the run must have given the sum that it would have given without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from secagg.masking.states import ServerState
from secagg.wire import COORDINATOR, Envelope, Outbox, Sealer, Stage
from training.attacks.coordinator import LyingCoordinator
from training.attacks.hostile import ENCRYPTED_PAYLOADS, PAYLOADS, Payloads, altered, fields_of, impossible, seal
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import Consortium, Vectors

LIAR: Final = 2
VICTIM: Final = 1
_MEMBERS: Final = 5
_SETS: Final[tuple[list[int], ...]] = (
    [],
    [1],
    [1, 2],
    [1, 1, 1, 1],
    [2, 3, 4, 5],
    [4, 3, 2, 1],
    [1, 2, 3, 9],
    [1, 2, 3, 1000],
)

# Of those that encrypt, the one that also masks has every message.
_SCHEMES: Final = {"mask": PAYLOADS, "double-lock": ENCRYPTED_PAYLOADS}

Values = Callable[[Any], list[object]]


def _fewer(honest: list[bytes]) -> list[object]:
    """Lists of envelopes with some missing, doubled, or none."""
    return [[], honest[1:], honest[:2], honest[::2], [*honest, honest[0]], [b""], [b"garbage"]]


# What is well-formed and hostile all the same, by what the honest message has there.
HOSTILE: Final[Mapping[tuple[Stage, str], Values]] = {
    (Stage.OPEN, "first_round"): lambda _: [0],
    (Stage.OPEN, "rounds"): lambda _: [0, 4, 1000, (1 << 32) - 1],
    (Stage.ROSTER, "participants"): lambda _: list(_SETS),
    (Stage.ROSTER, "advertisements"): lambda honest: [*_fewer(honest), [*honest[:3], honest[4], honest[4]]],
    (Stage.DEALS, "deals"): _fewer,
    (Stage.PROPOSE, "survivors"): lambda _: list(_SETS),
    (Stage.UNMASK, "survivors"): lambda _: list(_SETS),
    (Stage.UNMASK, "agreements"): lambda honest: [[], honest[1:], [honest[0]] * len(honest), [b"garbage"]],
    (Stage.SUM, "step"): lambda _: [0, 2, (1 << 32) - 1],
    (Stage.SUM, "survivors"): lambda _: list(_SETS),
    (Stage.SUM, "vector"): lambda _: [b"", bytes(1), bytes(1000)],
    (Stage.SUM, "tag"): lambda _: [b"", bytes(7), bytes(16)],
    (Stage.SUM, "contributions"): lambda honest: [[], honest[1:], [*honest, honest[0]], [honest[0]] * len(honest)],
    (Stage.SUM, "reveals"): lambda honest: [
        [],
        honest[1:],
        [honest[0]] * len(honest),
        [[9, honest[0][1]], *honest[1:]],
        [[5, honest[0][1]], *honest[1:]],
        [[honest[0][0], b""], *honest[1:]],
        [[honest[0][0], honest[1][1]], *honest[1:]],
    ],
    (Stage.ADVERTISE, "share_key"): lambda _: [bytes(32)],
    (Stage.ADVERTISE, "mask_keys"): lambda _: [b"", bytes(32), bytes(96)],
    (Stage.ADVERTISE, "seed_commitments"): lambda _: [b"", bytes(32)],
    (Stage.ADVERTISE, "holders"): lambda _: [[1], [2], [3, 4], [9]],
    (Stage.DEAL, "roster_digest"): lambda _: [bytes(32)],
    (Stage.DEAL, "share_digests"): lambda _: [b"", bytes(32)],
    (Stage.DEAL, "sealed_shares"): lambda _: [b"", bytes(32)],
    (Stage.MASKED, "vector"): lambda _: [b"", bytes(1), bytes(100)],
    (Stage.MASKED, "tags"): lambda _: [b"", bytes(7), bytes(16)],
    (Stage.AGREE, "survivors_digest"): lambda _: [bytes(32)],
    (Stage.REVEAL, "survivors_digest"): lambda _: [bytes(32)],
    (Stage.REVEAL, "inputs_digest"): lambda _: [bytes(32)],
    (Stage.REVEAL, "seed_shares"): lambda _: [b"", bytes(32), bytes(128)],
    (Stage.REVEAL, "mask_key_shares"): lambda _: [b"", bytes(32), bytes(64)],
    (Stage.REVEAL, "sealed"): lambda _: [b"", bytes(16), bytes(1000)],
    (Stage.ACKNOWLEDGE, "context"): lambda honest: [b"", honest[:-1], honest + b"\0", bytes(len(honest))],
}


def of_the_coordinator(build: Build, folder: Path) -> Outcome:
    """Every field of what a hospital is sent, before the honest message."""
    return _under_each_scheme(build, folder, Refuser.HOSPITAL)


def of_a_hospital(build: Build, folder: Path) -> Outcome:
    """Every field of what the coordinator is sent, signed, before the honest message."""
    return _under_each_scheme(build, folder, Refuser.COORDINATOR)


def _under_each_scheme(build: Build, folder: Path, victim: Refuser) -> Outcome:
    tries, learned = Tries(victim), None
    for scheme in _SCHEMES:
        place = folder / scheme
        place.mkdir()
        with Consortium.make(place, _MEMBERS, build, scheme=scheme) as stage:
            vectors = stage.random_vectors(np.random.default_rng(1))
            learned = learned or _play(stage, vectors, tries, victim) or _wrong(stage, vectors)
    return tries.outcome(learned)


def _play(stage: Consortium, vectors: Vectors, tries: Tries, victim: Refuser) -> str | None:
    """An epoch and a round in which h5 drops; the first hostile value that was taken, which ends it."""
    reader = LyingCoordinator(stage.charter, stage.clients)
    outbox, begun = stage.server.open(), False
    while True:
        if victim is Refuser.HOSPITAL and (taken := _tempt_hospital(stage, reader, outbox, tries)):
            return taken
        replies = stage.deliver(outbox)
        if stage.server.state is ServerState.READY and begun:
            return None
        if stage.server.state is ServerState.COLLECTING:
            replies = stage.mask(vectors, silent=[5])
        if victim is Refuser.COORDINATOR and (taken := _tempt_coordinator(stage, reader, replies, tries)):
            return taken
        if stage.server.state is ServerState.READY:
            outbox, begun = stage.server.begin(1), True
        else:
            outbox = stage.answer(replies)


def _tempt_hospital(stage: Consortium, reader: LyingCoordinator, outbox: Outbox, tries: Tries) -> str | None:
    if not outbox:
        return None
    envelope = reader.read(dict(outbox)[VICTIM])
    sealer = Sealer(stage.charter, COORDINATOR, None, envelope.header.epoch)
    for place, message in _hostile(envelope, sealer, _SCHEMES[stage.charter.charter.scheme]):
        if tries(stage.clients[VICTIM].receive, message) is not None:
            return f"a hospital took a hostile {place}"
    return None


def _tempt_coordinator(stage: Consortium, reader: LyingCoordinator, replies: Outbox, tries: Tries) -> str | None:
    own = [message for number, message in replies if number == LIAR]
    if not own:
        return None
    envelope = reader.read(own[0])
    sealer = Sealer(stage.charter, LIAR, stage.identities[LIAR - 1], envelope.header.epoch)
    for place, message in _hostile(envelope, sealer, _SCHEMES[stage.charter.charter.scheme]):
        if tries(stage.server.receive, LIAR, message) is not None:
            return f"the coordinator took a hostile {place}"
    return None


def _hostile(envelope: Envelope, sealer: Sealer, payloads: Payloads) -> Iterator[tuple[str, bytes]]:
    header = envelope.header
    fields = fields_of(header.stage, payloads)
    honest = dict(zip(fields, msgspec.msgpack.decode(envelope.payload), strict=True))
    for field, content in honest.items():
        wellformed = HOSTILE.get((header.stage, field))
        for value in (
            *impossible(header.stage, field, payloads),
            *(wellformed(content) if wellformed else ()),
        ):
            payload = altered(envelope.payload, header.stage, field, value, payloads)
            message = seal(sealer, header.stage, payload, recipient=header.recipient, round_number=header.round)
            yield f"{header.stage.name}.{field}", message


def _wrong(stage: Consortium, vectors: Vectors) -> str | None:
    """Whether the run did not give everybody the survivors' true sum in the end."""
    result = stage.server.result
    taken = [total for client in stage.clients.values() if (total := client.take_sum())]
    if result is None or len(taken) < len(stage.clients):
        return "the run was stopped"
    ring, truth = stage.server.session.ring, stage.integers(vectors, *result.survivors.numbers)
    right = all(np.array_equal(ring.to_signed(total.total.vector), truth) for total in taken)
    return None if right else "the sum is wrong"


_AROUND = "What holds around the rounds"

ATTACKS: Final = (
    Attack(
        "hostile-coordinator-fields",
        Liar.COORDINATOR,
        "Sets every field of every message of a round to hostile values, before it sends the honest one.",
        _AROUND,
        Refused.with_reasons(
            Refuser.HOSPITAL,
            "malformed",
            "oversized",
            "stale-round",
            "epoch-too-long",
            "below-threshold",
            "unexpected-message",
            "own-keys-altered",
            "keys-missing",
            "deals-missing",
            "duplicate",
            "malformed-survivors",
            "unknown-survivor",
            "not-a-survivor",
            "survivors-changed",
            "no-agreement",
            "step-changed",
            "wrong-length",
            "contributors-missing",
            "forged-contribution",
            "too-few-revealed",
            "unreadable-shares",
        ),
        of_the_coordinator,
        quick=True,
    ),
    Attack(
        "hostile-hospital-fields",
        Liar.HOSPITAL,
        "Sets every field of every message of a round to hostile values, before it sends the honest one.",
        _AROUND,
        Refused.with_reasons(
            Refuser.COORDINATOR,
            "malformed",
            "oversized",
            "wrong-length",
            "weak-key",
            "bad-holders",
            "other-roster",
            "survivors-changed",
            "inputs-changed",
            "wrong-share",
            "other-context",
        ),
        of_a_hospital,
    ),
)
