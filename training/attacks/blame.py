"""Attacks by which a hospital has others refuse what an honest coordinator sends: it is blamed, and the run ends.

What the hospital sends is signed, and it is the coordinator that must see that nobody else would read it as it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.charter import NeighbourGraph
from secagg.errors import LocalProtocolError
from secagg.graph import smallest_graph
from secagg.masking import Survivors
from secagg.masking.messages import Advertise, Agree, Deal, Masked, SealedReveal
from secagg.masking.states import ServerState
from secagg.wire import Envelope, Outbox, Sealer, Stage
from secagg.wire.envelope import decode
from training.attacks.coordinator import LyingCoordinator
from training.attacks.encrypted import ENCRYPTED, under_each
from training.attacks.hostile import seal
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import Consortium

# First in every exchange: what an honest hospital sends comes after it.
LIAR: Final = 1
# And one that answers once all others have.
_LAST: Final = 6
_SILENT: Final = 6
_MEMBERS: Final = 6
_NEIGHBOURS: Final = 60
_DROPPED: Final = 20

Falsify = Callable[[Sealer, Envelope], list[bytes]]
"""What the liar sends in the place of its honest message."""


def _stopped(
    stage: Consortium, tries: Tries, falsify: Falsify, silent: Sequence[int] = (), liar: int = LIAR
) -> str | None:
    """A set-up and a round in which the liar's messages of one stage are false; whether the others got no sum."""
    vectors = stage.random_vectors(np.random.default_rng(1))
    outbox, begun = stage.server.open(), False
    while outbox:
        replies = _delivered(stage, outbox, tries)
        if stage.server.state is ServerState.COLLECTING:
            replies = stage.mask(vectors, silent)
        outbox = _handed_over(stage, replies, tries, falsify, liar)
        if not outbox and stage.server.answering:
            outbox = stage.reopen()
        if not outbox and not begun and stage.server.state is ServerState.READY:
            outbox, begun = stage.server.begin(1), True
    honest = [client for number, client in stage.clients.items() if number != liar]
    without = sum(client.take_sum() is None for client in honest)
    return f"{without} of {len(honest)} other hospitals got no sum" if without else None


def _delivered(stage: Consortium, outbox: Outbox, tries: Tries) -> Outbox:
    return [
        (number, reply) for number, message in outbox for reply in tries(stage.clients[number].receive, message) or []
    ]


def _handed_over(stage: Consortium, replies: Outbox, tries: Tries, falsify: Falsify, liar: int) -> Outbox:
    reader, before = LyingCoordinator(stage.charter, stage.clients), stage.server.state
    outbox: Outbox = []
    for number, reply in replies:
        for message in _of_the_liar(stage, reader.read(reply), falsify) if number == liar else [reply]:
            outbox += tries(stage.server.receive, number, message) or []
    return outbox or (stage.server.timeout() if stage.server.state is before else [])


def _of_the_liar(stage: Consortium, honest: Envelope, falsify: Falsify) -> list[bytes]:
    liar = honest.header.sender
    return falsify(Sealer(stage.charter, liar, stage.identities[liar - 1], honest.header.epoch), honest)


def _as_it_was(sealer: Sealer, honest: Envelope, payload: bytes | None = None, recipient: int | None = None) -> bytes:
    """The honest message, signed anew, but for what is given."""
    header = honest.header
    return seal(
        sealer,
        header.stage,
        bytes(honest.payload) if payload is None else payload,
        recipient=header.recipient if recipient is None else recipient,
        round_number=header.round,
    )


def _instead_of(stage: Stage, falsify: Falsify) -> Falsify:
    """Falsify the messages of one stage, and no others."""
    return lambda sealer, honest: (
        falsify(sealer, honest) if honest.header.stage is stage else [_as_it_was(sealer, honest)]
    )


# --- Addresses -----------------------------------------------------------------------------------------------------


def models_for_members(build: Build, folder: Path) -> Outcome:
    """More models than colluders could invent, in one hospital's vectors: each is addressed to another member."""

    def falsify(sealer: Sealer, honest: Envelope) -> list[bytes]:
        masked, messages = decode(honest.payload, Masked), []
        for recipient in range(_MEMBERS):
            invented = msgspec.structs.replace(masked, model_digest=bytes([recipient + 1]) * 32)
            messages.append(sealer.seal(Stage.MASKED, invented, recipient=recipient, round=honest.header.round))
        return messages

    with Consortium.make(folder, _MEMBERS, build) as stage:
        tries = Tries(Refuser.COORDINATOR)
        return tries.outcome(_stopped(stage, tries, _instead_of(Stage.MASKED, falsify)))


def agreement_for_a_member(build: Build, folder: Path) -> Outcome:
    """An agreement that is addressed to a member: the header that others write anew is not the one it signed."""
    with Consortium.make(folder, _MEMBERS, build) as stage:
        tries = Tries(Refuser.COORDINATOR)
        return tries.outcome(_stopped(stage, tries, _instead_of(Stage.AGREE, _for_a_member), [_SILENT]))


def agreement_of_no_survivor(build: Build, folder: Path) -> Outcome:
    """A vector of a model that nobody has, and at once an agreement to the sum of all others."""

    def falsify(sealer: Sealer, honest: Envelope) -> list[bytes]:
        invented = msgspec.structs.replace(decode(honest.payload, Masked), model_digest=bytes([1]) * 32)
        others = Survivors(tuple(range(1, _LAST)))
        number = honest.header.round
        return [
            sealer.seal(Stage.MASKED, invented, round=number),
            sealer.seal(Stage.AGREE, Agree(others.digest()), round=number),
        ]

    with Consortium.make(folder, _MEMBERS, build) as stage:
        tries = Tries(Refuser.COORDINATOR)
        return tries.outcome(_stopped(stage, tries, _instead_of(Stage.MASKED, falsify), liar=_LAST))


def encrypted_vector_for_a_member(build: Build, folder: Path) -> Outcome:
    """The same of an encrypted vector, whose signature each hospital looks at before it opens the sum."""

    def script(stage: Consortium, tries: Tries) -> str | None:
        return _stopped(stage, tries, _instead_of(Stage.MASKED, _for_a_member))

    return under_each(ENCRYPTED, build, folder, Refuser.COORDINATOR, script)


def _for_a_member(sealer: Sealer, honest: Envelope) -> list[bytes]:
    return [_as_it_was(sealer, honest, recipient=2)]


# --- Deals ---------------------------------------------------------------------------------------------------------


def deals_on_another_roster(build: Build, folder: Path) -> Outcome:
    """Deals that name another roster than all were sent, as if the coordinator had shown the liar that one."""

    def falsify(sealer: Sealer, honest: Envelope) -> list[bytes]:
        deal = msgspec.structs.replace(decode(honest.payload, Deal), roster_digest=bytes(32))
        return [sealer.seal(Stage.DEAL, deal, recipient=honest.header.recipient)]

    with Consortium.make(folder, _MEMBERS, build) as stage:
        tries = Tries(Refuser.COORDINATOR)
        return tries.outcome(_stopped(stage, tries, _instead_of(Stage.DEAL, falsify)))


# --- Shares for the others -----------------------------------------------------------------------------------------


def reveals_that_do_not_open(build: Build, folder: Path) -> Outcome:
    """Bytes that do not unseal in the place of sealed shares: of other sizes, and then of that which is due."""

    def falsify(sealer: Sealer, honest: Envelope) -> list[bytes]:
        due = decode(honest.payload, SealedReveal)
        sizes = (len(due.sealed) - 1, len(due.sealed) + 1, len(due.sealed))
        garbage = [msgspec.structs.replace(due, sealed=bytes(size)) for size in sizes]
        return [sealer.seal(Stage.REVEAL, reveal, round=honest.header.round) for reveal in garbage]

    with Consortium.make(folder, _MEMBERS, build, scheme="double-lock") as stage:
        tries = Tries(Refuser.COORDINATOR)
        return tries.outcome(_stopped(stage, tries, _instead_of(Stage.REVEAL, falsify), [_SILENT]))


# --- Encodings -----------------------------------------------------------------------------------------------------


def agreement_at_length(build: Build, folder: Path) -> Outcome:
    """An agreement whose payload is no shortest MessagePack: others hash the shortest."""

    def falsify(sealer: Sealer, honest: Envelope) -> list[bytes]:
        # An array of one, with its length in two bytes.
        return [_as_it_was(sealer, honest, b"\xdc\x00\x01" + bytes(honest.payload[1:]))]

    with Consortium.make(folder, _MEMBERS, build) as stage:
        tries = Tries(Refuser.COORDINATOR)
        return tries.outcome(_stopped(stage, tries, _instead_of(Stage.AGREE, falsify), [_SILENT]))


def advertisement_at_length(build: Build, folder: Path) -> Outcome:
    """An advertisement whose numbers of holders have nine bytes each: larger than hospitals take it."""

    def falsify(sealer: Sealer, honest: Envelope) -> list[bytes]:
        advertised = decode(honest.payload, Advertise)
        return [_as_it_was(sealer, honest, _at_length(advertised, count)) for count in (len(advertised.holders), 1)]

    graph = smallest_graph(_NEIGHBOURS, 1, _DROPPED)
    if graph is None:
        raise LocalProtocolError("no-graph", f"{_NEIGHBOURS} hospitals have no sparse graph.")
    chosen = NeighbourGraph.of(graph)
    with Consortium.make(folder, _NEIGHBOURS, build, graph=chosen, epoch_rounds=1) as stage:
        tries = Tries(Refuser.COORDINATOR)
        return tries.outcome(_stopped(stage, tries, _instead_of(Stage.ADVERTISE, falsify)))


def _at_length(advertised: Advertise, count: int) -> bytes:
    """An advertisement with so many of its holders' numbers in nine bytes."""
    numbers = [
        b"\xcf" + number.to_bytes(8, "big") if place < count else msgspec.msgpack.encode(number)
        for place, number in enumerate(advertised.holders)
    ]
    blank = msgspec.msgpack.encode(msgspec.structs.replace(advertised, holders=[]))
    return blank[:-1] + b"\xdc" + len(numbers).to_bytes(2, "big") + b"".join(numbers)


_AROUND: Final = "What holds around the rounds"
_COORDINATOR: Final = Refuser.COORDINATOR

ATTACKS: Final = (
    Attack(
        "models-for-members",
        Liar.HOSPITAL,
        "Sends a vector of another model to each member, so that the coordinator follows no more and refuses the true.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "other-recipient"),
        models_for_members,
    ),
    Attack(
        "agreement-for-a-member",
        Liar.HOSPITAL,
        "Addresses an agreement to a member, so that others find its signature forged.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "other-recipient"),
        agreement_for_a_member,
    ),
    Attack(
        "agreement-of-no-survivor",
        Liar.HOSPITAL,
        "Keeps out of the sum, and agrees to it all the same, so that all others refuse the agreements they are shown.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "not-a-survivor"),
        agreement_of_no_survivor,
    ),
    Attack(
        "encrypted-vector-for-a-member",
        Liar.HOSPITAL,
        "Addresses an encrypted vector to a member, so that others find its signature forged.",
        "What holds where sums are encrypted",
        Refused.with_reasons(_COORDINATOR, "other-recipient"),
        encrypted_vector_for_a_member,
    ),
    Attack(
        "deals-on-another-roster",
        Liar.HOSPITAL,
        "Deals on a roster that nobody was sent, so that all others think the coordinator shows each another.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "other-roster"),
        deals_on_another_roster,
    ),
    Attack(
        "reveals-that-do-not-open",
        Liar.HOSPITAL,
        "Seals nothing for the others, once all have revealed and the cohort can be no other.",
        "The double lock",
        Refused.with_reasons(_COORDINATOR, "wrong-length"),
        reveals_that_do_not_open,
    ),
    Attack(
        "agreement-at-length",
        Liar.HOSPITAL,
        "Encodes an agreement in a longer way than others do, so that they find its signature forged.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "malformed"),
        agreement_at_length,
    ),
    Attack(
        "advertisement-at-length",
        Liar.HOSPITAL,
        "Encodes its holders' numbers in nine bytes each, so that every hospital finds the roster too large.",
        _AROUND,
        Refused.with_reasons(_COORDINATOR, "oversized", "malformed"),
        advertisement_at_length,
    ),
)
